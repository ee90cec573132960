"""Streaming assigners against mmdet's, on the anchors of an 800x1344 image.

python -m benchmarks.assigners --device cpu --threads 1
"""

from functools import partial

import click
import torch
from mmdet.models.task_modules.assigners import (
    AssignResult,
    ATSSAssigner,
    MaxIoUAssigner,
)
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.structures import InstanceData

from benchmarks.harness import Measurement, describe, measure, print_table
from mmdet_retina_plus.assigners import (
    StreamingATSSAssigner,
    StreamingMaxIoUAssigner,
)

HEIGHT, WIDTH = 800, 1344
STRIDES = (8, 16, 32, 64, 128)
# mmdet's matrices of 1,000 objects take 7 GB, so they are optional.
STOCK_OBJECTS = (7, 100, 500)
MANY_OBJECTS = 10_000
GOALS = {7: '>= 1x', 500: '>= 25x'}
GOAL_MEGABYTES = {500: '<= 32', MANY_OBJECTS: '<= 64'}
ASSIGNERS = {
    'MaxIoU': (MaxIoUAssigner(0.5, 0.4), StreamingMaxIoUAssigner(0.5, 0.4)),
    'ATSS': (ATSSAssigner(9), StreamingATSSAssigner(9)),
}


class Scene:
    """RetinaNet's 201,600 anchors and random objects.

    Args:
        count: Number of objects. The square root of their area is distributed
            log-uniformly from 8 to 512 pixels, the aspect from 1:2 to 2:1.
        covering: Whether all objects cover nearly the whole image instead, so
            that no pair can be skipped.
        device: Device of the tensors.
        shape: Height and width of the image in pixels.
    """

    def __init__(
        self,
        count: int,
        covering: bool,
        device: str,
        shape: tuple[int, int] = (HEIGHT, WIDTH),
    ) -> None:
        height, width = shape
        generator = AnchorGenerator(
            strides=STRIDES,
            ratios=[0.5, 1.0, 2.0],
            octave_base_scale=4,
            scales_per_octave=3,
        )
        levels = generator.grid_priors(
            [(-(-height // step), -(-width // step)) for step in STRIDES],
            device=device,
        )
        self.num_level_priors = [len(level) for level in levels]
        self.pred_instances = InstanceData(priors=torch.cat(levels))
        self.count = count
        self.size = [width, height]
        self.covering = covering
        self.draw()

    def draw(self) -> None:
        priors = self.pred_instances.priors
        noise = torch.rand(self.count, 4, device=priors.device)
        image = noise.new_tensor(self.size)
        size = 8 * 64 ** noise[:, :1]
        aspect = 2 ** (noise[:, 1:2] - 0.5)
        side = torch.cat([size * aspect, size / aspect], dim=1)
        if self.covering:
            side = image * (0.9 + 0.1 * noise[:, :2])
        centre = side / 2 + noise[:, 2:] * (image - side).clamp(min=0)
        boxes = torch.cat([centre - side / 2, centre + side / 2], dim=1)
        self.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.arange(self.count, device=boxes.device) % 80,
        )

    def assign(self, assigner) -> AssignResult:
        return assigner.assign(
            pred_instances=self.pred_instances,
            gt_instances=self.gt_instances,
            num_level_priors=self.num_level_priors,
        )

    def agree(self, stock, streaming) -> bool:
        """Whether results are bit-identical.

        mmdet's ATSSAssigner has overlaps for positive priors only.
        """
        expected, result = self.assign(stock), self.assign(streaming)
        same_overlaps = expected.max_overlaps == result.max_overlaps
        if isinstance(stock, ATSSAssigner):
            same_overlaps |= expected.gt_inds <= 0
        return (
            torch.equal(expected.gt_inds, result.gt_inds)
            and torch.equal(expected.labels, result.labels)
            and bool(same_overlaps.all())
        )


def row(
    name: str, scene: Scene, with_stock: bool, repeats: int, device: str
) -> list[str]:
    """One row of the table."""
    stock, streaming = ASSIGNERS[name]
    sides = (stock, streaming) if with_stock else (streaming,)
    *others, ours = measure(
        [partial(scene.assign, side) for side in sides],
        torch.device(device),
        repeats=repeats,
        prepare=scene.draw,
    )
    theirs: Measurement | None = others[0] if others else None
    return [
        name,
        f'{scene.count:,}' + (' covering all' if scene.covering else ''),
        f'{theirs.seconds * 1e3:,.1f}' if theirs else '',
        f'{ours.seconds * 1e3:,.1f}',
        f'{theirs.seconds / ours.seconds:.1f}x' if theirs else '',
        '' if scene.covering else GOALS.get(scene.count, ''),
        f'{theirs.megabytes:,.0f}' if theirs else '',
        f'{ours.megabytes:.1f}',
        '' if scene.covering else GOAL_MEGABYTES.get(scene.count, ''),
        str(scene.agree(stock, streaming)) if theirs else '',
    ]


@click.command()
@click.option('--device', type=click.Choice(['cpu', 'cuda']), default='cpu')
@click.option('--threads', default=1, help='Number of CPU threads.')
@click.option('--repeats', default=3)
@click.option(
    '--stock-1000',
    is_flag=True,
    help='Also run mmdet with 1,000 objects, which takes 7 GB.',
)
def main(device: str, threads: int, repeats: int, stock_1000: bool) -> None:
    """Print medians, ratios and peak memory beyond the inputs."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plan = [(count, False, True) for count in STOCK_OBJECTS]
    plan += [(500, True, True), (1000, False, stock_1000)]
    plan += [(MANY_OBJECTS, False, False)]
    table = []
    for count, covering, with_stock in plan:
        scene = Scene(count, covering, device)
        table += [
            row(name, scene, with_stock, repeats, device) for name in ASSIGNERS
        ]
    print_table(
        f'{len(scene.pred_instances.priors):,} priors, '
        + describe(torch.device(device)),
        (
            'assigner',
            'objects',
            'mmdet ms',
            'ours ms',
            'faster',
            'goal',
            'mmdet MB',
            'ours MB',
            'goal',
            'equal',
        ),
        table,
    )


if __name__ == '__main__':
    main()

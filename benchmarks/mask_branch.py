"""Cost of RetinaMask's mask branch in a training step and at test time.

Both detectors have the same ResNet-50, neck and box head with random weights.
The image has the mean size of COCO's images after resizing.

python -m benchmarks.mask_branch --device cpu --threads 1
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import click
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

import mmdet_retina_plus
from benchmarks.harness import (
    Measurement,
    box_masks,
    describe,
    measure,
    print_table,
)

CONFIG = 'retinamask_r50_fpn_1x'
ORIGINAL, SHAPE = (480, 640), (800, 1067)
PADDED = (800, 1088)
OBJECTS = 7
"""COCO's mean per image."""


def build(with_masks: bool, device: str) -> nn.Module:
    config = Config.fromfile(mmdet_retina_plus.config(CONFIG)).model
    config.backbone.init_cfg = None
    if not with_masks:
        config.roi_head = None
    torch.manual_seed(0)
    detector = MODELS.build(config).to(device)
    detector.init_weights()
    spread_scores(detector, torch.randn(1, 3, *PADDED).to(device))
    return detector


@torch.no_grad()
def spread_scores(detector: nn.Module, image: Tensor) -> None:
    """Scale logits so that thousands of scores exceed .05, as in training."""
    detector.eval()
    scores, _ = detector.bbox_head(detector.extract_feat(image))
    logits = torch.cat([score.flatten() for score in scores])
    detector.bbox_head.retina_cls.weight *= 0.5 / logits.std()


def scene(device: str) -> tuple[Tensor, DetDataSample, InstanceData]:
    """An image, its objects, and 100 detections that match them."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(OBJECTS, 2, generator=generator) * 400
    side = 64 + torch.rand(OBJECTS, 2, generator=generator) * 300
    boxes = torch.cat([corner, corner + side], dim=1)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=SHAPE,
            pad_shape=PADDED,
            ori_shape=ORIGINAL,
            batch_input_shape=PADDED,
            scale_factor=(SHAPE[1] / ORIGINAL[1], SHAPE[0] / ORIGINAL[0]),
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=boxes.to(device),
        labels=torch.arange(OBJECTS, device=device),
        masks=box_masks(boxes, SHAPE),
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4, device=device)
    )
    chosen = torch.arange(100) % OBJECTS
    shift = side[chosen] * 0.1 * torch.rand(100, 2, generator=generator)
    detections = InstanceData(
        bboxes=(boxes[chosen] + shift.repeat(1, 2)).to(device),
        labels=chosen.to(device),
        scores=torch.linspace(1, 0.06, 100, device=device),
    )
    return torch.randn(1, 3, *PADDED).to(device), sample, detections


def plant(bbox_head: nn.Module, detections: InstanceData) -> None:
    """Make a head compute its own detections but return `detections`."""
    predict = bbox_head.predict_by_feat

    def planted(*args, **kwargs) -> list[InstanceData]:
        predict(*args, **kwargs)
        return [deepcopy(detections)]

    bbox_head.predict_by_feat = planted


def step(detector: nn.Module, image: Tensor, sample: DetDataSample) -> None:
    detector.train()
    loss, _ = detector.parse_losses(detector.loss(image, [sample]))
    loss.backward()
    detector.zero_grad()


@torch.no_grad()
def test(detector: nn.Module, image: Tensor, sample: DetDataSample) -> None:
    detector.eval()
    detector.predict(image, [deepcopy(sample)], rescale=True)


@torch.no_grad()
def test_boxes(
    detector: nn.Module, image: Tensor, sample: DetDataSample
) -> None:
    detector.roi_head.test_cfg.with_mask = False
    test(detector, image, sample)
    detector.roi_head.test_cfg.with_mask = True


def rows(
    work: str,
    names: list[str],
    functions: list[Callable[[], None]],
    device: str,
    repeats: int,
) -> list[list[str]]:
    results = measure(functions, torch.device(device), repeats=repeats)
    first: Measurement = results[0]
    return [
        [
            work,
            name,
            f'{result.seconds * 1e3:,.0f}',
            f'{result.seconds / first.seconds:.2f}',
            f'{result.megabytes:,.0f}',
            f'{result.peak_bytes / first.peak_bytes:.2f}',
        ]
        for name, result in zip(names, results, strict=True)
    ]


@click.command()
@click.option('--device', type=click.Choice(['cpu', 'cuda']), default='cpu')
@click.option('--threads', default=1, help='Number of CPU threads.')
@click.option('--repeats', default=5)
def main(device: str, threads: int, repeats: int) -> None:
    """Print medians, peak memory beyond the model, ratios to RetinaNet."""
    torch.set_num_threads(threads)
    image, sample, detections = scene(device)
    retinanet, retinamask, matching = (
        build(with_masks, device) for with_masks in (False, True, True)
    )
    plant(matching.bbox_head, detections)
    table = rows(
        'training step',
        ['RetinaNet', f'masks of {OBJECTS} boxes', 'masks of 107 boxes'],
        [
            partial(step, detector, image, sample)
            for detector in (retinanet, retinamask, matching)
        ],
        device,
        repeats,
    )
    table += rows(
        'test',
        ['RetinaNet', 'with_mask=False', 'masks of 50 boxes'],
        [
            partial(function, detector, image, sample)
            for function, detector in (
                (test, retinanet),
                (test_boxes, retinamask),
                (test, retinamask),
            )
        ],
        device,
        repeats,
    )
    print_table(
        f'{CONFIG}, {PADDED[0]} x {PADDED[1]} px, '
        + describe(torch.device(device)),
        ('', 'detector', 'ms', 'ratio', 'peak MB', 'ratio'),
        table,
    )


if __name__ == '__main__':
    main()

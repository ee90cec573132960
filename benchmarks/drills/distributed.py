"""Train every shipped config in several gloo processes; count what holds.

    python -m benchmarks.drills.distributed
    python -m benchmarks.drills.distributed --processes 4 retinaunet_r50_fpn

Two questions per config, answered on small images on a CPU:

- equal: Does the gradient equal that of one process with all images, within
  1e-5 of its norm? All processes have equally many positives. Where the
  gradients differ by definition, the reason is printed instead.
- together: Can processes without objects train together with others, and are
  all weights bit-identical after four steps?
"""

import functools
import logging
import tempfile
from pathlib import Path

import click
import mmengine.config
import torch
from mmengine.config import Config

import mmdet_retina_plus
from benchmarks.drills.count import Count
from tests.helpers.distributed_steps import (
    distance,
    joined_gradient,
    narrow,
    train,
)
from tests.helpers.processes import in_processes
from tests.helpers.shipped_configs import load, shrink

FOLDER = Path(mmdet_retina_plus.config('retinanet_r50_fpn_fl')).parent
NAMES = [
    str(path.relative_to(FOLDER).with_suffix(''))
    for path in sorted([*FOLDER.glob('*.py'), *FOLDER.glob('lab/*_*.py')])
]
TOLERANCE = 1e-5
WHY_NOT = {
    'retinaunet': 'dice of a batch is not the mean of its parts',
    'random-sampler': 'the sampler is random',
    'iou-balanced': 'the sampler is random',
    'rcnn': 'the samplers are random',
    'libra-retinanet': 'the sampler is random',
    'shem': 'the mining policy is random',
    'donuts': 'the mining policy is random',
    'shapes-demo': 'the sampler of masks is random',
    'sapd': 'a divisor below 1 is rounded up to 1',
    'ohem': 'the divisor is the number of anchors that NMS leaves',
}
"""Part of a config's name, and why its gradients differ by definition."""
SUMS = ('yolo',)
"""Losses that are sums; DistributedDataParallel averages their gradients."""


@click.command()
@click.argument('names', nargs=-1)
@click.option('--processes', default=2, help='Number of processes.')
def main(names: tuple[str, ...], processes: int) -> None:
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    # mmengine reads a hundred files for each base of mmdet.
    for module, name in (
        (mmengine.config.config, 'is_installed'),
        (mmengine.config.utils, 'load'),
    ):
        setattr(module, name, functools.cache(getattr(module, name)))
    names = names or tuple(NAMES)
    count = Count()
    for name in names:
        answers = answer(name, drill_config(name), processes)
        for question, said in answers.items():
            if not said.startswith('not compared'):
                count.add(question, [] if said.startswith('yes') else [name])
        click.echo(
            f'{name}: '
            + '; '.join(f'{key} {said}' for key, said in answers.items())
        )
    count.conclude()


def drill_config(name: str) -> Config:
    config = load(name)
    backbone = config.model.backbone
    if backbone.type == 'ResNeXt':
        backbone.type = 'ResNet'
        for key in ('groups', 'base_width'):
            del backbone[key]
    shrink(config)
    return narrow(config)


def answer(name: str, config: Config, count: int) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            ranks = in_processes(count, Path(folder), train, config)
        except Exception as error:  # A step may raise anything.
            line = str(error).strip().splitlines()[-1]
            return dict(together=f'no: {line}')
    weights = [weights for _, weights in ranks]
    same = all(torch.equal(weights[0], other) for other in weights[1:])
    finite = bool(weights[0].isfinite().all())
    found = ranks[0][0]
    if any(part in name for part in SUMS):
        found = found * count
    gap = distance(found, joined_gradient(config, count))
    reasons = [reason for part, reason in WHY_NOT.items() if part in name]
    return dict(
        equal=f'not compared, {reasons[0]}'
        if reasons
        else f'{"yes" if gap < TOLERANCE else "no"}, {gap:.0e}',
        together='yes' if same and finite else f'no: {same=} {finite=}',
    )


if __name__ == '__main__':
    main()

"""Train every shipped config in processes of gloo; count how it goes.

    python -m benchmarks.drills.distributed
    python -m benchmarks.drills.distributed --processes 4 retinaunet_r50_fpn

Two questions to each, answered by small images on a CPU:

- equal: Is the gradient that of one process with all images, within 1e-5 of
  its length? Processes have as many positives. Where the mathematics says no,
  the reason is printed instead.
- together: Do processes without objects train along with others, and do all
  have the same weights after four steps, bit for bit?
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
    'random-sampler': 'the sampler draws',
    'iou-balanced': 'the sampler draws',
    'rcnn': 'the samplers draw',
    'libra-retinanet': 'the sampler draws',
    'shem': 'the policy draws',
    'donuts': 'the policy draws',
    'shapes-demo': 'the sampler of masks draws',
    'sapd': 'a divisor below 1 is 1',
    'ohem': 'the divisor is the number of anchors that NMS leaves',
}
"""Part of a name, and why its processes are not one with all images."""
SUMS = ('yolo',)
"""Losses that are sums, of which DistributedDataParallel takes the mean."""


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
            if not said.startswith('not asked'):
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
        except Exception as error:  # Of whatever a step may raise.
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
        equal=f'not asked, {reasons[0]}'
        if reasons
        else f'{"yes" if gap < TOLERANCE else "no"}, {gap:.0e}',
        together='yes' if same and finite else f'no: {same=} {finite=}',
    )


if __name__ == '__main__':
    main()

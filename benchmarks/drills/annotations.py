"""Corrupt annotation files and images; count faults that pass silently.

    python -m benchmarks.drills.annotations --examples 3

Hypothesis generates small COCO sets. Each fault of
tests/helpers/annotation_faults.py corrupts some of them, then up to three
faults corrupt a set together. A set survives if doctor reports an error. It
also survives if training and scoring run, if objects, boxes, masks, semantic
maps and pixels equal the generated ones, and if doctor counts each lost object
and warns of every other fault.
"""

import logging
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import click
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.helpers.annotation_faults import FAULTS, Plan, plans
from tests.helpers.faulty_sets import HARMLESS


@click.command()
@click.option('--examples', default=3, help='Number of sets per fault.')
@click.option(
    '--pairs', default=30, help='Number of sets with one to three faults.'
)
@click.option('--start', default=0, help='Random seed.')
@click.option(
    '--only', default='', help='Only faults whose names contain this.'
)
def main(examples: int, pairs: int, start: int, only: str) -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    names = [name for name in FAULTS if only in name]
    fared: Counter[str] = Counter()
    for name in names:
        fared += spoil([name], examples, 1, start)
    if pairs:
        fared += spoil(names, pairs, 3, start)
    for kind in (*HARMLESS, 'not survived'):
        click.echo(f'{kind}: {fared[kind]}')
    survived = fared.total() - fared['not survived']
    click.echo(f'tried {fared.total()}, survived {survived}')
    raise SystemExit(fared['not survived'])


def spoil(names: list[str], examples: int, most: int, start: int) -> Counter:
    """Count outcomes of sets with one to `most` of the named faults."""
    fared: Counter[str] = Counter()

    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(plans(names, most))
    def try_one(plan: Plan) -> None:
        with tempfile.TemporaryDirectory() as folder:
            found = plan.carry_out(Path(folder))
        fared[found if found in HARMLESS else 'not survived'] += 1
        if found not in HARMLESS:
            click.echo(f'{plan.faults}: {found}')

    try_one()
    return fared


if __name__ == '__main__':
    main()

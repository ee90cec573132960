"""Spoil annotation files and images; count what training reads silently wrong.

    python -m benchmarks.drills.annotations --examples 3

Hypothesis paints small COCO sets, and each fault of
tests/helpers/annotation_faults.py spoils some, then pairs of faults. A set is
survived if doctor names an error; or if training and scoring run, and objects,
boxes, masks, map and pixels are those that were painted, doctor counts each
object that is lost, and warns of whatever else is wrong.
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
@click.option('--examples', default=3, help='Sets of each fault.')
@click.option('--pairs', default=30, help='Sets of one to three faults.')
@click.option('--start', default=0, help='Seed of the sets.')
@click.option('--only', default='', help='Part of the names of faults.')
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
    """How sets with one to `most` of the faults of these names fare."""
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

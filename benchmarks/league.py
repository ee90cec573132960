"""League of the strategy lab: collect results, write tables and pictures.

`collect` adds the finished trials of sweeps to docs/results/league.csv, one
row each. Costs come from `benchmarks.lab --out`, positives from `retina-plus
assignments`. `tables` writes the tables and pictures of docs/league.md.

python -m benchmarks.league collect work_dirs/lab_assigners --commit "$(git \\
    rev-parse --short HEAD)"
python -m benchmarks.league tables
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import click
import matplotlib.pyplot as plt
import pandas as pd
from mmengine.config import Config

from benchmarks.result_tables import DOCS, RESULTS, fill
from mmdet_retina_plus.common.output_files import replace

SCORES = dict(
    AP='bbox_mAP',
    AP50='bbox_mAP_50',
    AP75='bbox_mAP_75',
    APs='bbox_mAP_s',
    APm='bbox_mAP_m',
    APl='bbox_mAP_l',
)
KEY = ['data', 'strategy', 'seed']
KEY_OF_COSTS = ['data', 'device', 'strategy']
# Without the suffix that a sweep gives the folder of a point.
STRATEGY = r'((?:assigner|method)_[\w-]+?)(?:\.py)?(?:_[0-9a-f]{6})?$'
BASELINES = dict(
    assigner='assigner_max-iou',
    method='method_retinanet',
    a1='assigner_max-iou_a1',
)


def rows_of(work_dir: Path, commit: str) -> Iterator[dict]:
    """One row per finished trial of a sweep, on any machine.

    Raises:
        ValueError: The sweep has no report.
    """
    table = work_dir / 'report' / 'trials.csv'
    if not table.exists():
        raise ValueError(
            f'{table} is missing: run `retina-plus sweep report {work_dir}`'
        )
    trials = pd.read_csv(table)
    for trial in trials[trials.state == 'complete'].itertuples():
        folder = work_dir.joinpath(*Path(trial.folder).parts[-2:])
        run = max(path.parent for path in folder.glob('*/*.log'))
        lines = (run / 'vis_data' / 'scalars.json').read_text().splitlines()
        scores = next(
            scores
            for line in reversed(lines)
            if 'coco/bbox_mAP' in (scores := json.loads(line))
        )
        cfg = Config.fromfile(folder / 'trial.py')
        yield dict(
            data=data_of(Path(cfg.val_dataloader.dataset.data_root)),
            strategy=Path(trial.config).stem,
            seed=trial.seed,
            # COCO reports -1 for sizes without objects.
            **{
                name: None
                if scores[f'coco/{key}'] < 0
                else round(100 * scores[f'coco/{key}'], 1)
                for name, key in SCORES.items()
            },
            seconds=round(trial.seconds),
            **place_of(next(run.glob('*.log'))),
            date=pd.to_datetime(run.name.split('_')[0]).date().isoformat(),
            commit=commit,
            command=f'retina-plus sweep run {sweep_of(Path(trial.config))}',
        )


def data_of(folder: Path) -> str:
    """Preset of the lab's shapes in a folder, or the folder's name."""
    return 'easy' if folder.name == 'lab' else folder.name.removeprefix('lab-')


def sweep_of(config: Path) -> str:
    """Sweep that contains a config of the lab."""
    name = f'lab_{config.stem.split("_")[0]}s'
    if '_a1' in config.stem:
        name = 'lab_atss_table'
    return f'configs/sweeps/{name}.py'


def place_of(log: Path) -> dict[str, str]:
    """Device and version of PyTorch, from the head of mmengine's log."""
    head = log.read_text()[:5000]

    def found(pattern: str) -> str | None:
        match = re.search(pattern, head)
        return match and match[1].strip()

    cpu = f'CPU, {found(r"CPU capability usage: (.*)")}'
    return dict(
        device=found(r'GPU 0: (.*)') or cpu,
        torch=found(r'PyTorch: (.*)') or '',
    )


def read(name: str) -> pd.DataFrame:
    """Read data by its name in docs/results."""
    return pd.read_csv(RESULTS / f'{name}.csv')


def spread_of(runs: pd.DataFrame) -> float:
    """Standard deviation of one run's AP over seeds, pooled over strategies.

    Args:
        runs: Runs on one data set.

    Returns:
        The deviation; NaN if no strategy has two seeds.
    """
    groups = runs.groupby('strategy').AP
    degrees = (groups.size() - 1).sum()
    squares = (groups.var() * (groups.size() - 1)).sum()
    return math.sqrt(squares / degrees) if degrees else math.nan


def difference(gap: float, spread: float, seeds: Sequence[int]) -> str:
    """Difference in AP, or `none` if it is below twice the seeds' spread.

    `unknown` if the spread is unknown. A difference of two single runs
    spreads more than one run, by the square root of 2.

    Args:
        gap: Difference of two means over seeds.
        spread: Standard deviation of one run.
        seeds: Numbers of seeds of both.
    """
    if math.isnan(spread):
        return 'unknown'
    limit = 2 * spread * max(1, math.sqrt(sum(1 / x for x in seeds)))
    return 'none' if abs(gap) < limit else f'{gap:+.1f}'


def summary(family: str, data: str) -> pd.DataFrame:
    """Means over seeds of one family on one data set, the best first.

    Args:
        family: Prefix of the strategies' names; ``a1`` for the table of ATSS.
        data: Name of the data set.
    """
    runs = read('league')
    runs = runs[runs.data == data]
    is_a1 = runs.strategy.str.contains('_a1')
    mine = (
        is_a1
        if family == 'a1'
        else (runs.strategy.str.startswith(f'{family}_') & ~is_a1)
    )
    groups = runs[mine].groupby('strategy')
    means = groups[list(SCORES)].mean()
    means = means.join(groups[list(SCORES)].std().add_prefix('sd_'))
    means['seeds'] = groups.size()
    means['device'] = groups.device.first()
    if BASELINES[family] in means.index:
        baseline, spread = means.loc[BASELINES[family]], spread_of(runs)
        means['gap'] = [
            difference(mean - baseline.AP, spread, (seeds, baseline.seeds))
            for mean, seeds in zip(means.AP, means.seeds, strict=True)
        ]
    costs = read('league_costs')
    costs = costs[costs.device.str.startswith('CPU') & (costs.data == data)]
    costs = costs.drop_duplicates('strategy', keep='last').set_index(
        'strategy'
    )
    positives = read('league_positives')
    positives = positives[positives.data == data].set_index('strategy')
    return (
        means.join(costs[['step', 'image', 'image_ms', 'peak_mb']])
        .join(positives[['per_object', 'without', 'negatives_per_positive']])
        .sort_values('AP', ascending=False)
    )


HEADERS = dict(
    AP='AP',
    gap='against {baseline}',
    AP50='AP50',
    AP75='AP75',
    APs='APs',
    APm='APm',
    APl='APl',
    per_object='positives per object',
    without='objects without any',
    negatives_per_positive='negatives per positive',
    step='step',
    image='image',
    peak_mb='MB',
)


def markdown(family: str, data: str) -> str:
    """A table of `summary`."""
    table = summary(family, data)
    shown = {
        key: text.format(baseline=f'`{BASELINES[family]}`')
        for key, text in HEADERS.items()
        if key in table and not table[key].isna().all()
    }
    lines = [
        f'| strategy | {" | ".join(shown.values())} |',
        f'|---|{"---:|" * len(shown)}',
    ]
    for name, row in table.iterrows():
        cells = ' | '.join(show(key, row) for key in shown)
        lines.append(f'| `{name}` | {cells} |')
    return '\n'.join(lines) + '\n'


def show(key: str, row: pd.Series) -> str:
    """A cell of a table."""
    value = row[key]
    if pd.isna(value):
        return ''
    if isinstance(value, str):
        return value
    digits = dict(without=0, peak_mb=0, step=2, image=2)
    text = f'{value:.{digits.get(key, 1)}f}'
    spread = row.get(f'sd_{key}', math.nan)
    return text if pd.isna(spread) else f'{text} ± {spread:.1f}'


def picture(data: str) -> bytes:
    """Draw AP of assigners, and of methods over their time, as PNG.

    Assigners do not affect prediction, so they have no time axis; nor have
    methods on data whose costs are unknown.
    """
    families = {
        'One head': summary('assigner', data)[::-1],
        'Each method with its own head': summary('method', data)[::-1],
    }
    families = {title: x for title, x in families.items() if len(x)}
    figure, panels = plt.subplots(
        ncols=len(families),
        squeeze=False,
        figsize=(6 * len(families), 4.5),
        layout='constrained',
    )
    for axes, (title, table) in zip(
        panels.flat, families.items(), strict=True
    ):
        names = table.index.str.partition('_').get_level_values(2)
        timed = title != 'One head' and not table.image_ms.isna().all()
        axes.set(title=title, **{'ylabel' if timed else 'xlabel': 'box AP'})
        axes.grid(alpha=0.3)
        if not timed:
            spread = table.sd_AP.fillna(0)
            axes.errorbar(table.AP, names, xerr=spread, fmt='o', capsize=3)
            continue
        axes.plot(table.image_ms, table.AP, 's', color='C1')
        axes.margins(x=0.25)
        axes.set(xlabel='ms per image, one thread of a CPU')
        for name, x, y in zip(names, table.image_ms, table.AP, strict=True):
            axes.annotate(name, (x, y), (6, 3), textcoords='offset points')
    buffer = BytesIO()
    # Without a version, so that equal data give equal files.
    figure.savefig(buffer, dpi=110, metadata={'Software': None})
    plt.close(figure)
    return buffer.getvalue()


def add(name: str, rows: list[dict], key: list[str]) -> None:
    """Add rows to data, replacing those with the same key."""
    table = pd.DataFrame(rows)
    file = RESULTS / f'{name}.csv'
    if file.exists():
        table = pd.concat([read(name), table])
    table = table.drop_duplicates(key, keep='last').sort_values(key)
    file.parent.mkdir(exist_ok=True)
    replace(file, table.to_csv(index=False))


def source(command: Callable) -> Callable:
    """Add the options that record the source of data."""
    for name, text in (
        ('date', 'Day of the measurement, 2026-11-28.'),
        ('commit', 'Commit that was measured.'),
        ('command', 'Command of the measurement.'),
    ):
        command = click.option(f'--{name}', required=True, help=text)(command)
    return command


@click.group()
def main() -> None:
    """Results of the strategy lab."""


@main.command()
@click.argument(
    'work_dirs',
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option('--commit', required=True, help='Commit that was trained.')
def collect(work_dirs: tuple[Path, ...], commit: str) -> None:
    """Add the finished trials of the sweeps in WORK_DIRS."""
    rows = [row for folder in work_dirs for row in rows_of(folder, commit)]
    add('league', rows, KEY)


@main.command()
@click.argument('file', type=click.Path(exists=True, path_type=Path))
@click.option('--data', required=True, help='Name of the data set.')
@click.option(
    '--device', required=True, help='Device as benchmarks.lab prints it.'
)
@source
def costs(file: Path, data: str, device: str, **source: str) -> None:
    """Add the measurements of `benchmarks.lab --out FILE`."""
    table = pd.read_csv(file).rename(
        columns=lambda name: name.replace(' ', '_').lower()
    )
    # From the trial's folder, named after its config.
    table.strategy = table.strategy.str.extract(STRATEGY, expand=False)
    table = table.assign(
        data=data, reference=table.strategy[0], device=device, **source
    )
    add('league_costs', table.to_dict('records'), KEY_OF_COSTS)


@main.command()
@click.argument('file', type=click.Path(exists=True, path_type=Path))
@click.option('--data', required=True, help='Name of the data set.')
@click.option('--device', default='CPU', show_default=True)
@source
def positives(file: Path, data: str, **source: str) -> None:
    """Add the counts of `retina-plus assignments` from its JSON FILE."""
    rows = []
    for name, counts in json.loads(file.read_text())['strategies'].items():
        objects = counts['by_size']['all']
        rows.append(
            dict(
                data=data,
                # Two-stage detectors are counted at their RPN.
                strategy=name.removesuffix(' (RPN)'),
                objects=objects['objects'],
                per_object=round(objects['positives_per_object'], 2),
                without=objects['without'],
                negatives_per_positive=round(
                    counts['negatives_per_positive'], 1
                ),
                **source,
            )
        )
    add('league_positives', rows, ['data', 'strategy'])


@main.command()
def tables() -> None:
    """Write tables and pictures of docs/league.md."""
    file = DOCS / 'league.md'
    replace(file, fill(file.read_text(), 'table', markdown))
    for data in read('league').data.unique():
        replace(DOCS / 'images' / f'league_{data}.png', picture(data))


if __name__ == '__main__':
    main()

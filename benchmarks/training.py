"""Train one config with our modules and with mmdet's: same seeds, same steps.

The two sides of a seed run at the same time, one thread each, so that a noisy
machine hits both. Prints AP, time per step and peak memory side by side.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import click
from harness import print_table

STOCK = {
    'model.type': 'RetinaNet',
    'model.bbox_head.type': 'RetinaHead',
    'model.bbox_head.loss_cls.type': 'FocalLoss',
    'model.train_cfg.assigner.type': 'MaxIoUAssigner',
}
SIDES: dict[str, dict[str, str]] = {'ours': {}, 'stock': STOCK}
COLUMNS = ('box AP', 'AP50', 's/step', 'peak MB')


@click.command()
@click.argument('config', type=click.Path(exists=True, dir_okay=False))
@click.argument('data_root', type=click.Path(exists=True, file_okay=False))
@click.option('--seeds', default='0,1,2', show_default=True)
@click.option(
    '--cfg-options',
    multiple=True,
    metavar='KEY=VALUE',
    help='Changes both sides; may be repeated.',
)
@click.option(
    '--work-dir',
    default='work_dirs/training',
    show_default=True,
    type=click.Path(path_type=Path),
    help='Must not hold earlier runs.',
)
def main(
    config: str,
    data_root: str,
    seeds: str,
    cfg_options: tuple[str, ...],
    work_dir: Path,
) -> None:
    """Train CONFIG on the data set in the folder DATA_ROOT, on both sides."""
    if work_dir.exists():
        raise click.ClickException(
            f'{work_dir} exists: delete it or name another by --work-dir'
        )
    changes = dict(option.split('=', 1) for option in cfg_options)
    results: dict[str, list[list[float]]] = {side: [] for side in SIDES}
    for seed in seeds.split(','):
        options = {
            'randomness.seed': seed,
            **data_options(data_root),
            **changes,
        }
        runs = {
            side: start(config, work_dir / side / seed, options | change)
            for side, change in SIDES.items()
        }
        for side, (process, folder) in runs.items():
            results[side].append(finish(process, folder))
            click.echo(f'{side} seed {seed}: {results[side][-1]}')
    rows = [
        [name, *(summary(values) for values in zip(*runs, strict=True))]
        for name, runs in results.items()
    ]
    print_table(
        f'{Path(config).stem}, seeds {seeds}: mean (spread), one thread a run',
        ('', *COLUMNS),
        rows,
    )


def data_options(root: str) -> dict[str, str]:
    annotations = str(Path(root) / 'instances_val.json')
    return {
        **{
            f'{split}_dataloader.dataset.data_root': root
            for split in ('train', 'val', 'test')
        },
        'val_evaluator.ann_file': annotations,
        'test_evaluator.ann_file': annotations,
    }


def start(
    config: str, folder: Path, options: dict[str, str]
) -> tuple[subprocess.Popen, Path]:
    folder.mkdir(parents=True)
    command = [
        *(sys.executable, '-m', 'mim', 'train', 'mmdet', config),
        *('--work-dir', str(folder), '--cfg-options'),
        *(f'{key}={value}' for key, value in options.items()),
    ]
    process = subprocess.Popen(
        command,
        stdout=(folder / 'output.log').open('w'),
        stderr=subprocess.STDOUT,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
    )
    return process, folder


def finish(process: subprocess.Popen, folder: Path) -> list[float]:
    """Wait for a run, and return the numbers of ``COLUMNS``."""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f'A run failed, see {folder / "output.log"}')
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    metrics = [record for record in records if 'coco/bbox_mAP' in record][-1]
    # The first steps warm up.
    steps = [record['time'] for record in records if 'loss' in record][5:]
    return [
        metrics['coco/bbox_mAP'],
        metrics['coco/bbox_mAP_50'],
        round(statistics.median(steps), 3),
        round(usage.ru_maxrss / 1e3),
    ]


def summary(values: tuple[float, ...]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else float('nan')
    return f'{statistics.mean(values):.3f} ({spread:.3f})'


if __name__ == '__main__':
    main()

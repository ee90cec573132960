"""Train variants of one config side by side: same seeds, same steps.

Two runs at a time, one thread each. Prints AP, time per step and peak memory.
"""

import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import isnan, nan
from pathlib import Path

import click
from harness import print_table

STOCK = {
    'model.type': 'RetinaNet',
    'model.bbox_head.type': 'RetinaHead',
    'model.bbox_head.loss_cls.type': 'FocalLoss',
    'model.train_cfg.assigner.type': 'MaxIoUAssigner',
}
FIXED_BETA = {'model.bbox_head.loss_bbox.type': 'SmoothL1Loss'}
NO_MASKS = {
    'model.roi_head': 'None',
    'val_evaluator.metric': 'bbox',
    'test_evaluator.metric': 'bbox',
}
COMPARISONS: dict[str, dict[str, dict[str, str]]] = {
    'stock': {'ours': {}, 'stock': STOCK},
    # Each line adds one part of RetinaMask to the line above.
    'retinamask': {
        'RetinaNet': FIXED_BETA | NO_MASKS,
        'RetinaMask, fixed beta': FIXED_BETA,
        'RetinaMask': {},
    },
}
COLUMNS = {
    'box AP': 'coco/bbox_mAP',
    'AP50': 'coco/bbox_mAP_50',
    'mask AP': 'coco/segm_mAP',
    'mask AP50': 'coco/segm_mAP_50',
}


@click.command()
@click.argument('config', type=click.Path(exists=True, dir_okay=False))
@click.argument('data_root', type=click.Path(exists=True, file_okay=False))
@click.option(
    '--compare',
    type=click.Choice(list(COMPARISONS)),
    default='stock',
    show_default=True,
    help="Our modules with mmdet's, or the parts of RetinaMask.",
)
@click.option('--seeds', default='0,1,2', show_default=True)
@click.option('--jobs', default=2, show_default=True, help='Runs at a time.')
@click.option(
    '--cfg-options',
    multiple=True,
    metavar='KEY=VALUE',
    help='Changes all sides; may be repeated.',
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
    compare: str,
    seeds: str,
    jobs: int,
    cfg_options: tuple[str, ...],
    work_dir: Path,
) -> None:
    """Train variants of CONFIG on the data set in the folder DATA_ROOT."""
    if work_dir.exists():
        raise click.ClickException(
            f'{work_dir} exists: delete it or name another by --work-dir'
        )
    options = data_options(data_root)
    options |= dict(option.split('=', 1) for option in cfg_options)
    sides = COMPARISONS[compare]
    with ThreadPoolExecutor(jobs) as pool:
        runs = {
            (side, seed): pool.submit(
                train,
                config,
                work_dir / side.replace(', ', '-').replace(' ', '-') / seed,
                options | {'randomness.seed': seed} | change,
            )
            for seed in seeds.split(',')
            for side, change in sides.items()
        }
    rows = []
    for side in sides:
        results = [
            run.result() for (name, _), run in runs.items() if name == side
        ]
        rows.append(
            [side, *(summary(values) for values in zip(*results, strict=True))]
        )
    print_table(
        f'{Path(config).stem}, seeds {seeds}: mean (spread), one thread a run',
        ('', *COLUMNS, 's/step', 'peak MB'),
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


def train(config: str, folder: Path, options: dict[str, str]) -> list[float]:
    """Run `mim train`; AP of the last validation, seconds a step, peak MB."""
    folder.mkdir(parents=True)
    command = [
        *(sys.executable, '-m', 'mim', 'train', 'mmdet', config),
        *('--work-dir', str(folder), '--cfg-options'),
        *(f'{key}={value}' for key, value in options.items()),
    ]
    log = folder / 'output.log'
    with log.open('w') as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {'OMP_NUM_THREADS': '1'},
        )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f'A run failed, see {log}')
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    metrics = [record for record in records if 'loss' not in record][-1]
    # The first steps warm up.
    steps = [record['time'] for record in records if 'loss' in record][5:]
    results = [
        *(metrics.get(name, nan) for name in COLUMNS.values()),
        round(statistics.median(steps), 3),
        round(usage.ru_maxrss / 1e3),
    ]
    click.echo(f'{folder.parent.name} seed {folder.name}: {results}')
    return results


def summary(values: tuple[float, ...]) -> str:
    """Mean and spread; nothing where a run has no such metric."""
    if any(map(isnan, values)):
        return ''
    spread = statistics.stdev(values) if len(values) > 1 else nan
    return f'{statistics.mean(values):.3f} ({spread:.3f})'


if __name__ == '__main__':
    main()

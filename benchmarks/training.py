"""Train variants of one config side by side: same seeds, same steps.

Two runs at a time, one thread each. Prints AP, time per step and peak memory,
writes them to results.json, and draws AP over the fraction of the data.

python -m benchmarks.training configs/retinanet_r18_fpn_pennfudan.py $ROOT
"""

import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from math import isnan, nan
from pathlib import Path

import click

from benchmarks.harness import print_table

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


@dataclass(frozen=True)
class Side:
    """Differences from the given config.

    Attributes:
        options: Changes to the config.
        family: First word of the name of a config to use instead, such as
            retinanet for retinaunet_r18_fpn_donuts.py.
    """

    options: dict[str, str] = field(default_factory=dict)
    family: str = ''


COMPARISONS: dict[str, dict[str, Side]] = {
    'stock': {'ours': Side(), 'stock': Side(STOCK)},
    # Each line adds one part of RetinaMask to the line above.
    'retinamask': {
        'RetinaNet': Side(FIXED_BETA | NO_MASKS),
        'RetinaMask, fixed beta': Side(FIXED_BETA),
        'RetinaMask': Side(),
    },
    'retinaunet': {
        'RetinaNet': Side(family='retinanet'),
        'Retina U-Net': Side(),
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
    help="Our modules with mmdet's, the parts of RetinaMask, or what pixel "
    'supervision adds.',
)
@click.option(
    '--shares',
    default='1',
    show_default=True,
    help='Fractions of the training images to train on, such as 1,0.2.',
)
@click.option('--seeds', default='0,1,2', show_default=True)
@click.option(
    '--jobs', default=2, show_default=True, help='Number of parallel runs.'
)
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
    help='New folder for the runs.',
)
def main(
    config: str,
    data_root: str,
    compare: str,
    shares: str,
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
    num_images = count_images(Path(data_root) / 'instances_train.json')
    with ThreadPoolExecutor(jobs) as pool:
        runs = [
            pool.submit(
                train,
                Run(side, float(share), int(seed)),
                sibling(config, sides[side].family),
                work_dir,
                options
                | subset(float(share), num_images)
                | {'randomness.seed': seed}
                | sides[side].options,
            )
            for seed in seeds.split(',')
            for share in shares.split(',')
            for side in sides
        ]
    results = [run.result() for run in runs]
    (work_dir / 'results.json').write_text(
        json.dumps([asdict(run) for run in results], indent=1)
    )
    variants = dict.fromkeys(run.variant for run in results)
    print_table(
        f'{Path(config).stem}, seeds {seeds}: mean (spread), one thread a run',
        ('', *COLUMNS, 's/step', 'peak MB'),
        [row(variant, results) for variant in variants],
    )
    if ',' in shares:
        draw_shares(results, num_images, work_dir / 'shares.png')


@dataclass
class Run:
    """One training run.

    Attributes:
        numbers: Metrics in the order of ``COLUMNS``, then seconds per step and
            peak MB.
    """

    side: str
    share: float
    seed: int
    numbers: list[float] = field(default_factory=list)

    @property
    def variant(self) -> str:
        """Name without seed."""
        share = '' if self.share == 1 else f', {self.share:.0%} of images'
        return self.side + share

    @property
    def folder(self) -> Path:
        """Path relative to the work directory."""
        name = self.variant.replace(',', '').replace('%', '').split()
        return Path('-'.join(name)) / str(self.seed)


def sibling(config: str, family: str) -> str:
    """Config of another family with the same rest of the name."""
    path = Path(config)
    if not family:
        return config
    return str(path.with_name('_'.join([family, *path.name.split('_')[1:]])))


def count_images(annotations: Path) -> int:
    return len(json.loads(annotations.read_text())['images'])


def subset(share: float, num_images: int) -> dict[str, str]:
    """Options that select evenly spaced images of the training set.

    The first images of a file may be of one kind, as in Penn-Fudan.
    """
    if share == 1:
        return {}
    count = round(share * num_images)
    indices = [number * num_images // count for number in range(count)]
    return {'train_dataloader.dataset.indices': f'{indices}'.replace(' ', '')}


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


def train(
    run: Run, config: str, work_dir: Path, options: dict[str, str]
) -> Run:
    """Run `mim train` and record its numbers; AP is of the last validation."""
    folder = work_dir / run.folder
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
    run.numbers = [
        *(metrics.get(name, nan) for name in COLUMNS.values()),
        round(statistics.median(steps), 3),
        round(usage.ru_maxrss / 1e3),
    ]
    click.echo(f'{run.variant}, seed {run.seed}: {run.numbers}')
    return run


def draw_shares(runs: list[Run], num_images: int, path: Path) -> None:
    """Draw box AP of every run over the number of its training images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout='constrained')
    axes = figure.add_subplot(xlabel='training images', ylabel='box AP')
    for side in dict.fromkeys(run.side for run in runs):
        points = [
            (round(run.share * num_images), run.numbers[0])
            for run in runs
            if run.side == side
        ]
        shares = sorted({number for number, _ in points})
        means = [
            statistics.mean(ap for number, ap in points if number == share)
            for share in shares
        ]
        (line,) = axes.plot(shares, means, label=f'{side}, mean')
        marks = dict(alpha=0.6, color=line.get_color())
        axes.plot(*zip(*points, strict=True), 'o', **marks)
    axes.set_xscale('log')
    axes.set_xticks(shares, shares, minor=False)
    axes.minorticks_off()
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def row(variant: str, runs: list[Run]) -> list[str]:
    """A variant's name and the summary of each of its numbers."""
    numbers = [run.numbers for run in runs if run.variant == variant]
    return [variant, *map(summary, zip(*numbers, strict=True))]


def summary(values: tuple[float, ...]) -> str:
    """Mean and spread; empty if a run lacks the metric."""
    if any(map(isnan, values)):
        return ''
    spread = statistics.stdev(values) if len(values) > 1 else nan
    return f'{statistics.mean(values):.3f} ({spread:.3f})'


if __name__ == '__main__':
    main()

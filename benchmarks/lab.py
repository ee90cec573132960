"""Measure the lab's strategies: training step, prediction, memory.

The arguments are folders of trials of `retina-plus sweep run`, so that each
detector predicts with trained weights. The detectors take turns on the same
images; the first is the reference.

python -m benchmarks.lab work_dirs/lab_assigners/*/seed-0 --threads 1
"""

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import torch
from mmdet.models import BaseDetector
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.utils import import_modules_from_strings

from benchmarks.harness import describe, measure, print_table
from mmdet_retina_plus.common.trained_detectors import load_detector

COLUMNS = ('strategy', 'step', 'image', 'step ms', 'image ms', 'peak MB')


@dataclass
class Trial:
    """A trained detector and the images of its data loaders.

    Attributes:
        name: Name of its config.
        model: The detector.
        train: A batch of the data loader.
        image: One image of the validation set.
    """

    name: str
    model: BaseDetector
    train: dict
    image: dict

    def step(self) -> None:
        self.model.train()
        self.model.zero_grad()
        batch = self.model.data_preprocessor(self.train, True)
        losses = self.model(**batch, mode='loss')
        self.model.parse_losses(losses)[0].backward()

    @torch.no_grad()
    def predict(self) -> None:
        self.model.eval()
        self.model.test_step(self.image)


def load(folder: Path, device: torch.device) -> Trial:
    """Load the trial of a folder.

    Raises:
        ValueError: The folder has no config or no checkpoint.
    """
    checkpoint = find_latest_checkpoint(str(folder))
    if not (folder / 'trial.py').exists() or checkpoint is None:
        raise ValueError(
            f'{folder} has no trial.py or no checkpoint: name a folder of a '
            'finished trial, such as work_dirs/lab_assigners/*/seed-0'
        )
    cfg = Config.fromfile(folder / 'trial.py')
    import_modules_from_strings(**cfg.custom_imports)
    init_default_scope('mmdet')
    # BatchSyncRandomResize reads what the runner would write.
    MessageHub.get_current_instance().update_info('iter', 0)
    model = load_detector(cfg, checkpoint, str(device))
    train, val = (
        Runner.build_dataloader(cfg[f'{split}_dataloader'], seed=0)
        for split in ('train', 'val')
    )
    image = next(iter(val))
    return Trial(
        folder.parent.name,
        model,
        next(iter(train)),
        {key: values[:1] for key, values in image.items()},
    )


@click.command()
@click.argument(
    'folders',
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option('--device', default='cpu', show_default=True)
@click.option('--threads', default=1, show_default=True)
@click.option('--repeats', default=9, show_default=True)
@click.option('--out', type=click.Path(path_type=Path), help='A CSV file.')
def main(
    folders: tuple[Path, ...],
    device: str,
    threads: int,
    repeats: int,
    out: Path | None,
) -> None:
    """Time a training step and a prediction of the trials in FOLDERS."""
    torch.set_num_threads(threads)
    place = torch.device(device)
    try:
        trials = [load(folder, place) for folder in folders]
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    timed = partial(measure, device=place, repeats=repeats, warmup=2)
    steps = timed([trial.step for trial in trials])
    images = timed([trial.predict for trial in trials])
    rows = [
        (
            trial.name,
            f'{step.seconds / steps[0].seconds:.2f}',
            f'{image.seconds / images[0].seconds:.2f}',
            f'{1e3 * step.seconds:.1f}',
            f'{1e3 * image.seconds:.1f}',
            f'{step.megabytes:.0f}',
        )
        for trial, step, image in zip(trials, steps, images, strict=True)
    ]
    print_table(f'The lab, {describe(place)}', COLUMNS, rows)
    if out is not None:
        with out.open('w', newline='') as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == '__main__':
    main()

"""Distribution of the loss over anchors: figure 4 of the focal loss paper."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmdet_retina_plus.common.config_file import check_kinds, read_config
from mmdet_retina_plus.common.config_tree import seed_of
from mmdet_retina_plus.common.devices import chosen_device
from mmdet_retina_plus.common.numbers import show_number
from mmdet_retina_plus.common.output_files import check_folder, replace
from mmdet_retina_plus.common.text import error_text, quantity

if TYPE_CHECKING:
    from .loss_distribution import LogHistogram, LossSpread

HARDEST = (0.001, 0.01, 0.1)
"""Fractions of the negatives whose share of the loss is shown."""
HARDEST_POSITIVES = 0.2
"""In the paper, these have about half of the positives' loss."""
NAME, PARTIAL = 'loss_cdf', 'loss_cdf.partial'
ENDINGS = ('.json', '.csv', '.png')
"""In the order of writing: the picture is drawn after its data is saved."""


def files_of(out: Path, name: str) -> list[Path]:
    return [out / f'{name}{ending}' for ending in ENDINGS]


class Subject(NamedTuple):
    """Model and data whose losses are measured.

    Attributes:
        model: The detector, in evaluation mode.
        dataset: The data.
        seed: Seed of all random generators, for random pipelines.
    """

    model: Any
    dataset: Any
    seed: int


def prepare(
    config: str,
    cfg_options: Sequence[str],
    checkpoint: str,
    split: str,
    gammas: list[float],
    out: Path,
    device: str | None,
) -> Subject:
    """Build model and data, and check all arguments.

    Args:
        config: An mmdet config.
        cfg_options: Changes of the config.
        checkpoint: File or URL.
        split: 'train' or 'val'.
        gammas: Gammas of the losses.
        out: Folder for the results.
        device: None: the first GPU, or else the CPU.

    Raises:
        ValueError: An argument is wrong.
        ImportError: The environment is broken.
    """
    check_kinds(config, (checkpoint,))
    check_folder(out, [*files_of(out, NAME), *files_of(out, PARTIAL)])
    device = chosen_device(device)
    cfg = read_config(config, cfg_options)
    # After read_config, which reports a broken mmdet better.
    from mmdet_retina_plus.common.trained_detectors import load_detectors

    from .counted_anchors import classifier
    from .loss_curves import build_losses
    from .loss_data import build_dataset

    build_losses(gammas, (), None)  # Checks the gammas.
    dataset = build_dataset(cfg, split)
    (model,) = load_detectors(cfg, [checkpoint], device)
    classifier(model)  # Checks the head's loss.
    return Subject(model, dataset, seed_of(cfg) or 0)


def measure(
    subject: Subject,
    total: int,
    gammas: list[float],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> tuple['LossSpread', int, BaseException | None]:
    """Collect the losses of the first images, one image at a time.

    Args:
        subject: Result of `prepare`.
        total: Number of images.
        gammas: Gammas of the losses.
        progress: Wraps an iterable to show progress.

    Returns:
        The losses, the number of images they come from, and the error that
        stopped the loop, if any.
    """
    from mmengine.dataset import pseudo_collate
    from mmengine.runner import set_random_seed
    from torch import no_grad

    from .counted_anchors import classifier, seen_by_loss
    from .loss_distribution import LossSpread

    model, dataset, seed = subject
    set_random_seed(seed)
    spread, done, name = LossSpread(gammas), 0, 'the first image'
    try:
        _, use_sigmoid = classifier(model)
        for number in progress(range(total)):
            name = f'image {number + 1} of {total}'
            name = dataset.get_data_info(number).get('img_path', name)
            item = dataset[number]
            with no_grad():
                batch = model.data_preprocessor(pseudo_collate([item]))
                calls = seen_by_loss(
                    model, batch['inputs'], batch['data_samples']
                )
            image = LossSpread(gammas)
            for logits, labels in calls:
                image.add(logits, labels, use_sigmoid)
            # In one step, so that an interruption counts no half image.
            spread, done = spread + image, done + 1
    except KeyboardInterrupt as error:
        return spread, done, error
    except Exception as error:  # From files, pipelines and heads.
        return spread, done, ValueError(f'{name}: {error_text(error)}')
    return spread, done, None


def shares(histogram: 'LogHistogram', fractions: tuple[float, ...]) -> list:
    """Shares of the loss of the hardest fractions, None without anchors."""
    if not histogram.count:
        return [None] * len(fractions)
    return [histogram.hardest(fraction) for fraction in fractions]


def counts(spread: 'LossSpread') -> tuple[int, int]:
    """Numbers of positive and negative anchors."""
    return (
        next(iter(spread.positives.values())).count,
        next(iter(spread.negatives.values())).count,
    )


def write(
    spread: 'LossSpread', images: int, split: str, out: Path, name: str
) -> list[Path]:
    """Write the table, the curves and the picture.

    Args:
        spread: The losses.
        images: Number of images.
        split: Split of the images.
        out: Folder, created if missing.
        name: Name of the files; `NAME` replaces files of `PARTIAL`.

    Returns:
        The files.

    Raises:
        OSError: A file cannot be written.
    """
    from .loss_pictures import draw_cumulative

    positives, negatives = counts(spread)
    groups = dict(positives=spread.positives, negatives=spread.negatives)
    out.mkdir(parents=True, exist_ok=True)
    data, curves, picture = files = files_of(out, name)
    replace(data, json.dumps(table_of(spread, images, split), indent=2))
    replace(curves, curves_as_csv(groups))
    title = (
        f'{quantity(images, f"{split} image")}: '
        f'{quantity(positives, "positive")}, {quantity(negatives, "negative")}'
    )
    lines = [labelled_curves(group) for group in groups.values()]
    replace(picture, draw_cumulative(lines[0], lines[1], title))
    if name == NAME:
        for file in files_of(out, PARTIAL):
            file.unlink(missing_ok=True)
    return files


def table_of(spread: 'LossSpread', images: int, split: str) -> dict:
    """Content of the JSON file: shares of the hardest anchors, and counts."""
    positives, negatives = counts(spread)
    groups = (
        ('positives', spread.positives, (HARDEST_POSITIVES,)),
        ('negatives', spread.negatives, HARDEST),
    )
    hardest = {
        name: [
            dict(gamma=gamma, fraction=fraction, share=share)
            for gamma, histogram in group.items()
            for fraction, share in zip(
                fractions, shares(histogram, fractions), strict=True
            )
        ]
        for name, group, fractions in groups
    }
    return dict(
        images=images,
        split=split,
        positives=positives,
        negatives=negatives,
        hardest=hardest,
    )


def labelled_curves(group: dict[float, 'LogHistogram']) -> dict[str, Any]:
    return {
        rf'$\gamma$ = {show_number(gamma)}': histogram.curve()
        for gamma, histogram in group.items()
        if histogram.count
    }


def curves_as_csv(groups: dict[str, dict[float, 'LogHistogram']]) -> str:
    """Sample the curves, most densely at the hard end, where the loss is."""
    import numpy as np

    fractions = np.union1d(np.linspace(0, 1, 101), 1 - np.logspace(-2, -6, 41))
    lines = ['group,gamma,fraction,cumulative_loss']
    for name, group in groups.items():
        for gamma, histogram in group.items():
            if histogram.count:
                curve = histogram.cumulative(fractions)
                lines += [
                    f'{name},{show_number(gamma)},{x:.7f},{y:.7g}'
                    for x, y in zip(fractions, curve, strict=True)
                ]
    return '\n'.join(lines) + '\n'

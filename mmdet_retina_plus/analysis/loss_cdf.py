"""How the loss spreads over anchors: figure 4 of the focal loss paper."""

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
"""The paper: these carry about half of the positives' loss."""
NAME, PARTIAL = 'loss_cdf', 'loss_cdf.partial'
ENDINGS = ('.json', '.csv', '.png')
"""In the order of writing: a picture is drawn when its data is safe."""


def files_of(out: Path, name: str) -> list[Path]:
    return [out / f'{name}{ending}' for ending in ENDINGS]


class Subject(NamedTuple):
    """Model and data whose losses are measured.

    Attributes:
        model: The detector, in evaluation mode.
        dataset: Its data.
        seed: Seed of all generators, for random pipelines.
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
    """Build model and data, and find mistakes before any work.

    Args:
        config: An mmdet config.
        cfg_options: Changes of the config.
        checkpoint: File or address.
        split: 'train' or 'val'.
        gammas: Gammas of the losses.
        out: Folder for the results.
        device: None: the first GPU, or else the CPU.

    Raises:
        ValueError: One of them does not fit.
        ImportError: The environment is broken.
    """
    check_kinds(config, (checkpoint,))
    check_folder(out, [*files_of(out, NAME), *files_of(out, PARTIAL)])
    device = chosen_device(device)
    cfg = read_config(config, cfg_options)
    # Not before: where mmdet is broken, read_config says so better.
    from mmdet_retina_plus.common.trained_detectors import load_detectors

    from .counted_anchors import classifier
    from .loss_curves import build_losses
    from .loss_data import build_dataset

    build_losses(gammas, (), None)  # It refuses what is no gamma.
    dataset = build_dataset(cfg, split)
    (model,) = load_detectors(cfg, [checkpoint], device)
    classifier(model)  # It refuses heads whose loss is another.
    return Subject(model, dataset, seed_of(cfg) or 0)


def measure(
    subject: Subject,
    total: int,
    gammas: list[float],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> tuple['LossSpread', int, BaseException | None]:
    """Count the losses of the first images, one at a time.

    Args:
        subject: What `prepare` returned.
        total: Number of images to take.
        gammas: Gammas of the losses.
        progress: Passes image numbers on and shows how many are done.

    Returns:
        The losses, how many images they are of, all of them whole, and what
        stopped it, if anything did.
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
            # In one step: whatever stops it, no image is counted by half.
            spread, done = spread + image, done + 1
    except KeyboardInterrupt as error:
        return spread, done, error
    except Exception as error:  # Of files, pipelines and heads.
        return spread, done, ValueError(f'{name}: {error_text(error)}')
    return spread, done, None


def shares(histogram: 'LogHistogram', fractions: tuple[float, ...]) -> list:
    """Shares of the loss that the hardest carry, None where there are none."""
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
        images: Their number.
        split: That they are of.
        out: Folder, made where there is none.
        name: Name of the files; `NAME` takes the place of `PARTIAL`.

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
    """Content of the JSON file: shares of the hardest, and their source."""
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
    """Curves at fractions that crowd at the hard end, as the loss does."""
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

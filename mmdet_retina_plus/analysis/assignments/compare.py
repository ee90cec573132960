"""Compare the assignments of several configs on the same images."""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmdet_retina_plus.common.config_file import check_kinds, read_config
from mmdet_retina_plus.common.devices import chosen_device
from mmdet_retina_plus.common.output_files import check_folder, replace
from mmdet_retina_plus.common.text import error_text, quantity

if TYPE_CHECKING:
    from .images import Images
    from .statistics import Counts
    from .strategies import Scene, Strategy

FILES = ('assignments.json', 'sheet.png', 'index.html')
"""Output files in the order of writing."""
DRAWN = 8
"""Largest number of images on the sheet; all are counted."""
NO_CHECKPOINT = '-'
"""Stands for the initial model instead of a checkpoint."""


class Subject(NamedTuple):
    """Strategies and images to compare.

    Attributes:
        strategies: One strategy per config.
        images: Images that all strategies are run on.
        split: Split of the images.
    """

    strategies: 'list[Strategy]'
    images: 'Images'
    split: str


class Comparison(NamedTuple):
    """Result of a comparison.

    Attributes:
        drawn: File name and scenes of the first images.
        counts: Counts by strategy, one item per image.
        overlaps: Overlaps by strategy, one item per image.
        failures: Images that failed, with the reason.
    """

    drawn: 'list[tuple[str, list[Scene]]]'
    counts: 'dict[str, list[Counts]]'
    overlaps: dict[str, list]
    failures: list[str]


def prepare(
    configs: Sequence[str],
    cfg_options: Sequence[str],
    checkpoints: Sequence[str],
    data: str | None,
    split: str,
    most: int,
    out: Path,
    device: str | None,
) -> Subject:
    """Build detectors and data, and check all arguments.

    Args:
        configs: mmdet configs.
        cfg_options: Changes of all configs.
        checkpoints: None, or one per config; `NO_CHECKPOINT` for none.
        data: Config whose images to use; None: the first of `configs`.
        split: 'train' or 'val'.
        most: Maximum number of images.
        out: Folder for the results.
        device: None: the first GPU, or else the CPU.

    Raises:
        ValueError: An argument is wrong.
        ImportError: The environment is broken.
    """
    if checkpoints and len(checkpoints) != len(configs):
        raise ValueError(
            f'{quantity(len(configs), "config")} and '
            f'{quantity(len(checkpoints), "checkpoint")}: name one per '
            f'config, in their order, {NO_CHECKPOINT} for none'
        )
    files = ['' if x == NO_CHECKPOINT else x for x in checkpoints]
    for config in configs:
        check_kinds(config, [file for file in files if file])
    check_folder(out, [out / name for name in FILES])
    device = chosen_device(device)
    loaded = [read_config(config, cfg_options) for config in configs]
    # After read_config, which reports a broken mmdet better.
    from .images import choose_images
    from .strategies import build_strategy, names_of

    cfg = read_config(data, cfg_options) if data else loaded[0]
    images = choose_images(cfg, split, most)
    strategies = [
        build_strategy(name, cfg, split, file, device)
        for name, cfg, file in zip(
            names_of(configs),
            loaded,
            files or [''] * len(configs),
            strict=True,
        )
    ]
    return Subject(strategies, images, split)


def compare(
    subject: Subject,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Comparison:
    """Run all strategies on all images, one at a time.

    An image that fails for one strategy is left out for all.

    Args:
        subject: Result of `prepare`.
        progress: Wraps an iterable of image and strategy to show progress.

    Raises:
        ValueError: All images failed.
    """
    from .strategies import scene_of

    strategies, images, _ = subject
    found = Comparison(
        [],
        {strategy.name: [] for strategy in strategies},
        {strategy.name: [] for strategy in strategies},
        [],
    )
    scenes: list[Scene] = []
    failed = False
    steps = product(range(len(images.chosen)), strategies)
    for number, strategy in progress(list(steps)):
        path = images.path(number)
        if strategy is strategies[0]:
            scenes, failed = [], False
        if failed:
            continue
        try:
            scenes.append(scene_of(strategy, images.info(number)))
        except Exception as error:  # From files, pipelines and heads.
            found.failures.append(
                f'{path}, {strategy.name}: {error_text(error)}'
            )
            failed = True
        if len(scenes) == len(strategies):
            add_image(found, strategies, Path(path).name, scenes)
    if not found.drawn:
        raise ValueError(found.failures[0])
    return found


def add_image(
    found: Comparison,
    strategies: 'Sequence[Strategy]',
    name: str,
    scenes: 'list[Scene]',
) -> None:
    """Count an image, and keep the first images to draw."""
    from .negatives import negative_overlaps
    from .statistics import counts_of

    for strategy, scene in zip(strategies, scenes, strict=True):
        found.counts[strategy.name].append(counts_of(scene))
        found.overlaps[strategy.name].append(
            negative_overlaps(scene, bool(strategy.checkpoint))
        )
    if len(found.drawn) < DRAWN:
        found.drawn.append((name, scenes))


def write(subject: Subject, found: Comparison, out: Path) -> dict[str, dict]:
    """Write numbers, sheet and page.

    Returns:
        The numbers, by strategy.

    Raises:
        OSError: A file cannot be written.
    """
    from .drawing import draw_maps, draw_sheet
    from .negatives import joined
    from .page import page_html
    from .plots import draw_negatives, draw_positives_over_size
    from .statistics import statistics

    strategies, images, split = subject
    numbers = {
        name: statistics(counts, images.classes)
        for name, counts in found.counts.items()
    }
    sheet = draw_sheet(found.drawn, list(numbers))
    overlaps = {
        name: all_images
        for name, items in found.overlaps.items()
        if (all_images := joined(items))
    }
    pictures = dict(
        sheet=sheet,
        sizes=draw_positives_over_size(
            {name: item['objects'] for name, item in numbers.items()}
        ),
        negatives=draw_negatives(overlaps) if overlaps else None,
        maps={
            strategy.name: draw_maps(
                [(name, line[number]) for name, line in found.drawn]
            )
            for number, strategy in enumerate(strategies)
            if found.drawn[0][1][number].maps
        },
    )
    shown = next(iter(numbers.values()))['images']
    source = quantity(shown, f'{split} image')
    if shown > len(found.drawn):
        source += f', the first {len(found.drawn)} of them drawn'
    page = page_html(strategies, numbers, pictures, found.failures, source)
    data = json.dumps(
        dict(split=split, failures=found.failures, strategies=numbers),
        indent=2,
    )
    out.mkdir(parents=True, exist_ok=True)
    contents: tuple[str | bytes, ...] = (data, sheet, page)
    for name, content in zip(FILES, contents, strict=True):
        replace(out / name, content)
    return numbers

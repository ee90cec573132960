"""Evaluate a checkpoint or a result file, and write the page and its files."""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.config_file import check_kinds, read_config
from mmdet_retina_plus.common.devices import chosen_device
from mmdet_retina_plus.common.output_files import check_folder, replace
from mmdet_retina_plus.common.text import TAKE_WEAKER, quantity

from .collector import Collector
from .columns import Columns
from .numbers import numbers_of
from .page import page_html
from .results import (
    Found,
    check_ids,
    found_in,
    metrics_of,
    nothing,
    read_records,
    renumber,
)
from .sheet import Worst, draw_sheet, shown_badness
from .tables import classes_csv, confusion_csv, curves_csv
from .truth import MASKS, Truth, read_truth

WORST = 8
"""Images on the sheet."""
CANDIDATES = 64
"""Worst images kept until the minimum score of the sheet is known, which picks
among them; the detections of all images might not fit into memory."""
NAMES = {'bbox': 'boxes', 'segm': 'masks'}
"""Names of the metrics in messages and file names."""


class Subject(NamedTuple):
    """Data to evaluate.

    Attributes:
        truth: Images and objects.
        found: Detections in some or all of the images.
        source: Description of the detections' source.
        notes: Notes on possible mistakes.
    """

    truth: Truth
    found: Iterable[Found]
    source: str
    notes: list[str]


class Evaluated(NamedTuple):
    """Matches of a metric.

    Attributes:
        columns: Detections and objects.
        worst: Candidates for the sheet, worst first by all scores.
        num_cut: Number of detections beyond `max_dets`.
    """

    columns: Columns
    worst: list[Worst]
    num_cut: int


def files_of(out: Path) -> list[Path]:
    """All files that may be written."""
    return [
        out / name
        for name in (
            *('evaluation.json', 'classes.csv', 'curves.csv', 'index.html'),
            *(f'confusion-{name}.csv' for name in NAMES.values()),
            *(f'worst-{name}.jpg' for name in NAMES.values()),
        )
    ]


def from_checkpoint(
    config: str,
    checkpoint: str,
    out: Path,
    *,
    split: str = 'val',
    device: str | None = None,
    cfg_options: Sequence[str] = (),
) -> Subject:
    """Prepare a checkpoint and the data of its config.

    Args:
        config: Config file of mmdet.
        checkpoint: File or URL.
        out: Folder for the results.
        split: 'val', 'test' or 'train'.
        device: None: the first GPU, or else the CPU.
        cfg_options: Changes of the config, each KEY=VALUE.

    Raises:
        ValueError: An argument is wrong.
        ImportError: The environment is broken.
    """
    check_kinds(config, (checkpoint,))
    check_folder(out, files_of(out))
    device = chosen_device(device)
    cfg = read_config(config, cfg_options)
    # After read_config, which reports a broken mmdet better.
    from mmdet_retina_plus.common.trained_detectors import load_detectors

    from .checkpoint import detect, load

    (model,) = load_detectors(cfg, [checkpoint], device)
    loaded = load(cfg, model, split, checkpoint)
    source = f'{checkpoint} on the {split} data of {config}'
    return Subject(loaded.truth, detect(loaded), source, loaded.notes)


def from_results(
    results: Path,
    ann_file: Path,
    out: Path,
    *,
    images: Path | None = None,
    names: Callable[[Path, list[dict]], Any] | None = None,
) -> Subject:
    """Prepare a result file.

    Args:
        results: Result file in COCO's format, of any detector.
        ann_file: Annotation file with the objects.
        out: Folder for the results.
        images: Folder of the images. None: the sheet shows grey images.
        names: Function that reads `images` and `categories`, the name of each
            id, from the file next to the results.

    Raises:
        ValueError: A file cannot be read, or the files do not fit.
    """
    check_folder(out, files_of(out))
    if images is not None and not images.is_dir():
        raise ValueError(f'There is no folder of images {images}')
    records = read_records(results)
    truth = Truth(ann_file, read_truth(ann_file))
    beside = names(results, records) if names else None
    if beside and beside.images:
        renumber(records, beside.images, beside.categories, truth)
    check_ids(results, records, truth)
    metrics = metrics_of(results, records)
    notes = []
    if MASKS in metrics and not truth.has_masks:
        metrics.remove(MASKS)
        notes.append(
            f'{ann_file} has objects without a segmentation, so only boxes '
            'are evaluated'
        )
    file_names = [image['file_name'] for image in truth.images.values()]
    if images and not any((images / x).is_file() for x in file_names):
        notes.append(
            f'{images} has none of the images, such as {file_names[0]}: the '
            'sheet is grey'
        )
    found = found_in(results, records, metrics, truth, images)
    return Subject(truth, found, f'{results} on {ann_file}', notes)


def evaluate(
    subject: Subject,
    max_dets: int = 100,
    wanted: Sequence[str] = (),
    progress: Callable[..., Iterable[Any]] | None = None,
) -> dict[str, Evaluated]:
    """Match all images, one at a time.

    Args:
        subject: Data to evaluate.
        max_dets: Number of best detections to keep per class and image.
        wanted: Metrics, 'bbox' or 'segm'. Empty: all that exist.
        progress: Wraps an iterable of `total` images to show progress.

    Returns:
        Matches by metric.

    Raises:
        ValueError: Detection fails or finds nothing, or masks are missing.
    """
    truth = subject.truth
    if MASKS in wanted and not truth.has_masks:
        raise ValueError(
            f'{truth.path} has objects without a segmentation, so masks '
            'cannot be evaluated: leave out --metric segm'
        )
    collectors: dict[str, Collector] = {}
    worst: dict[str, list[Worst]] = {}
    images: Iterable[Found] = complete(subject)
    if progress:
        images = progress(images, total=len(truth.images))
    for found in images:
        number = truth.numbers[found.image_id]
        if not found.by_metric.keys() >= {*wanted}:
            raise ValueError(
                f'{subject.source}: the detections have no masks: leave out '
                '--metric segm'
            )
        for metric, detections in found.by_metric.items():
            if metric == MASKS and not truth.has_masks:
                continue
            if wanted and metric not in wanted:
                continue
            collector = collectors.setdefault(
                metric, Collector(len(truth.classes), max_dets)
            )
            objects = truth.of_image(found.image_id, metric)
            badness, kept = collector.add(number, objects, detections)
            image = Worst(badness, -number, found.image_id, found.path, kept)
            heap = worst.setdefault(metric, [])
            heapq.heappush(heap, image)
            if len(heap) > CANDIDATES:
                heapq.heappop(heap)
    evaluated = {
        metric: Evaluated(
            collector.columns(),
            sorted(worst[metric], reverse=True),
            collector.num_cut,
        )
        for metric, collector in collectors.items()
    }
    if not any(len(item.columns.labels) for item in evaluated.values()):
        raise ValueError(
            f'{subject.source}: nothing was detected in '
            f'{quantity(len(truth.images), "image")}: {TAKE_WEAKER}'
        )
    return evaluated


def complete(subject: Subject) -> Iterator[Found]:
    """Yield the detections in every image, empty for unprocessed images."""
    left = dict(subject.truth.images)
    metrics: Sequence[str] = ()
    for found in subject.found:
        if left.pop(found.image_id, None) is not None:
            metrics = tuple(found.by_metric)
            yield found
    for image_id in left:
        yield Found(image_id, None, nothing(metrics))


def write(
    subject: Subject,
    evaluated: Mapping[str, Evaluated],
    out: Path,
    score: float | None = None,
) -> tuple[dict[str, Any], list[Path]]:
    """Write the numbers, the sheets and the page.

    Args:
        subject: Evaluated data.
        evaluated: Result of `evaluate`.
        out: Folder, created if missing.
        score: Minimum score of confusions and on the sheet. None: the score at
            which F1 of all classes together is largest.

    Returns:
        The numbers, and the files.

    Raises:
        ImportError: plotly is missing.
        OSError: A file cannot be written.
    """
    truth = subject.truth
    notes = [*subject.notes]
    numbers: dict[str, Any] = {}
    sheets: dict[str, bytes] = {}
    for metric, item in evaluated.items():
        numbers[metric] = numbers_of(item.columns, truth.classes, score)
        least = numbers[metric]['score_thr']
        rate = partial(shown_badness, truth, metric, item.columns, score=least)
        worst = heapq.nlargest(WORST, item.worst, rate)
        sheets[metric] = draw_sheet(truth, metric, item.columns, worst, least)
        if item.num_cut:
            notes.append(
                f'{quantity(item.num_cut, "detection")} left out beyond the '
                f'best per class and image ({NAMES[metric]}): --max-dets '
                'keeps more'
            )
    content = dict(
        source=subject.source,
        images=len(truth.images),
        classes=truth.classes,
        notes=notes,
        metrics=numbers,
    )
    contents: dict[str, str | bytes] = {
        'evaluation.json': json.dumps(content, indent=1),
        'classes.csv': classes_csv(numbers),
        'curves.csv': curves_csv(numbers),
    }
    for metric, name in NAMES.items():
        if metric in numbers:
            contents[f'confusion-{name}.csv'] = confusion_csv(
                numbers[metric]['confusion'], truth.classes
            )
            contents[f'worst-{name}.jpg'] = sheets[metric]
    contents['index.html'] = page_html(content, sheets)
    out.mkdir(parents=True, exist_ok=True)
    was_ours = (out / 'evaluation.json').is_file()
    for name, data in contents.items():
        replace(out / name, data)
    for file in files_of(out):
        if was_ours and file.name not in contents:
            file.unlink(missing_ok=True)
    return content, [out / name for name in contents]

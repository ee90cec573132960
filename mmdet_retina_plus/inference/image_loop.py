"""Process images one by one, and collect results and errors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmdet_retina_plus.common.text import error_text

from .image_list import ListedImage
from .image_sizes import check_size, is_turned_unseen
from .results import Results


def detect_in_all(
    detector: Any,
    listed: Sequence[ListedImage],
    results: Results,
    score_thr: float,
    draw: Callable[[ListedImage, Any], bool],
) -> None:
    """Process all images; an error in one does not stop the others.

    Args:
        detector: A `TiledDetector`.
        listed: The images.
        results: Receives detections, names of missing images, and a line for
            each other error.
        score_thr: Minimum score to keep.
        draw: Writes pictures of an image from its DetDataSample; returns
            whether the picture has no box.

    Raises:
        OSError: Detections cannot be written.
    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task('images', total=len(listed))

        def advance(done: int, share: float) -> None:
            progress.update(task, completed=done + share)

        for number, image in enumerate(listed):
            if not image.path.is_file():
                results.missing.append(image.file_name)
                advance(number, 1)
                continue
            try:
                pixels = detector.read(image.path)
                check_size(
                    image, pixels.shape, detector.loader, detector.loader_key
                )
                sample = detector(pixels, partial(advance, number))
                found = sample.pred_instances
                sample.pred_instances = found[found.scores >= score_thr]
                rows = results.rows(image, pixels.shape, sample.pred_instances)
                turned = is_turned_unseen(image, detector.loader)
            except Exception as error:  # From files, pipelines and models.
                results.failures.append(
                    f'{image.file_name}: {error_text(error)}'
                )
            else:
                results.add(image, pixels.shape, rows)
                if turned:
                    results.turned.append(image.file_name)
                try:
                    results.num_bare += draw(image, sample)
                except Exception as error:  # From files and drawing.
                    results.undrawn.append(
                        f'{image.file_name}: no picture: {error_text(error)}'
                    )
            advance(number, 1)

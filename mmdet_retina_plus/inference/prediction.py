"""The loop over images; what fails in one does not stop the next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .image_list import ListedImage


@dataclass
class Results:
    """What was found in all images.

    Attributes:
        categories: Id of each label.
        boxes: COCO's results.
        images: COCO's images, those that were seen.
        failures: A line for each of the others.
        undrawn: A line for each that was seen, but of which no picture could
            be made.
    """

    categories: Sequence[int | str]
    boxes: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    undrawn: list[str] = field(default_factory=list)

    def add(
        self, image: ListedImage, shape: tuple[int, ...], found: Any
    ) -> None:
        """Take up an image of a shape (H, W, ...) with its InstanceData."""
        # Before anything is taken up, since one of them may fail.
        boxes = [
            dict(
                image_id=image.image_id,
                category_id=self.categories[label],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=score,
            )
            for (x1, y1, x2, y2), score, label in zip(
                found.bboxes.tolist(),
                found.scores.tolist(),
                found.labels.tolist(),
                strict=True,
            )
        ]
        self.images.append(
            dict(
                id=image.image_id,
                file_name=image.file_name,
                height=shape[0],
                width=shape[1],
            )
        )
        self.boxes += boxes

    def coco(self, categories: Sequence[dict]) -> dict[str, Sequence]:
        """A COCO file of the images, without annotations."""
        return dict(images=self.images, annotations=[], categories=categories)


def predict(
    detector: Any,
    listed: Sequence[ListedImage],
    results: Results,
    score_thr: float,
    draw: Callable[[ListedImage, Any], object],
) -> None:
    """Detect in all images; what fails in one does not stop the next.

    Args:
        detector: A `TiledDetector`.
        listed: The images.
        results: Take up what is found.
        score_thr: Least score to keep.
        draw: Makes a picture.
    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task('images', total=len(listed))

        def advance(done: int, share: float) -> None:
            progress.update(task, completed=done + share)

        for number, image in enumerate(listed):
            try:
                pixels = detector.read(image.path)
                found = detector(pixels, partial(advance, number))
                found = found[found.scores >= score_thr]
                results.add(image, pixels.shape, found)
            except Exception as error:  # Of files, pipelines and models.
                results.failures.append(
                    f'{image.file_name}: {in_a_line(error)}'
                )
            else:
                try:
                    draw(image, found)
                except Exception as error:  # Of files and drawing.
                    results.undrawn.append(
                        f'{image.file_name}: no picture: {in_a_line(error)}'
                    )
            advance(number, 1)


def in_a_line(error: Exception) -> str:
    """OpenCV's errors, for one, have several."""
    return ' '.join(f'{type(error).__name__}: {error}'.split())


def picture_maker(
    show_dir: Path | None, meta: dict[str, Any], score_thr: float
) -> Callable[[ListedImage, Any], object]:
    """What draws an image's boxes into a file of its name below a folder."""
    if show_dir is None:
        return lambda image, found: None
    from .pictures import Pictures

    pictures = Pictures(meta, score_thr)
    return lambda image, found: pictures.save(
        image.path, found, show_dir / image.file_name
    )

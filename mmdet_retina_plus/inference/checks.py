"""What commands with a checkpoint refuse before any work."""

from collections.abc import Sequence
from pathlib import Path

from mmdet_retina_plus.common.config_file import check_kinds
from mmdet_retina_plus.common.output_files import check_out

from .image_list import ListedImage


def check_files(
    out: Path,
    beside: Path | None,
    ann_file: Path | None,
    listed: Sequence[ListedImage],
    *,
    config: str,
    checkpoint: str,
    ensemble: Sequence[str],
    **_,
) -> None:
    """Refuse files in each other's place, or to be overwritten.

    Raises:
        ValueError: With the way out.
    """
    check_kinds(config, (checkpoint, *ensemble))
    inputs: list[str | Path] = [
        config,
        checkpoint,
        *ensemble,
        *(x.path for x in listed),
    ]
    if ann_file:
        inputs.append(ann_file)
    for file in (out, beside):
        if file:
            check_out(file, inputs)


def check_pictures(show_dir: Path, listed: Sequence[ListedImage]) -> None:
    """Refuse pictures that would lie elsewhere, or replace their images.

    Raises:
        ValueError: With the way out.
    """
    sources = {image.path.resolve() for image in listed}
    for image in listed:
        picture = (show_dir / image.file_name).resolve()
        if not picture.is_relative_to(show_dir.resolve()):
            raise ValueError(
                f'The file name {image.file_name} leads out of --show-dir: '
                'predict without pictures'
            )
        if picture in sources:
            raise ValueError(
                f'--show-dir would overwrite {picture}: name another'
            )

"""Files that a detection in many images must not mix up or overwrite."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mmdet_retina_plus.common.config_file import check_kinds
from mmdet_retina_plus.common.output_files import check_out

from .image_list import ListedImage


def check_files(
    outputs: Iterable[Path],
    config: str,
    checkpoints: Sequence[str],
    others: Iterable[Path],
) -> None:
    """Refuse files in each other's place, or to be overwritten.

    Args:
        outputs: To be written.
        config: To be read.
        checkpoints: To be read.
        others: Other files to be read.

    Raises:
        ValueError: With the way out.
    """
    check_kinds(config, checkpoints)
    inputs: list[str | Path] = [config, *checkpoints, *others]
    for file in outputs:
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

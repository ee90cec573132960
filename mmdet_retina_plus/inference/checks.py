"""Checks before detection starts: no output overwrites an input."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mmdet_retina_plus.common.config_file import check_kinds
from mmdet_retina_plus.common.output_files import check_out

from .image_list import ListedImage


def check_outputs(
    outputs: Iterable[Path],
    config: str,
    checkpoints: Sequence[str],
    others: Iterable[Path],
) -> None:
    """Refuse outputs that overwrite inputs, and a config given as checkpoint.

    Args:
        outputs: Files to write.
        config: Config file.
        checkpoints: Files or addresses.
        others: Other files that are read.

    Raises:
        ValueError: An output is an input, or its folder is missing; or config
            and checkpoint are swapped.
    """
    check_kinds(config, checkpoints)
    inputs: list[str | Path] = [config, *checkpoints, *others]
    for file in outputs:
        check_out(file, inputs)


def check_pictures(show_dir: Path, listed: Sequence[ListedImage]) -> None:
    """Refuse pictures that leave their folder or overwrite an image.

    Args:
        show_dir: Folder for pictures; each has the file name of its image.
        listed: The images.

    Raises:
        ValueError: A picture would do so.
    """
    sources = {image.path.resolve() for image in listed}
    for image in listed:
        picture = (show_dir / image.file_name).resolve()
        if not picture.is_relative_to(show_dir.resolve()):
            raise ValueError(
                f'The file name {image.file_name} leads out of the folder '
                f'{show_dir}: predict without pictures'
            )
        if picture in sources:
            raise ValueError(
                f'The picture of {image.file_name} would overwrite the image '
                f'{picture}: name another folder for pictures'
            )

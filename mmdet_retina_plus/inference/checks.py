"""Checks before detection starts: no output overwrites an input."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from mmdet_retina_plus.common.config_file import check_kinds
from mmdet_retina_plus.common.output_files import check_out, check_writable

from .image_list import ListedImage


def check_outputs(
    outputs: Iterable[Path],
    config: str,
    checkpoints: Sequence[str],
    others: Iterable[Path],
) -> None:
    """Refuse outputs that overwrite inputs, and swapped config and checkpoint.

    Args:
        outputs: Files to write.
        config: Config file.
        checkpoints: Files or URLs.
        others: Other input files.

    Raises:
        ValueError: An output is an input, its folder is missing, or config and
            checkpoint are swapped.
    """
    check_kinds(config, checkpoints)
    inputs: list[str | Path] = [config, *checkpoints, *others]
    for file in outputs:
        check_out(file, inputs)


def output_of(
    image: ListedImage, folder: Path, suffix: str | None = None
) -> Path:
    """Output file of an image: its name in a folder, with another suffix."""
    file = folder / image.file_name
    return file if suffix is None else file.with_suffix(suffix)


def check_pictures(
    folder: Path, listed: Sequence[ListedImage], suffix: str | None = None
) -> None:
    """Refuse pictures that leave their folder or overwrite a file.

    Args:
        folder: Folder of the pictures.
        listed: The images.
        suffix: See `output_of`.

    Raises:
        ValueError: A picture would do so, two have the same file, or the
            folder is not writable.
    """
    check_writable(folder)
    # A million images are in few folders, and resolving is slow.
    resolved = cache(Path.resolve)

    def place_of(file: Path) -> Path:
        if file.is_symlink():
            return file.resolve()
        return resolved(file.parent) / file.name

    root = folder.resolve()
    sources = {place_of(image.path) for image in listed}
    names: dict[Path, str] = {}
    for image in listed:
        picture = place_of(output_of(image, folder, suffix))
        if not picture.is_relative_to(root):
            raise ValueError(
                f'The file name {image.file_name} leads out of the folder '
                f'{folder}: predict without pictures'
            )
        if picture in sources:
            raise ValueError(
                f'The picture of {image.file_name} would overwrite the image '
                f'{picture}: name another folder for pictures'
            )
        other = names.setdefault(picture, image.file_name)
        if other != image.file_name:
            raise ValueError(
                f'{other} and {image.file_name} would both become {picture}: '
                'rename one of them'
            )


def check_outside(folder: Path, images: Path) -> None:
    """Refuse pictures where the next run would take them for images.

    Args:
        folder: Folder of the pictures.
        images: Folder that is searched for images, or a file or pattern.

    Raises:
        ValueError: The first is below the second.
    """
    if images.is_dir() and images.resolve() in folder.resolve().parents:
        raise ValueError(
            f'{folder} is below {images}, so the next run would take its '
            'pictures for images: name a folder elsewhere'
        )

"""What commands with a checkpoint refuse before any work."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .image_list import ListedImage
from .output import check_out

CONFIGS = ('.py', '.json', '.yml', '.yaml')
"""How the names of configs end."""
VIEWS = ('tile', 'flip', 'ensemble')
NEEDS = {
    'overlap': ('tile',),
    'batch_size': ('tile',),
    'fuse': VIEWS,
    'preset': VIEWS,
    'iou_thr': VIEWS,
    'show_score_thr': ('show_dir',),
}
"""Options that do nothing without one of others."""


def idle_options(ctx: click.Context) -> list[str]:
    """A line for each option given that does nothing."""
    lines = []
    for name, others in NEEDS.items():
        given = ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and not any(ctx.params[other] for other in others):
            option, *needed = (
                '--' + word.replace('_', '-') for word in (name, *others)
            )
            lines.append(
                f'{option} does nothing without {" or ".join(needed)}'
            )
    return lines


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


def check_kinds(config: str, checkpoints: Sequence[str]) -> None:
    """Refuse a config and checkpoints in each other's place.

    Raises:
        ValueError: By the ends of their names.
    """
    if not config.endswith(CONFIGS):
        raise ValueError(
            f'{config} is no config, their names end in .py: give CONFIG '
            'first, CHECKPOINT after it'
        )
    for name in checkpoints:
        if name.endswith(CONFIGS):
            raise ValueError(
                f'{name} is a config, not a checkpoint: name the .pth file '
                'that training wrote'
            )


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


def read_config(path: str, options: Sequence[str]) -> Any:
    """The config with its options merged, as `load_config` reads it.

    Raises:
        ValueError: It cannot be read, or has no such option.
        ImportError: The environment is broken.
    """
    check_keys(open_config(path, ()), options)
    return open_config(path, options)


def open_config(path: str | Path, options: Sequence[str]) -> Any:
    """What `load_config` reads, whatever else than a config it meets.

    Raises:
        ValueError: It cannot be read.
        ImportError: The environment is broken.
    """
    from .check_config import load_config

    try:
        return load_config(Path(path), options)
    except (ValueError, ImportError):
        raise
    except Exception as error:  # A config is a program.
        raise ValueError(f'{path}: {error!r}') from error


def check_keys(cfg: Any, options: Sequence[str]) -> None:
    """Refuse options that mmengine would add to a config unread.

    Raises:
        ValueError: The config has no such key at its top.
    """
    for option in options:
        key = re.split(r'[.=]', option)[0]
        if key not in cfg:
            near = get_close_matches(key, cfg, n=1)
            hint = f', but {near[0]}' if near else ''
            raise ValueError(f'The config has no {key}{hint}: {option}')

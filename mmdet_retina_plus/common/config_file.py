"""Configs read as `mim train` reads them, with options merged."""

import re
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .suggestions import did_you_mean

CONFIGS = ('.py', '.json', '.yml', '.yaml')
"""Suffixes of config files."""


def load_config(
    path: str | Path, options: Sequence[str] = (), known_only: bool = False
) -> Any:
    """Read a config as `mim train` does, and run its custom imports.

    Args:
        path: Of the config.
        options: Changes, each 'key.of.the.config=value'.
        known_only: Whether to refuse options below a key that the config does
            not have at its top; mmengine would add it, and nothing read it.

    Raises:
        ValueError: An option is not KEY=VALUE, or its key is unknown.
        Exception: Whatever a config, which is a program, may raise.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import mmdet_retina_plus

    # mmengine and mmcv still import it; harmless below setuptools 82.
    warnings.filterwarnings('ignore', 'pkg_resources')
    mmdet_retina_plus.register_all_modules()
    cfg = Config.fromfile(path)
    if known_only:
        check_keys(cfg, options)
    for key, value in parse_options(options).items():
        cfg.merge_from_dict({key: value})
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return cfg


def read_config(path: str | Path, options: Sequence[str] = ()) -> Any:
    """Read a config for a command, which shows every error as one line.

    Args:
        path: Of the config.
        options: Changes of keys that it has.

    Raises:
        ValueError: The config or an option cannot be read.
        ImportError: The environment is broken.
    """
    try:
        return load_config(path, options, known_only=True)
    except (ValueError, ImportError):
        raise
    except Exception as error:
        raise ValueError(f'{path}: {error!r}') from error


def check_keys(cfg: Mapping, options: Sequence[str]) -> None:
    """Refuse options below an unknown key.

    Raises:
        ValueError: The config has no such key at its top.
    """
    for option in options:
        key = re.split(r'[.=]', option)[0]
        if key not in cfg:
            raise ValueError(
                f'{option}: the config has no {key}{did_you_mean(key, cfg)}'
            )


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Dotted key to value, as mmengine reads them.

    Raises:
        ValueError: One is not KEY=VALUE.
    """
    from mmengine.config import DictAction

    for option in options:
        if '=' not in option:
            raise ValueError(f'the option {option!r} is not KEY=VALUE')
    # The action by itself: an ArgumentParser would take `--x=1` for its own.
    parsed = Namespace()
    DictAction([], 'options')(ArgumentParser(), parsed, list(options))
    return parsed.options


def check_kinds(config: str, checkpoints: Sequence[str]) -> None:
    """Refuse a config and checkpoints in each other's place.

    Raises:
        ValueError: By the suffixes of their names.
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

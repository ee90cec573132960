"""Configs read as `mim train` reads them, with options merged."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .suggestions import did_you_mean


def load_config(path: Path, options: Sequence[str] = ()) -> Any:
    """The config as `mim train` reads it, with its custom imports done.

    Args:
        path: Of the config.
        options: Changes, each 'key.of.the.config=value'.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import mmdet_retina_plus

    # mmengine and mmcv still import it, to nobody's harm below 82.
    warnings.filterwarnings('ignore', 'pkg_resources')
    mmdet_retina_plus.register_all_modules()
    cfg = Config.fromfile(path)
    for key, value in parse_options(options).items():
        cfg.merge_from_dict({key: value})
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return cfg


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Dotted key to value, as mmengine reads them.

    Raises:
        ValueError: One is not KEY=VALUE.
    """
    from mmengine.config import DictAction

    parsed = {}
    for option in options:
        key, equals, value = option.partition('=')
        if not equals:
            raise ValueError(f'the option {option!r} is not KEY=VALUE')
        parsed[key] = DictAction._parse_iterable(value)
    return parsed


CONFIGS = ('.py', '.json', '.yml', '.yaml')
"""How the names of configs end."""


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
            raise ValueError(
                f'{option}: the config has no {key}{did_you_mean(key, cfg)}'
            )

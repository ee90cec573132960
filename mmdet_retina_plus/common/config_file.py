"""Read configs as `mim train` does, and merge options."""

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from string import digits
from textwrap import shorten
from typing import Any

from .checkpoint_files import check_checkpoint
from .config_tree import dotted_items, part, walk, without_scopes
from .log_level import log_level
from .option_values import read_value
from .suggestions import did_you_mean

CONFIGS = ('.py', '.json', '.yml', '.yaml')
"""Suffixes of config files."""
READ_BY_NAME = (
    'activation_checkpointing',
    'compile',
    'compile_backbone',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
)
"""Top-level keys that are read besides the arguments of Runner."""
READ_BY_MMDET = ('auto_scale_lr', 'tta_model', 'tta_pipeline')
"""Top-level keys that only mmdet's scripts read."""


def load_config(path: str | Path, options: Sequence[str] = ()) -> Any:
    """Read a config as `mim train` does, and run its custom imports.

    Args:
        path: Path of the config.
        options: Changes 'key.of.the.config=value', see `read_value`.

    Raises:
        ValueError: An option is not KEY=VALUE, its value cannot be read, or
            nothing reads its key.
        Exception: Any that the config raises, since it is a program.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import mmdet_retina_plus

    changes = parse_options(options)
    # mmengine and mmcv still import it; harmless below setuptools 82.
    warnings.filterwarnings('ignore', 'pkg_resources')
    # mmdet's warnings of its own calls; others may be about the config.
    warnings.filterwarnings(
        'ignore',
        r'DeprecationWarning: (\w*bboxes|.num_anchors.|anchor_generator) is'
        r'|torch.meshgrid',
    )
    mmdet_retina_plus.register_all_modules()
    with log_level('WARNING'):  # It lists environment variables.
        cfg = Config.fromfile(path)
    check_keys(cfg, changes)
    for key, value in changes.items():
        check_text(key, value, cfg)
        try:
            cfg.merge_from_dict({key: value})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f'--cfg-options {key}: the config has no such key to change, '
                f'{shorten(str(error), 150)}'
            ) from error
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    return cfg


def read_config(path: str | Path, options: Sequence[str] = ()) -> Any:
    """Read a config for a command, with errors of one line.

    Args:
        path: Path of the config.
        options: See `load_config`.

    Raises:
        ValueError: The config or an option cannot be read.
        ImportError: The environment is broken.
    """
    try:
        return load_config(path, options)
    except (ValueError, ImportError):
        raise
    except SyntaxError as error:
        raise ValueError(
            f'{path} is not a config: {error.msg} in line {error.lineno}'
        ) from error
    except Exception as error:
        reason = f'{type(error).__name__}: {error}'
        if Path(path).suffix != '.py':
            reason += '; configs of `retina-plus init` and mmdet end in .py'
        raise ValueError(
            f'{path} cannot be read as a config: {reason}'
        ) from error


def check_parts(cfg: Any) -> None:
    """Refuse a config without a detector and its test data.

    Raises:
        ValueError: Names the missing part.
    """
    dataset = part(cfg.get('test_dataloader'), 'dataset')
    pipelines = [item.get('pipeline') for item in walk(dataset)]
    for key, there in (
        ('model', isinstance(cfg.get('model'), Mapping)),
        ('test_dataloader.dataset', bool(dataset)),
        ('test_dataloader.dataset.pipeline', any(pipelines)),
    ):
        if not there:
            raise ValueError(
                f'The config has no {key}: name the config of a detector, '
                'such as `retina-plus init` writes'
            )


def parts_read() -> set[str]:
    """Top-level keys of a config that training may read."""
    from mmengine.runner import Runner

    return {*inspect.signature(Runner).parameters, *READ_BY_NAME}


def check_keys(cfg: Mapping, keys: Iterable[str]) -> None:
    """Refuse dotted keys that nothing would read.

    mmengine adds unknown keys to the config without a warning.

    Raises:
        ValueError: The top-level key is unknown, or only copies of its value
            are read; or a key has whitespace, an empty part or a typo.
    """
    known = {*cfg, *parts_read(), *READ_BY_MMDET}
    for key in keys:
        if key.split() != [key] or not all(key.split('.')):
            raise ValueError(
                f'--cfg-options {key!r} is not a key such as '
                'model.backbone.depth: write KEY=VALUE without spaces around ='
            )
        top = key.partition('.')[0]
        if top not in known:
            raise ValueError(
                f'--cfg-options {key}: the config has no {top}'
                f'{did_you_mean(top, known)}'
            )
        check_read(key, cfg)
        check_spelling(key, cfg)


def check_spelling(key: str, cfg: Any) -> None:
    """Refuse a new key of a plain dict that looks like a typo of another key.

    A dict with a `type` is left to its class, which knows its arguments.

    Raises:
        ValueError: Names the key that was probably meant.
    """
    part: Any = dict(cfg.items())
    *above, name = key.split('.')
    for step in above:
        if isinstance(part, list | tuple) and step.isdigit():
            part = dict(enumerate(part)).get(int(step))
        else:
            part = part.get(step) if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or 'type' in part or name in part:
        return
    known = {
        str(other).casefold(): other
        for other in part
        # Names may be numbered: layer_block_1, layer_block_2.
        if str(other).rstrip(digits) != name.rstrip(digits)
    }
    near = get_close_matches(name.casefold(), known, n=1, cutoff=0.9)
    if near:
        raise ValueError(
            f'--cfg-options {key}: there is no {name}; did you mean '
            f'{".".join([*above, known[near[0]]])}?'
        )


def check_text(key: str, value: Any, cfg: Any) -> None:
    """Refuse a string for a setting that is a number or a boolean.

    Raises:
        ValueError: The value is a string, such as `yes` or `2*4`.
    """
    now = dict(dotted_items(cfg.to_dict())).get(key)
    if isinstance(value, str) and isinstance(now, int | float):
        raise ValueError(
            f'--cfg-options {key}: {value!r} is a string, the config has '
            f'{now}: write a number, True, False or None'
        )


def check_read(key: str, cfg: Any) -> None:
    """Refuse a part of the config that is read in neither training nor test.

    Variables such as `train_pipeline` and `data_root` only help to write the
    config: the settings that use them hold copies.

    Raises:
        ValueError: Nothing reads the key; names the copies that are read.
    """
    top, _, rest = key.partition('.')
    read = {*parts_read(), *READ_BY_MMDET}
    if top not in cfg or top in read:
        return
    settings = without_scopes(cfg.to_dict())
    wanted = settings[top]
    copies = [
        f'{name}.{rest}' if rest else name
        for name, value in dotted_items(settings)
        if name.partition('.')[0] in read
        and type(value) is type(wanted)
        and value == wanted
        # Equal numbers may be a coincidence, and a hook may read the key.
        and (
            (value and isinstance(value, str | list | tuple | dict))
            or name.rpartition('.')[2] == top
        )
    ]
    if copies:
        others = f' and {len(copies) - 3} more' if len(copies) > 3 else ''
        raise ValueError(
            f'nothing reads {key}, a variable of the config: change '
            f'{", ".join(copies[:3])}{others}'
        )


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Parse options into values by dotted key.

    Raises:
        ValueError: An option is not KEY=VALUE, or its value cannot be read.
    """
    values = {}
    for option in options:
        key, equals, text = option.partition('=')
        if not equals:
            raise ValueError(f'the option {option!r} is not KEY=VALUE')
        try:
            values[key] = read_value(text)
        except ValueError as error:
            raise ValueError(f'{option}: {error}') from None
    return values


def check_kinds(config: str, checkpoints: Sequence[str]) -> None:
    """Refuse swapped config and checkpoints, and broken checkpoint files.

    Only suffixes and first bytes are checked, so errors appear at once,
    without heavy imports.

    Raises:
        ValueError: A file is of the wrong kind, missing or broken.
    """
    if not config.endswith(CONFIGS):
        raise ValueError(
            f'{config} is not a config, whose name would end in .py: give '
            'CONFIG first, CHECKPOINT after it'
        )
    for name in checkpoints:
        if name.endswith(CONFIGS):
            raise ValueError(
                f'{name} is a config, not a checkpoint: name the .pth file '
                'that training wrote'
            )
        check_checkpoint(name, config)

"""The config of a trial, as a file that `mim train mmdet` takes."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OURS = 'mmdet_retina_plus'
PARSING = threading.Lock()


def write_config(
    base: str, changes: Mapping[str, Any], seed: int, folder: Path
) -> Path:
    """Write the config of a trial for `mim train mmdet`.

    Adds two settings: validations are logged by the run's own unit, epochs or
    steps, and the package is imported, without which torch refuses mmengine's
    checkpoints.

    Args:
        base: Text of the whole config.
        changes: Dotted key to value.
        seed: Seed of the run.
        folder: Work dir.
    """
    cfg = parse_config(base)
    cfg.merge_from_dict({**changes, 'randomness.seed': seed})
    hooks = cfg.get('default_hooks') or {}
    logger = hooks.get('logger') or dict(type='LoggerHook')
    logger['log_metric_by_epoch'] = counts_epochs(cfg)
    cfg.default_hooks = {**hooks, 'logger': logger}
    custom = cfg.get('custom_imports') or {}
    imports = custom.get('imports', [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    if OURS not in imports:
        cfg.custom_imports = {**custom, 'imports': [*imports, OURS]}
    path = folder / 'trial.py'
    with PARSING:  # `dump` formats, which parses.
        cfg.dump(path)
    return path


def parse_config(text: str) -> Any:
    """Parse a config in one thread at a time.

    Python 3.11's parser sometimes fails with several threads in it
    (SystemError: AST constructor recursion depth mismatch).
    """
    from mmengine.config import Config

    with PARSING:
        return Config.fromstring(text, '.py')


def total_steps(cfg: Mapping) -> int:
    """Steps of a run that counts steps, epochs of one that counts epochs."""
    loop = cfg.get('train_cfg') or {}
    return loop.get('max_iters') or loop.get('max_epochs') or 0


def counts_epochs(cfg: Mapping) -> bool:
    loop = cfg.get('train_cfg') or {}
    return 'Iter' not in str(loop.get('type')) and not loop.get('max_iters')

"""Check that checkpoints exist, fit the model, and can be resumed."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.config_tree import dotted_items, part
from mmdet_retina_plus.common.text import quantity, some, verb

from .findings import Finding, any_error
from .resuming import (
    check_resumed_from,
    check_saved_classes,
    check_saved_statistics,
)
from .weights import PUBLISHED, is_local, setting

FITS = 0.9
"""Fraction of matching weights above which the rest may be a new head."""
HALF = 0.5
"""Fraction of matching weights below which the model is another one."""
PRETRAINED = ('model.backbone.pretrained', 'model.pretrained')


def read(path: str) -> Mapping:
    """Read a checkpoint on the CPU.

    Raises:
        Exception: Any, from pickle and zipfile.
    """
    from mmengine.runner import CheckpointLoader

    return CheckpointLoader.load_checkpoint(path, 'cpu', 'silent')


def compare_weights(
    key: str,
    path: str,
    module: Any,
    prefix: str = '',
    converts: bool | None = None,
) -> list[Finding]:
    """Compare names and shapes of a checkpoint with those of a module.

    If nearly all match, they are loaded into the module, as for training.

    Args:
        key: Dotted key that names the checkpoint.
        path: Checkpoint file.
        module: Module to load the weights into; None if it is not built.
        prefix: Prefix to strip from the names in the checkpoint.
        converts: `convert_weights` of a backbone that can read checkpoints
            of other libraries; None: it cannot.
    """
    from torch import is_tensor
    from torch.nn.modules.utils import (
        consume_prefix_in_state_dict_if_present as strip,
    )

    if not os.path.isfile(path):
        return [
            Finding(
                'error',
                key,
                f'there is no file {path}',
                f'{key}=None, or the path of a checkpoint',
            )
        ]
    try:
        loaded = read(path)
        if converts is not None and 'state_dict' not in loaded:
            loaded = {'state_dict': loaded.get('model', loaded)}
        weights = dict(loaded.get('state_dict', loaded))
        strip(weights, 'module.')
        strip(weights, prefix)
        foreign = not all(map(is_tensor, weights.values()))
        if 'state_dict' not in loaded and foreign:
            raise ValueError(
                f'it has no state_dict, but {some(list(map(str, loaded)))}; '
                'weights of other libraries need converting'
            )
        shapes = {
            name: value.shape
            for name, value in weights.items()
            if is_tensor(value)
        }
    except Exception as error:  # pickle and zipfile may raise anything.
        return [
            Finding(
                'error',
                key,
                f'cannot read {path}: {" ".join(str(error).split())[:200]}',
                f'{key}=None, or the path of a checkpoint',
            )
        ]
    # Weights before averaging, and the state of the optimizer.
    others = {
        name: loaded.get(name) for name in ('ema_state_dict', 'optimizer')
    }
    floats = {
        name: value
        for name, value in [*weights.items(), *dotted_items(others)]
        if is_tensor(value) and value.is_floating_point()
    }
    spoilt = [x for x, value in floats.items() if not value.isfinite().all()]
    if spoilt:
        number = quantity(len(floats), 'weight')
        return [
            Finding(
                'error',
                key,
                f'{len(spoilt)} of {number} in {os.path.basename(path)} '
                f'{verb(len(spoilt), "have")} values that are not finite: '
                f'{some(spoilt)}',
                f'{key}=… an earlier checkpoint, from before the loss was NaN',
            )
        ]
    if converts:
        message = f'{os.path.basename(path)} can be read; names are converted'
        return [Finding('ok', key, message)]
    if module is None:
        return []
    wanted = {
        name: value.shape
        for name, value in module.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    missing = [x for x, shape in wanted.items() if shapes.get(x) != shape]
    share = 1 - len(missing) / max(len(wanted), 1)
    renamed = misnamed(key, path, shapes, wanted) if share < HALF else []
    if renamed:
        return renamed
    message = (
        f'{share:.0%} of the weights ({len(wanted) - len(missing)} of '
        f'{len(wanted)}) are in {os.path.basename(path)}'
    )
    owner, initial, _ = key.partition('.init_cfg')
    # A constant, such as fixed position embeddings, may be absent.
    other = [x for x in missing if x in shapes]
    frozen = frozen_stages(module, other) if share > FITS and initial else {}
    if frozen:
        message = (
            f'{os.path.basename(path)} does not fit {some(list(frozen))}, '
            f'which {verb(len(frozen), "start")} at random and '
            f'{verb(len(frozen), "are")} frozen'
            f'{another_shape(list(frozen), shapes, wanted)}'
        )
        fix = ' '.join(f'{owner}.{x}=-1' for x in sorted({*frozen.values()}))
        return [Finding('error', key, message, fix)]
    if share > FITS:
        fitting = {x: weights[x] for x in wanted if x not in missing}
        module.load_state_dict(fitting, strict=False)
        if missing:
            message += f'; new are {some(missing)}'
        return [Finding('ok', key, message)]
    return [
        Finding(
            'error' if share < HALF else 'warning',
            key,
            f'{message}; the others start at random, such as '
            f'{some(missing)}{another_shape(missing, shapes, wanted)}',
            f'{key}=None, or a checkpoint of this model',
        )
    ]


def frozen_stages(module: Any, names: list[str]) -> dict[str, str]:
    """Key of the `frozen_stages` that freezes each of the parameters.

    Args:
        module: Module whose parameters have the names.
        names: Parameters; those that train are left out.
    """
    module.train()  # CSPDarknet and MobileNetV2 freeze their stages here.
    fixed = {x for x, y in module.named_parameters() if not y.requires_grad}
    return {
        name: f'{prefix}{"." * bool(prefix)}frozen_stages'
        for prefix, owner in module.named_modules()
        for stages in [getattr(owner, 'frozen_stages', None)]
        if isinstance(stages, int) and stages >= 0
        for name in names
        if name in fixed and name.startswith(prefix)
    }


def another_shape(missing: list[str], shapes: Mapping, wanted: Mapping) -> str:
    """Describe a weight that both have in different shapes, '' if none."""
    for name in missing:
        if name in shapes:
            return (
                f'; {name} has the shape {tuple(shapes[name])} there, '
                f'{tuple(wanted[name])} here'
            )
    return ''


def common_prefix(longer: Mapping, shorter: Mapping) -> tuple[str, float]:
    """Find the prefix that names of one checkpoint add to those of another.

    Args:
        longer: Shapes by name with the prefix.
        shorter: Shapes by name without it.

    Returns:
        The prefix, and the fraction of `shorter` that it matches.
    """
    counts: Counter[str] = Counter()
    for name, shape in longer.items():
        steps = name.split('.')
        for at in range(1, len(steps)):
            if shorter.get('.'.join(steps[at:])) == shape:
                counts['.'.join(steps[:at]) + '.'] += 1
    for prefix, count in counts.most_common(1):
        return prefix, count / max(len(shorter), 1)
    return '', 0.0


def misnamed(
    key: str, path: str, shapes: Mapping, wanted: Mapping
) -> list[Finding]:
    """Report weights that match except for a prefix of their names.

    Args:
        key: Dotted key that names the checkpoint.
        path: Checkpoint file.
        shapes: Shapes by name in the checkpoint.
        wanted: Shapes by name in the module.
    """
    init = "dict(type='Pretrained', checkpoint='{}'{})"
    file = os.path.basename(path)
    prefix, share = common_prefix(shapes, wanted)
    if share > HALF:
        fix = f'{key.removesuffix(".checkpoint")}.prefix={prefix!r}'
        if key == 'load_from':
            given = init.format(path, f', prefix={prefix!r}')
            fix = f'load_from=None model.init_cfg={given}'
        message = (
            f'none of the weights load: names in {file} begin with '
            f'{prefix!r}; without it {share:.0%} of the weights fit'
        )
        return [Finding('error', key, message, fix)]
    prefix, share = common_prefix(wanted, shapes)
    if share <= HALF or key != 'load_from':
        return []
    return [
        Finding(
            'error',
            key,
            f'none of the weights load: {file} has only those of '
            f'{prefix.rstrip(".")}, without {prefix!r} in their names',
            f'load_from=None model.{prefix}init_cfg={init.format(path, "")}',
        )
    ]


def resumed(findings: list[Finding]) -> list[Finding]:
    """Turn warnings into errors: resuming needs all weights."""
    return [
        Finding(
            'error',
            x.subject,
            f'resume=True needs all weights: {x.message}',
            'resume=False, or a checkpoint of this model',
        )
        if x.level == 'warning' or 'new are' in x.message
        else x
        for x in findings
    ]


def submodule(model: Any, path: str) -> Any:
    """Submodule of a model, None if there is none of that name."""
    try:
        return None if model is None else model.get_submodule(path)
    except AttributeError:
        return None


def check_initial(cfg: Mapping, model: Any) -> list[Finding]:
    """Check `init_cfg` and `pretrained` of a model and its parts."""
    findings: list[Finding] = []
    for path, value in dotted_items({'model': cfg.get('model')}):
        owner, _, name = path.rpartition('.')
        key, mark, _ = path.partition('.init_cfg')
        file = part({'x': value}, 'x').get('checkpoint') if mark else None
        if is_local(file):
            findings += compare_weights(
                f'{path}.checkpoint',
                file,
                submodule(model, key.partition('.')[2]),
                value.get('prefix') or '',
                setting(part(cfg, key), 'convert_weights', None),
            )
        if not is_local(value):
            continue
        if name == 'teacher_ckpt':
            findings += compare_weights(path, value, None)
        if path not in PRETRAINED:
            continue
        if os.path.isfile(value):
            built = submodule(model, owner.partition('.')[2])
            findings += compare_weights(path, value, built)
            continue
        findings.append(
            Finding(
                'error',
                path,
                f'there is no file {value}',
                f"{owner}.init_cfg=dict(type='Pretrained', "
                "checkpoint='torchvision://resnet50')",
            )
        )
    return findings


def check_weights(
    cfg: Mapping, model: Any, config: str | None = None
) -> list[Finding]:
    """Check that local checkpoints exist and fit; nothing is downloaded.

    Args:
        cfg: Config of the run.
        model: Detector, which gets the weights that training would start
            from; None if it cannot be built.
        config: Config file, after which `mim train` names the folder of a
            run.
    """
    findings = check_initial(cfg, model)
    path = cfg.get('load_from')
    if isinstance(cfg.get('resume'), str):
        findings.append(
            Finding(
                'error',
                'resume',
                f'resume is {cfg["resume"]!r}, but mmengine takes True or '
                'False: it would look for the last checkpoint in work_dir',
                f'load_from={cfg["resume"]!r}, resume=True',
            )
        )
    if is_local(path):
        found = compare_weights('load_from', path, model)
        loaded = None if any_error(found) else read(path)
        if loaded is not None:
            found += check_saved_classes(cfg, path, loaded)
            found += check_saved_statistics(cfg, path, loaded)
        if cfg.get('resume') is True:
            found = resumed(found)
            if loaded is not None and not any_error(found):
                found += check_resumed_from(cfg, path, loaded)
        findings += found
    elif str(path).startswith(PUBLISHED) and cfg.get('resume') is True:
        message = f'continues the run of {path} at its epoch, with its '
        message += 'optimizer and schedules: published weights are the end of '
        message += 'a run'
        fix = 'resume=False, which starts a run from these weights'
        findings.append(Finding('warning', 'resume', message, fix))
    elif path is None and cfg.get('resume') is True:
        stem = Path(config or '').stem
        folder = cfg.get('work_dir') or os.path.join('work_dirs', stem)
        last = Path(folder, 'last_checkpoint')
        if last.is_file():
            path = last.read_text().strip()
            found = compare_weights('resume', path, model)
            if not any_error(found):
                found += check_resumed_from(cfg, path, read(path))
            findings += found
        else:
            findings.append(
                Finding(
                    'warning',
                    'resume',
                    f'there is no last_checkpoint in {folder}: training '
                    'starts from scratch',
                    "resume=False, or load_from='FILE'",
                )
            )
    return findings

"""Explain errors of mmengine's builders: the key, the problem, the fix."""

import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmdet_retina_plus.common.suggestions import hint, near_name

from .findings import Finding

META_KEYS = (
    "dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', "
    "'ori_shape', 'img_shape', 'scale_factor'))"
)
PACKED = "dict(type='PackDetInputs')"
OLD_NAMES = {
    'DefaultFormatBundle': f'{PACKED} in place of it and of Collect',
    'Collect': f'{PACKED} in place of it and of DefaultFormatBundle',
    'ImageToTensor': f'{PACKED} in place of it and of Collect',
    'MultiScaleFlipAug': (
        "dict(type='Resize', scale=(1333, 800), keep_ratio=True) as a plain "
        'step, and tta_pipeline for several views'
    ),
    'EpochBasedRunner': "train_cfg=dict(type='EpochBasedTrainLoop')",
    'IterBasedRunner': "train_cfg=dict(type='IterBasedTrainLoop')",
    'EvalHook': 'val_dataloader, val_evaluator and train_cfg.val_interval',
    'TextLoggerHook': "default_hooks=dict(logger=dict(type='LoggerHook'))",
    'TensorboardLoggerHook': (
        "visualizer=dict(vis_backends=[dict(type='TensorboardVisBackend')])"
    ),
    'WandbLoggerHook': (
        "visualizer=dict(vis_backends=[dict(type='WandbVisBackend')])"
    ),
    'NumClassCheckHook': 'leave it out',
    'ExpMomentumEMAHook': (
        "dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0001)"
    ),
    'YOLOXLrUpdaterHook': 'param_scheduler',
}
"""Types of mmdet 2, and their replacements in mmdet 3."""

OLD_ARGUMENTS = {
    'img_scale': 'scale=(1333, 800)',
    'flip_ratio': 'prob=0.5',
    'multiscale_mode': "type='RandomChoiceResize', scales=[…]",
    'classes': "metainfo=dict(classes=('name',))",
    'CLASSES': "metainfo=dict(classes=('name',))",
    'palette': 'metainfo=dict(palette=[(220, 20, 60)])',
    'img_prefix': "data_prefix=dict(img='images/')",
    'seg_prefix': "data_prefix=dict(seg='annotations/')",
    'filter_empty_gt': 'filter_cfg=dict(filter_empty_gt=True)',
    'samples_per_gpu': 'batch_size=2',
    'workers_per_gpu': 'num_workers=2',
    'file_client_args': 'backend_args=None',
    'grad_clip': 'clip_grad=dict(max_norm=35, norm_type=2) in optim_wrapper',
    'pretrained': (
        "init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')"
    ),
    'policy': "param_scheduler=[dict(type='MultiStepLR', milestones=[8, 11])]",
    'step': 'milestones=[8, 11]',
}
"""Arguments of mmdet 2, and their replacements in mmdet 3."""

OLD_SETTINGS = {
    'data': (
        'train_dataloader',
        'train_dataloader=dict(batch_size=2, dataset=dict(…)) and so on',
    ),
    'optimizer': (
        'optim_wrapper',
        "optim_wrapper=dict(type='OptimWrapper', optimizer=dict(…))",
    ),
    'optimizer_config': (
        'optim_wrapper',
        'optim_wrapper=dict(clip_grad=dict(max_norm=35))',
    ),
    'lr_config': (
        'param_scheduler',
        "param_scheduler=[dict(type='MultiStepLR', milestones=[8, 11])]",
    ),
    'momentum_config': ('param_scheduler', 'param_scheduler=[…]'),
    'runner': (
        'train_cfg',
        "train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12)",
    ),
    'total_epochs': ('train_cfg', 'train_cfg=dict(max_epochs=12)'),
    'evaluation': (
        'val_evaluator',
        'val_evaluator=dict(…) and train_cfg=dict(val_interval=1)',
    ),
    'checkpoint_config': (
        'default_hooks',
        'default_hooks=dict(checkpoint=dict(interval=1))',
    ),
    'log_config': (
        'default_hooks',
        'default_hooks=dict(logger=dict(interval=50))',
    ),
    'fp16': ('optim_wrapper', "optim_wrapper=dict(type='AmpOptimWrapper')"),
    'resume_from': ('load_from', "load_from='FILE' and resume=True"),
}
"""Top-level keys of mmdet 2: the replacing key of mmdet 3, and the fix."""

PACKAGES = {
    'albumentations': 'albumentations',
    'lvis': 'git+https://github.com/lvis-dataset/lvis-api.git',
    'cityscapesscripts': 'cityscapesscripts',
    'panopticapi': 'git+https://github.com/cocodataset/panopticapi.git',
    'tifffile': 'tifffile',
    'turbojpeg': 'PyTurboJPEG',
}
"""Argument of `pip install` by module."""


def registries() -> Iterator[Any]:
    from mmdet import registry
    from mmengine.registry import Registry

    for member in vars(registry).values():
        if isinstance(member, Registry):
            yield member


def members(name: str = '') -> dict[str, Any]:
    """Registered classes of all registries, or of the one of this name."""
    found: dict[str, Any] = {}
    for registry in registries():
        if name in ('', registry.name):
            parent = registry.parent
            found |= {} if parent is None else parent.module_dict
            found |= registry.module_dict
    return found


def class_of(message: str) -> Any:
    """Registered class that an error message of a constructor names."""
    named = re.search(r'class `(\w+)`', message) or re.search(
        r'(\w+)\.__init__\(\)', message
    )
    return members().get(named[1]) if named else None


def parameters_of(built: Any) -> set[str]:
    """Argument names of a constructor and of those that it passes on to."""
    owners = inspect.getmro(built) if isinstance(built, type) else ()
    names: set[str] = set()
    for owner in owners:
        if '__init__' not in vars(owner):
            continue
        given = inspect.signature(owner).parameters
        names |= {*given}
        if all(x.kind is not x.VAR_KEYWORD for x in given.values()):
            break
    return names - {'self', 'args', 'kwargs'}


def unknown_type(message: str) -> tuple[str, str] | None:
    named = re.search(r"'?([\w.]+) is not in the ([\w.: ]+) registry", message)
    if not named:
        return None
    name = named[1].rpartition('.')[2]
    scope, _, kind = named[2].rpartition('::')
    what = f'no {kind} is called {name}'
    if name in OLD_NAMES:
        return f'{what}, which is from mmdet 2', OLD_NAMES[name]
    known = members(kind) or members()
    if name in known:
        return f'{what} in the scope {scope}', "default_scope='mmdet'"
    near = near_name(name, known)
    if near:
        return what + hint(near), f"type='{near}'"
    return what, (
        f'correct the name, or import its module: custom_imports=dict('
        f"imports=['module_of_{name}'])"
    )


def unknown_argument(message: str) -> tuple[str, str] | None:
    named = re.search(r"unexpected keyword argument '(\w+)'", message)
    if not named:
        return None
    name, built = named[1], class_of(message)
    what = f'{getattr(built, "__name__", "it")} takes no {name}'
    known = parameters_of(built)
    near = near_name(name, known)
    if name in OLD_ARGUMENTS:
        return f'{what}, which is from mmdet 2', OLD_ARGUMENTS[name]
    if near:
        return what + hint(near), f'{near}=… in place of {name}=…'
    return what, f'leave {name} out, or choose from {", ".join(sorted(known))}'


def missing_package(message: str) -> tuple[str, str] | None:
    named = re.search(r"No module named '(\w+)", message) or re.search(
        r'"?(\w+)"? is not (?:installed|available)', message
    )
    for package, source in PACKAGES.items():
        if package in message or (named and named[1] == package):
            return f'the package {package} is missing', f'pip install {source}'
    if named:
        return f'the package {named[1]} is missing', f'pip install {named[1]}'
    return None


Reader = Callable[[str], tuple[str, str] | None]
"""Turns the text of an error into a problem and its fix."""
PHRASES = (
    (
        'Default process group has not been initialized',
        "norm_cfg=dict(type='SyncBN'), which trains on one device too; "
        'MMSyncBN needs a launcher, and is not checked without it',
    ),
    (
        'selected index k out of range',
        'model.test_cfg.max_per_img of at most num_queries, or num_queries * '
        'num_classes for a sigmoid',
    ),
    (
        'only support by_epoch=True',
        '{key} without by_epoch: ReduceOnPlateauLR steps after each '
        'validation, in loops of iterations too',
    ),
    (
        "'by_epoch'",
        "train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12)",
    ),
    (
        'conv2d() received an invalid combination',
        "model.data_preprocessor=dict(type='DetDataPreprocessor', "
        'pad_size_divisor=32)',
    ),
    (
        "'mix_results' in results",
        "train_dataloader.dataset=dict(type='MultiImageMixDataset', "
        'dataset=…, pipeline=[…]): the inner dataset loads the images, and '
        'its outer pipeline has this step and the following ones',
    ),
    (
        'direction in valid_directions',
        "direction='horizontal', or 'vertical', 'diagonal'",
    ),
    (
        'If the mean has',
        "dict(type='LoadImageFromFile', color_type='color') in every "
        'pipeline, or one value per channel in model.data_preprocessor.mean '
        'and std',
    ),
    (
        'must be divisible by num_groups',
        'num_groups=8, a divisor of the channels',
    ),
    (
        'Nesterov momentum requires',
        'optim_wrapper.optimizer.momentum=0.9',
    ),
    (
        'assert add_extra_convs in',
        "model.neck.add_extra_convs='on_input', or 'on_lateral', 'on_output'",
    ),
    (
        '_accumulative_counts at least',
        'optim_wrapper.accumulative_counts=1',
    ),
    ('avg_factor can not be used', "reduction='mean' of the loss"),
    ('max_iters` should be a integer', 'train_cfg.max_iters=90000'),
    ('should be a integer number', 'train_cfg.max_epochs=12'),
    ("'sampler'", "sampler=dict(type='DefaultSampler', shuffle=True)"),
    ('assert 0 <= prob <= 1', 'prob=0.5'),
    ('assert beta > 0', "beta=0.11, or type='L1Loss'"),
    (
        'batch_sampler option is mutually exclusive',
        '{key} without drop_last: batch_sampler has its own',
    ),
    ('probs must be float', 'prob=0.5'),
    ('Scale must be a number or tuple of int', 'scale=(1333, 800)'),
    ('inv_scale_x > 0', 'scale=(1333, 800), whole numbers above 0'),
    ('invalid depth', 'model.backbone.depth=50, or 18, 34, 101, 152'),
    ('base_wd should not be None', 'optimizer.weight_decay=0.0001'),
    ('persistent_workers option needs', '{key}.persistent_workers=False'),
    ('prefetch_factor option could only', '{key}.prefetch_factor=None'),
    ("has no attribute 'bboxes'", 'with_bbox=True in LoadAnnotations'),
    (
        'A semantic head needs',
        "dict(type='PaintInstances') before PackDetInputs, and "
        'with_mask=True in its LoadAnnotations',
    ),
    ("has no attribute 'masks'", 'with_mask=True in LoadAnnotations'),
    (
        "no attribute 'nms'",
        "model.test_cfg.nms=dict(type='nms', iou_threshold=0.5)",
    ),
    (
        'each item mush be an optimizer object',
        "optimizer=dict(type='SGD', lr=0.01, momentum=0.9)",
    ),
    (
        'cannot be set to True at the same time',
        'model.data_preprocessor.rgb_to_bgr=False',
    ),
    (
        "has no attribute 'layer5'",
        'model.backbone.frozen_stages=1, at most 4',
    ),
    (
        "has no attribute 'scale_factor'",
        "dict(type='Resize', scale=(1333, 800), keep_ratio=True), and "
        "'scale_factor' in meta_keys of PackDetInputs",
    ),
    (
        'meta information of the',
        'give all data sets of a ConcatDataset the same metainfo',
    ),
    ('Can not find metainfo', 'metainfo=dict(classes=…)'),
    (
        'should be either all None or not None',
        'set all three of them, or none',
    ),
    (
        "'SSDHead' object has no attribute 'loss_cls'",
        'mmdet 3.3.0 never sets it; in a module of custom_imports: '
        'from mmdet.models import SSDHead; SSDHead.loss_cls = None',
    ),
    (
        "has no attribute 'assigner'",
        'model.train_cfg=dict(assigner=dict(type=…), allowed_border=-1, '
        'pos_weight=-1, debug=False), as in the stock config of the head; '
        'in a config only for tests, train_cfg, train_dataloader and '
        'optim_wrapper are None',
    ),
    (
        'len(self.regress_ranges)',
        'model.bbox_head.regress_ranges: one pair per level of strides, such '
        'as ((-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8))',
    ),
    (
        'Caught TypeError: expected np.ndarray',
        "dict(type='PackDetInputs') at the end of the pipeline",
    ),
)
"""Phrases of error messages and their fixes; {key}: what raised it."""


def failing_line(error: BaseException) -> str:
    """Source line that raised an error without a message."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    where = Path(frames[-1].filename).name
    return f'{frames[-1].line} ({where}, line {frames[-1].lineno})'


def explained(
    key: str, error: BaseException, level: Any = 'error', fix: str = ''
) -> Finding:
    """Turn an error into a finding.

    Args:
        key: Dotted key of the value that raised it.
        error: Error from building or calling the value.
        level: Level of the finding.
        fix: Fix to use if the error itself suggests none.
    """
    text = ' '.join(str(error).split()) or failing_line(error)
    if isinstance(error, KeyError) and re.fullmatch(r"'\w+'", text):
        text = f'the key {text} is missing'
    readers: tuple[Reader, ...] = (unknown_type, unknown_argument)
    if isinstance(error, ImportError | RuntimeError | AssertionError):
        readers = (*readers, missing_package)
    for read in readers:
        answer = read(text)
        if answer:
            return Finding(level, key, answer[0], answer[1])
    for phrase, way in PHRASES:
        if phrase in text:
            return Finding(level, key, text, way.replace('{key}', key))
    name = type(error).__name__
    return Finding(
        level, key, f'{name}: {text[:600]}', fix or f'correct {key}'
    )

"""Settings of the data loaders: resizing at test time, the batch size."""

from collections.abc import Mapping

from mmdet_retina_plus.common.config_tree import kind, part, walk

from .findings import Finding
from .model_traits import is_retina, scored_sets


def check_test_resize(cfg: Mapping) -> list[Finding]:
    if not is_retina(cfg):
        return []
    findings = []
    for name in scored_sets(cfg):
        loader = part(cfg, f'{name}_dataloader')
        pipelines = [x['pipeline'] for x in walk(loader) if x.get('pipeline')]
        steps = [kind(step) for step in walk(pipelines)]
        if pipelines and not any('Resize' in step for step in steps):
            message = f'no Resize in the {name} pipeline, no scale_factor'
            fix = "add dict(type='Resize', scale=…, keep_ratio=True)"
            findings.append(Finding('error', 'pipeline', message, fix))
    return findings


def check_learning_rate(cfg: Mapping) -> list[Finding]:
    scaling = part(cfg, 'auto_scale_lr')
    meant = scaling.get('base_batch_size')
    batch = part(cfg, 'train_dataloader').get('batch_size')
    if not meant or not batch or meant == batch or scaling.get('enable'):
        return []
    message = (
        f'the learning rate is meant for batches of {meant}, on one device '
        f'they are of {batch}'
    )
    fix = (
        'auto_scale_lr.enable=True, or `--auto-scale-lr`; do nothing if you '
        f'train on {meant / batch:g} devices'
    )
    return [Finding('warning', 'schedule', message, fix)]


CHECKS = (
    check_test_resize,
    check_learning_rate,
)

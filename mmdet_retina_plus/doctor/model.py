"""The model of a config, built and tried on blank images."""

from collections.abc import Sequence
from typing import Any

from .anchors import check_anchors
from .findings import Finding, failure, guarded
from .split import Split

PROBE_SIZE = 256


def build_model(cfg: Any) -> tuple[Any, Any]:
    """The detector, with random weights, and the generator of its priors.

    Raises:
        ValueError: The strides of the priors are not those of the features.
        Exception: Whatever the losses of the heads may raise.
    """
    import torch
    from mmdet.registry import MODELS

    model = MODELS.build(cfg.model).eval()
    heads = (getattr(model, name, None) for name in ('bbox_head', 'rpn_head'))
    generators = (getattr(head, 'prior_generator', None) for head in heads)
    generator = next(filter(None, generators), None)
    image = torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE)
    if generator is not None:
        with torch.no_grad():
            features = model.extract_feat(image)
        features = features[getattr(model, 'bbox_start_level', 0) :]
        strides = [PROBE_SIZE // feature.shape[-1] for feature in features]
        given = [stride[0] for stride in generator.strides]
        if strides != given:
            raise ValueError(
                f'the features have strides {strides}, '
                f'anchor_generator.strides are {given}'
            )
    present = {
        name
        for name in ('bbox_head', 'train_cfg', 'roi_head', 'semantic_head')
        if getattr(model, name, None) is not None
    }
    # A proper subset: there is a branch beside the box head.
    if {'bbox_head', 'train_cfg'} < present:
        with torch.no_grad():
            probe_branches(model.train(), image, present)
    return model.eval(), generator


def probe_branches(model: Any, image: Any, present: set[str]) -> None:
    """Boxes, masks and pixels of a training step, on two equal images.

    Of one alone, BatchNorm would refuse features of a single place.
    """
    from mmdet.testing import demo_mm_inputs

    samples = demo_mm_inputs(
        image_shapes=image.shape[1:],
        num_items=[1, 1],
        num_classes=2,
        with_mask=True,
        with_semantic=True,
    )['data_samples']
    shape = tuple(image.shape[2:])
    for sample in samples:
        sample.gt_instances.labels.zero_()  # the class that all models have
        sample.gt_sem_seg.sem_seg.fill_(1)
        sample.set_metainfo(dict(pad_shape=shape, batch_input_shape=shape))
    levels = model.extract_feat(image.expand(2, -1, -1, -1))
    if 'roi_head' in present:
        _, detections = model.bbox_head.loss_and_predict(
            levels[getattr(model, 'bbox_start_level', 0) :], samples
        )
        model.roi_head.loss(levels, detections, samples)
    if 'semantic_head' in present:
        model.semantic_head.loss(levels, samples)


def check_model(cfg: Any, splits: Sequence[Split]) -> list[Finding]:
    """Build it, and lay its anchors over the objects of the first split."""
    from mmdet.models.task_modules import AnchorGenerator

    try:
        model, generator = build_model(cfg)
    except Exception as error:  # Whatever a constructor may raise.
        return [failure('model', error)]
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    findings = [Finding('ok', 'model', f'{size:.1f} million weights')]
    if splits and isinstance(generator, AnchorGenerator):
        preprocessor = cfg.model.get('data_preprocessor') or {}
        divisor = preprocessor.get('pad_size_divisor', 1)
        findings += guarded(check_anchors, splits[0], generator, divisor)
    return findings

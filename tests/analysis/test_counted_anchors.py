"""The anchors that heads call their classification loss with."""

import numpy as np
import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss, FocalLoss
from mmdet.registry import MODELS
from torch import nn

from mmdet_retina_plus.analysis.counted_anchors import (
    captured,
    classifier,
    seen_by_loss,
)
from mmdet_retina_plus.analysis.loss_distribution import LossSpread
from mmdet_retina_plus.losses import FusedFocalLoss
from tests.helpers.models import detector_config, roi_head_config
from tests.helpers.samples import HEAD_OBJECTS, data_sample

IMAGE = (1, 3, 64, 64)


def detector(kind='RetinaPlus', **head):
    """A narrow detector, whose head has changes."""
    config = detector_config()
    config.type = kind
    for key, value in head.items():
        config.bbox_head[key] = value
    return MODELS.build(config).eval()


def spread_of(model, image, samples) -> LossSpread:
    spread = LossSpread([0.0, 2.0])
    _, use_sigmoid = classifier(model)
    with torch.no_grad():
        for call in seen_by_loss(model, image, samples):
            spread.add(*call, use_sigmoid)
    return spread


def test_stock_head_and_ours_have_the_same_distribution():
    ours = detector()
    nn.init.normal_(ours.bbox_head.retina_cls.weight, std=0.3)
    stock = detector('RetinaNet', type='RetinaHead')
    stock.load_state_dict(ours.state_dict())
    image, samples = torch.randn(IMAGE), [data_sample(HEAD_OBJECTS)]
    found, expected = (spread_of(x, image, samples) for x in (ours, stock))
    for name in ('positives', 'negatives'):
        for gamma in (0.0, 2.0):
            one = getattr(found, name)[gamma]
            other = getattr(expected, name)[gamma]
            assert one.count > 0
            np.testing.assert_array_equal(one.counts, other.counts)
            np.testing.assert_allclose(one.sums, other.sums, rtol=1e-6)


def test_all_anchors_but_ignored_ones_are_counted():
    model = detector()
    head = model.bbox_head
    image, samples = torch.randn(IMAGE), [data_sample(HEAD_OBJECTS)]
    spread = spread_of(model, image, samples)
    with torch.no_grad():
        losses = head.loss(model.extract_feat(image), samples)
    counts = spread.positives[0.0].count, spread.negatives[0.0].count
    assert counts == (losses['num_positive'], losses['num_background'])
    assert losses['num_ignored'] > 0


def test_what_mining_leaves_out_is_not_counted():
    mining = dict(type='StochasticHardMining', use_sigmoid=True)
    image, samples = torch.randn(IMAGE), [data_sample(HEAD_OBJECTS)]
    spread = spread_of(detector(mining=mining), image, samples)
    positives = spread.positives[0.0].count
    assert 0 < spread.negatives[0.0].count == positives


def test_an_image_without_objects_has_negatives_only():
    spread = spread_of(detector(), torch.randn(IMAGE), [data_sample()])
    assert spread.positives[0.0].count == 0
    assert spread.negatives[0.0].count > 0


def test_a_softmax_has_a_logit_of_background():
    model = detector(loss_cls=dict(type='CrossEntropyLoss'))
    _, use_sigmoid = classifier(model)
    assert not use_sigmoid
    image, samples = torch.randn(IMAGE), [data_sample(HEAD_OBJECTS)]
    with torch.no_grad():
        losses = model.bbox_head.loss(model.extract_feat(image), samples)
        calls = seen_by_loss(model, image, samples)
    # Cross entropy of the positives and negatives, by the divisor.
    total = sum(
        nn.functional.cross_entropy(logits, labels, reduction='sum')
        for logits, labels in calls
    )
    expected = losses['loss_cls'] * losses['num_positive']
    torch.testing.assert_close(total, expected)


def test_masks_are_not_asked_for():
    config = detector_config(roi_head=roi_head_config())
    model = MODELS.build(config).eval()
    sample = data_sample(HEAD_OBJECTS)
    del sample.gt_instances.masks
    spread = spread_of(model, torch.randn(IMAGE), [sample])
    assert spread.positives[0.0].count > 0


def dense_detector(name, **head):
    """A detector with another of mmdet's heads."""
    config = detector_config()
    config.type = 'SingleStageDetector'
    config.train_cfg.assigner = dict(type='ATSSAssigner', topk=9)
    config.bbox_head = dict(
        type=name,
        num_classes=3,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        norm_cfg=None,
        loss_bbox=dict(type='GIoULoss'),
        **head,
    )
    return MODELS.build(config).eval()


ONE_ANCHOR = dict(
    type='AnchorGenerator',
    ratios=[1.0],
    octave_base_scale=8,
    scales_per_octave=1,
    strides=[8, 16, 32, 64, 128],
)


@pytest.mark.parametrize(
    ('name', 'head'),
    [('ATSSHead', dict(anchor_generator=ONE_ANCHOR)), ('FCOSHead', {})],
)
def test_other_dense_heads_work(name, head):
    loss = dict(type='FocalLoss', use_sigmoid=True)
    model = dense_detector(name, loss_cls=loss, **head)
    image, samples = torch.randn(IMAGE), [data_sample(HEAD_OBJECTS)]
    spread = spread_of(model, image, samples)
    assert spread.positives[0.0].count > 0
    assert spread.negatives[0.0].count > 0


def test_targets_that_are_no_labels_are_refused():
    model = dense_detector(
        'GFLHead',
        anchor_generator=ONE_ANCHOR,
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True),
    )
    with pytest.raises(ValueError, match=r'QualityFocalLoss .* RetinaHead'):
        spread_of(model, torch.randn(IMAGE), [data_sample(HEAD_OBJECTS)])


def test_a_head_of_ours_with_a_loss_of_quality_is_refused():
    """Whose own assertion says nothing."""
    model = detector(loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True))
    with pytest.raises(ValueError, match=r'QualityFocalLoss .* RetinaHead'):
        classifier(model)


def test_soft_targets_are_refused_when_they_come():
    loss, logits = FocalLoss(use_sigmoid=True), torch.randn(4, 3)
    with captured(loss, 3, True), pytest.raises(ValueError, match='labels'):
        loss(logits, torch.rand(4, 3))


def test_a_detector_without_such_a_loss_is_refused():
    model = detector()
    del model.bbox_head.loss_cls
    with pytest.raises(ValueError, match=r'RetinaPlus has no .* RetinaHead'):
        classifier(model)


def test_a_loss_that_is_not_called_is_refused(monkeypatch):
    model = detector()
    monkeypatch.setattr(model.bbox_head, 'loss', lambda levels, samples: {})
    with pytest.raises(ValueError, match='does not call its loss_cls'):
        seen_by_loss(model, torch.randn(IMAGE), [data_sample()])


def test_a_forgotten_use_sigmoid_is_found():
    loss = dict(type='FusedFocalLoss')
    model = detector('RetinaNet', type='RetinaHead', loss_cls=loss)
    with pytest.raises(ValueError, match='set use_sigmoid=True'):
        spread_of(model, torch.randn(IMAGE), [data_sample()])


def test_logits_that_are_not_finite_are_refused_while_it_listens():
    model = detector()
    model.bbox_head.retina_cls.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match=r'not finite.*an earlier.*NaN'):
        spread_of(model, torch.randn(IMAGE), [data_sample()])
    # Nothing listens any more.
    logits, labels = torch.full((1, 3), torch.nan), torch.tensor([0])
    assert model.bbox_head.loss_cls(logits, labels).isnan()


@pytest.mark.parametrize(
    'weight', [[1.0, 0, 2], [[1.0], [0], [2]], [[0, 1.0], [0, 0], [2, 0]]]
)
@pytest.mark.parametrize('by_name', [True, False])
def test_rows_of_weight_zero_are_left_out(weight, by_name):
    logits, labels = torch.randn(3, 2), torch.tensor([0, 1, 2])
    weight = torch.tensor(weight)
    loss = FusedFocalLoss()
    with captured(loss, 2, True) as calls:
        if by_name:
            loss(weight=weight, target=labels, pred=logits)
        else:
            loss(logits, labels, weight)
    ((kept, of),) = calls
    assert torch.equal(kept, logits[[0, 2]])
    assert torch.equal(of, labels[[0, 2]])


def test_without_weights_all_rows_count():
    with captured(FocalLoss(), 2, True) as calls:
        pass
    assert calls == []
    loss = FocalLoss()
    with captured(loss, 2, True) as calls:
        loss(torch.randn(3, 2), torch.tensor([0, 1, 2]))
    assert len(calls[0].labels) == 3


def test_a_rating_before_the_loss_does_not_count():
    loss = FocalLoss()
    logits, labels = torch.randn(3, 2), torch.tensor([0, 1, 2])
    with captured(loss, 2, True) as calls:
        loss(logits, labels, reduction_override='none')
        loss(logits, labels)
    assert len(calls) == 1


def test_ignored_labels_are_left_out():
    loss = CrossEntropyLoss(ignore_index=-100)
    with captured(loss, 2, False) as calls:
        loss(torch.randn(3, 3), torch.tensor([0, -100, 2]))
    assert calls[0].labels.tolist() == [0, 2]

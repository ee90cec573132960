"""Heads of mmdet that predict where the parent stops, and change no result."""

import pytest
import torch
from mmdet.models.dense_heads import CenterNetHead, GARetinaHead, SSDHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn
from torch.testing import assert_close

from tests.helpers.samples import OBJECTS, data_sample, pyramid
from tests.helpers.shipped_configs import load


def build(method: str, **changes) -> nn.Module:
    """The head of a method of the lab."""
    model = load(f'lab/method_{method}').model
    head = MODELS.build(
        dict(
            model.bbox_head,
            train_cfg=model.get('train_cfg'),
            test_cfg=ConfigDict(model.test_cfg, score_thr=0.0),
            **changes,
        )
    )
    head.init_weights()
    return head.eval()


def predict(head: nn.Module, x, samples) -> list:
    with torch.no_grad():
        return head.predict(x, samples)


def same(first, second) -> None:
    for key in ('bboxes', 'scores', 'labels'):
        assert_close(first[key], second[key])


def test_ssd_has_the_losses_of_mmdets_head_which_cannot_predict():
    ours, theirs = build('ssd'), build('ssd', type='SSDHead')
    assert type(theirs) is SSDHead
    theirs.load_state_dict(ours.state_dict())
    x = (*pyramid(1, 64), torch.randn(1, 64, 1, 1))
    sample = data_sample(OBJECTS)
    expected = theirs.loss(x, [sample])
    for name, value in ours.loss(x, [sample]).items():
        assert_close(value, expected[name])
    (result,) = predict(ours, x, [sample])
    assert len(result) > 0
    with pytest.raises(AttributeError, match='loss_cls'):
        predict(theirs, x, [sample])


def test_centernet_takes_a_border_where_there_is_one_and_none_elsewhere():
    ours, theirs = build('centernet'), build('centernet', type='CenterNetHead')
    assert type(theirs) is CenterNetHead
    theirs.load_state_dict(ours.state_dict())
    x, plain, bordered = (
        (torch.randn(1, 64, 16, 16),),
        data_sample(),
        data_sample(),
    )
    bordered.set_metainfo(dict(border=(3.0, 61.0, 5.0, 59.0)))
    (expected,) = predict(theirs, x, [bordered])
    (result,) = predict(ours, x, [bordered])
    same(result, expected)
    (result,) = predict(ours, x, [plain])
    shift = torch.tensor([5.0, 3, 5, 3])
    assert_close(result.bboxes, expected.bboxes + shift)
    with pytest.raises(KeyError, match='border'):
        predict(theirs, x, [plain])


@pytest.fixture
def guided() -> nn.Module:
    """Guided anchoring whose location branch keeps about half."""
    head = build('ga-retinanet', loc_filter_thr=0.5)
    for conv in (head.conv_loc, head.retina_cls):
        nn.init.normal_(conv.weight)
        nn.init.zeros_(conv.bias)
    return head


def test_guided_anchors_of_a_batch_are_those_of_its_images(guided):
    x, samples = pyramid(2, 64), [data_sample(), data_sample()]
    together = predict(guided, x, samples)
    for index in range(2):
        (alone,) = predict(
            guided, [level[index : index + 1] for level in x], samples[:1]
        )
        assert len(alone) > 0
        same(together[index], alone)


def test_the_location_branch_filters_as_masked_convolutions_do(guided):
    """These compute 0 where they skip, which no kept location reads."""
    x, samples = pyramid(1, 64), [data_sample()]
    (result,) = predict(guided, x, samples)

    def mask(module, args, output):
        return output * args[1]

    for conv in (guided.retina_cls, guided.retina_reg):
        conv.register_forward_hook(mask)
    (expected,) = predict(guided, x, samples)
    same(result, expected)


def test_a_location_branch_that_keeps_nothing_leaves_no_detections(guided):
    nn.init.zeros_(guided.conv_loc.weight)
    nn.init.constant_(guided.conv_loc.bias, -9.0)
    (result,) = predict(guided, pyramid(1, 64), [data_sample()])
    assert result.bboxes.shape == (0, 4)
    assert result.scores.shape == result.labels.shape == (0,)


def test_guided_anchors_train_as_mmdets():
    ours = build('ga-retinanet')
    theirs = build('ga-retinanet', type='GARetinaHead')
    assert type(theirs) is GARetinaHead
    theirs.load_state_dict(ours.state_dict())
    x, samples = pyramid(1, 64), [data_sample(OBJECTS)]
    losses = []
    for head in (ours, theirs):
        # Shapes are trained on a random sample.
        torch.manual_seed(0)
        losses.append(head.train().loss(x, samples))
    for name, value in losses[0].items():
        assert_close(value, losses[1][name])

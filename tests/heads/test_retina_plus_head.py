import copy
import math

import pytest
import torch
from mmdet.registry import TASK_UTILS
from torch.testing import assert_close

from mmdet_retina_plus.heads import RetinaPlusHead, retina_plus_head
from mmdet_retina_plus.heads.retina_plus_head import count_anchors, join_levels
from tests.helpers.models import build_head
from tests.helpers.processes import in_two_processes
from tests.helpers.samples import HEAD_OBJECTS, data_sample, pyramid

ANCHORS = 9 * (64 + 16 + 4 + 1 + 1)
"""In an image of 64 x 64 pixels."""
KINDS = ('positive', 'ignored', 'background')


def total(losses: dict, name: str) -> torch.Tensor:
    """RetinaHead answers a list with one loss per level."""
    value = losses[name]
    return sum(value) if isinstance(value, list) else value


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'loss_bbox': dict(type='SmoothL1Loss', beta=0.11)},
        {'reg_decoded_bbox': True, 'loss_bbox': dict(type='GIoULoss')},
        {'loss_cls': dict(type='CrossEntropyLoss', use_sigmoid=False)},
        {'train_cfg.pos_weight': 2.0},
    ],
    ids=['focal-l1', 'smooth-l1', 'giou', 'softmax', 'positive-weight'],
)
def test_losses_and_gradients_equal_retina_heads(changes):
    ours = build_head(**changes)
    theirs = build_head(type='RetinaHead', **changes)
    theirs.load_state_dict(ours.state_dict())
    features = pyramid(shape=(96, 64))
    # The second image is smaller than its batch, so that it has padding.
    samples = [
        data_sample(HEAD_OBJECTS, (96, 64)),
        data_sample(HEAD_OBJECTS, (64, 64)),
    ]
    gradients = []
    for head in (ours, theirs):
        losses = head.loss(features, copy.deepcopy(samples))
        loss_cls, loss_bbox = (
            total(losses, name) for name in ('loss_cls', 'loss_bbox')
        )
        (loss_cls + loss_bbox).backward()
        gradients.append(
            [loss_cls, loss_bbox, *(p.grad for p in head.parameters())]
        )
    for value, expected in zip(*gradients, strict=True):
        assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_each_loss_is_called_once_for_all_levels():
    head = build_head()
    calls = []
    head.loss_bbox.register_forward_hook(
        lambda module, args, result: calls.append(args[0].shape)
    )
    head.loss(pyramid(), [data_sample(HEAD_OBJECTS), data_sample()])
    assert calls == [(2 * ANCHORS, 4)]


def test_join_levels_orders_rows_as_the_anchors_are():
    maps = [torch.randn(2, 6, 4, 3), torch.randn(2, 6, 2, 2)]
    joined = join_levels(maps, channels=3)
    assert joined.shape == (2, 16 * 2, 3)
    assert joined.is_contiguous()
    places = joined.reshape(2, 16, 6)
    assert_close(places[1, 12 + 3], maps[1][1, :, 1, 1])
    assert_close(places[0, 1 * 3 + 2], maps[0][0, :, 1, 2])


@pytest.mark.parametrize('type_', ['FocalLoss', 'FusedFocalLoss'])
def test_a_focal_loss_that_does_not_say_sigmoid_is_refused(type_):
    loss_cls = dict(type=type_, _delete_=True)
    with pytest.raises(ValueError, match='use_sigmoid=True'):
        build_head(loss_cls=loss_cls)


def test_softmax_starts_with_the_prior_as_its_foreground_probability():
    head = build_head(loss_cls=dict(type='CrossEntropyLoss', _delete_=True))
    bias = head.retina_cls.bias.reshape(9, 4)
    foreground = bias.softmax(dim=1)[:, :3].sum(dim=1)
    assert_close(foreground, torch.full((9,), 0.01))


def test_softmax_of_80_classes_has_the_published_background_bias():
    head = build_head(
        num_classes=80, loss_cls=dict(type='CrossEntropyLoss', _delete_=True)
    )
    assert head.retina_cls.bias[80].item() == pytest.approx(8.9771, abs=1e-4)


def test_without_a_prior_the_softmax_bias_stays_zero():
    head = build_head(
        loss_cls=dict(type='CrossEntropyLoss', _delete_=True),
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.01),
    )
    assert not head.retina_cls.bias.any()


NORMAL = dict(type='Normal', layer='Conv2d', std=0.01)
PRIOR = dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.1)


@pytest.mark.parametrize(
    'init_cfg',
    [dict(NORMAL, override=[PRIOR]), [dict(NORMAL, override=PRIOR)]],
    ids=['list-of-overrides', 'list-of-configs'],
)
def test_the_prior_is_found_wherever_mmengine_accepts_it(init_cfg):
    softmax = build_head(
        init_cfg=init_cfg,
        loss_cls=dict(type='CrossEntropyLoss', _delete_=True),
    )
    bias = softmax.retina_cls.bias.reshape(9, 4)
    foreground = bias.softmax(dim=1)[:, :3].sum(dim=1)
    assert_close(foreground, torch.full((9,), 0.1))
    sigmoid = build_head(init_cfg=init_cfg)
    assert_close(sigmoid.retina_cls.bias[0].item(), -math.log(9))


def test_sigmoid_keeps_mmdets_prior():
    bias = build_head().retina_cls.bias
    assert_close(bias, torch.full_like(bias, -math.log(99)))


def test_every_anchor_is_counted_once():
    head = build_head()
    losses = head.loss(pyramid(), [data_sample(HEAD_OBJECTS), data_sample()])
    counts = [losses[f'num_{kind}'] for kind in KINDS]
    assert sum(counts) == ANCHORS
    assert counts[0] > 0


def test_counts_are_means_over_images():
    labels = torch.tensor([[0, 3, 3, 3], [3, 3, 3, 3]])
    weights = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    counts = count_anchors(labels, weights, num_classes=3)
    assert [counts[f'num_{kind}'].item() for kind in KINDS] == [0.5, 1.0, 2.5]


def test_counts_do_not_enter_the_total_loss():
    losses = build_head().loss(pyramid(1), [data_sample(HEAD_OBJECTS)])
    assert [name for name in losses if 'loss' in name] == [
        'loss_cls',
        'loss_bbox',
    ]


@pytest.mark.parametrize('batch', ['mixed', 'empty'])
def test_every_parameter_gets_a_finite_gradient(batch):
    head = build_head()
    objects = HEAD_OBJECTS if batch == 'mixed' else ()
    losses = head.loss(pyramid(), [data_sample(objects), data_sample()])
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize('label', [-1, 3])
def test_a_label_outside_the_classes_is_refused(label):
    with pytest.raises(ValueError, match=r'\[0, 3\).*num_classes'):
        build_head().loss(pyramid(1), [data_sample([((4, 4, 40, 36), label)])])


def test_a_box_that_is_not_finite_is_refused():
    sample = data_sample(HEAD_OBJECTS)
    sample.gt_instances.bboxes[0, 2] = float('nan')
    with pytest.raises(ValueError, match='finite'):
        build_head().loss(pyramid(1), [sample])


def test_an_object_without_area_or_outside_the_image_claims_no_anchor():
    head = build_head(**{'train_cfg.assigner.type': 'StreamingMaxIoUAssigner'})
    nowhere = [((9, 9, 9, 9), 0), ((900, 900, 950, 950), 1)]
    losses = head.loss(pyramid(1), [data_sample(nowhere)])
    assert losses['num_positive'] == 0
    assert losses['loss_bbox'] == 0


ASSIGNERS = {
    'max-iou': dict(
        type='StreamingMaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4
    ),
    'atss': dict(type='StreamingATSSAssigner', topk=9),
}


@pytest.mark.parametrize('head_type', ['RetinaPlusHead', 'RetinaHead'])
@pytest.mark.parametrize('assigner', ASSIGNERS)
def test_assigners_swap_by_one_line(head_type, assigner):
    head = build_head(
        **{
            'type': head_type,
            'train_cfg.assigner': dict(ASSIGNERS[assigner], _delete_=True),
        }
    )
    # Padding of the second image takes whole places out of its levels.
    samples = [
        data_sample(HEAD_OBJECTS, (96, 64)),
        data_sample(HEAD_OBJECTS, (64, 64)),
    ]
    losses = head.loss(pyramid(shape=(96, 64)), samples)
    assert total(losses, 'loss_bbox') > 0
    assert total(losses, 'loss_cls').isfinite()


def test_a_mining_policy_sees_one_image_and_sets_its_weights():
    seen = []

    @TASK_UTILS.register_module()
    class HalveNegatives:
        needs = 'predictions'

        def __call__(self, cls_score, boxes, labels, weights, gt_instances):
            assert not cls_score.requires_grad
            seen.append(
                (cls_score.shape, boxes.shape, len(gt_instances.labels))
            )
            return torch.where(labels == 3, weights / 2, weights)

    try:
        mined = build_head(mining=[dict(type='HalveNegatives')] * 2)
    finally:
        TASK_UTILS.module_dict.pop('HalveNegatives')
    plain = build_head()
    plain.load_state_dict(mined.state_dict())
    features = pyramid()
    batch = [data_sample(HEAD_OBJECTS), data_sample()]
    assert_close(
        mined.loss(features[:], [batch[1]] * 2)['loss_cls'],
        plain.loss(features[:], [batch[1]] * 2)['loss_cls'] / 4,
    )
    seen.clear()
    mined.loss(features, batch)
    assert seen == [
        ((ANCHORS, 3), (ANCHORS, 4), count) for count in (2, 2, 0, 0)
    ]


def test_mining_sees_scores_and_boxes_in_the_order_of_the_labels():
    """The place of the largest score is that of the anchor it belongs to."""
    head = build_head()
    caught = {}

    class Catch:
        needs = 'predictions'

        def __call__(self, cls_score, boxes, labels, weights, gt_instances):
            caught.update(scores=cls_score, boxes=boxes)
            return weights

    head.mining = [Catch()]
    features = pyramid(1)
    sample = data_sample(HEAD_OBJECTS)
    head.loss(features, [sample])
    scores, deltas = head(features)
    level, anchor = 1, 5
    anchors = head.prior_generator.grid_priors(
        [score.shape[-2:] for score in scores], device='cpu'
    )
    place = (2, 3)
    width = scores[level].shape[-1]
    row = len(anchors[0]) + (place[0] * width + place[1]) * 9 + anchor
    assert_close(
        caught['scores'][row],
        scores[level][0].reshape(9, 3, *scores[level].shape[-2:])[
            anchor, :, place[0], place[1]
        ],
    )
    delta = deltas[level][0].reshape(9, 4, *scores[level].shape[-2:])[
        anchor, :, place[0], place[1]
    ]
    prior = anchors[level][row - len(anchors[0])]
    assert_close(
        caught['boxes'][row],
        head.bbox_coder.decode(prior[None], delta[None])[0],
    )


def test_loss_and_predict_detects_in_network_coordinates():
    head = build_head(**{'test_cfg.score_thr': 0.0})
    features, sample = pyramid(1), data_sample(HEAD_OBJECTS)
    # The image that was loaded is half as large as the network's.
    sample.set_metainfo(dict(scale_factor=(2.0, 2.0)))
    losses, (found,) = head.loss_and_predict(features, [sample])
    assert losses['loss_cls'].requires_grad
    (expected,) = head.predict(features, [sample], rescale=False)
    assert len(found) > 0
    assert_close(found.bboxes, expected.bboxes)


def losses_alone_and_together(rank: int) -> list[torch.Tensor]:
    """Positives and loss_cls: two objects for rank 0, none for rank 1."""
    torch.manual_seed(0)
    head = build_head()
    features = pyramid(1)
    sample = data_sample(() if rank else HEAD_OBJECTS)
    alone = head.loss(features, [sample])
    head.sync_avg_factor = True
    together = head.loss(features, [sample])
    return [
        alone['num_positive'].clamp(min=1),
        alone['loss_cls'].detach(),
        together['loss_cls'].detach(),
    ]


def test_a_synchronised_divisor_is_the_mean_over_processes(tmp_path):
    ranks = in_two_processes(tmp_path, losses_alone_and_together)
    factors = [positives for positives, _, _ in ranks]
    assert factors[0] > factors[1] == 1
    for factor, alone, together in ranks:
        assert_close(together * sum(factors) / 2, alone * factor)


def test_a_divisor_that_both_losses_share_is_synchronised_once(monkeypatch):
    counts = []
    monkeypatch.setattr(
        retina_plus_head, 'reduce_mean', lambda x: counts.append(x) or x
    )
    head = build_head(sync_avg_factor=True)
    head.loss(pyramid(1), [data_sample(HEAD_OBJECTS)])
    assert len(counts) == 1


def test_a_subclass_may_change_the_losses_of_a_step():
    class Halved(RetinaPlusHead):
        def loss_by_feat_single(self, *args, **kwargs):
            return tuple(
                loss / 2
                for loss in super().loss_by_feat_single(*args, **kwargs)
            )

    head = build_head()
    arguments = pyramid(1), [data_sample(HEAD_OBJECTS)]
    expected = head.loss(*arguments)
    head.__class__ = Halved
    halved = head.loss(*arguments)
    for name in ('loss_cls', 'loss_bbox'):
        assert_close(halved[name], expected[name] / 2)


def test_ignore_regions_reach_the_assigner():
    head = build_head(**{'train_cfg.assigner.ignore_iof_thr': 0.5})
    plain, ignoring = (data_sample(HEAD_OBJECTS) for _ in range(2))
    ignoring.ignored_instances.bboxes = torch.tensor([[30.0, 0, 64, 30]])
    features = pyramid(1)
    before = head.loss(features, [plain])['num_ignored']
    assert head.loss(features, [ignoring])['num_ignored'] > before


def test_a_positive_of_weight_zero_stays_a_positive():
    counts = count_anchors(torch.tensor([[0, 3]]), torch.zeros(1, 2), 3)
    assert [counts[f'num_{kind}'].item() for kind in KINDS] == [1, 1, 0]


def test_a_second_initialisation_keeps_trained_weights():
    head = build_head(loss_cls=dict(type='CrossEntropyLoss', _delete_=True))
    head.retina_cls.bias.data.fill_(7.0)
    head.init_weights()
    assert (head.retina_cls.bias == 7).all()


def test_mining_gets_values_without_a_graph():
    head = build_head()

    class Check:
        needs = 'predictions'

        def __call__(self, cls_score, boxes, labels, weights, gt_instances):
            assert not cls_score.requires_grad
            assert not boxes.requires_grad
            assert not torch.is_grad_enabled()
            return weights

    head.mining = [Check()]
    assert head.loss(pyramid(1), [data_sample(HEAD_OBJECTS)])[
        'loss_cls'
    ].requires_grad


@pytest.mark.parametrize('use_sigmoid', [False, True])
def test_mining_counts_channels_as_the_classifier_does(use_sigmoid):
    """Otherwise the last class would be mined as background."""
    loss = dict(type='CrossEntropyLoss', use_sigmoid=use_sigmoid)
    policy = dict(type='StochasticHardMining')
    with pytest.raises(ValueError, match='mining=None'):
        build_head(
            loss_cls=loss, mining=dict(policy, use_sigmoid=not use_sigmoid)
        )
    build_head(loss_cls=loss, mining=dict(policy, use_sigmoid=use_sigmoid))

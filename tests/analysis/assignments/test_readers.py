"""What is read off a head's loss, against its assigner asked directly."""

import numpy as np
import pytest
import torch
from mmdet.models.task_modules import RandomSampler
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch.nn.functional import cross_entropy

from mmdet_retina_plus.analysis.assignments.assignment import (
    IGNORED,
    NEGATIVE,
    POSITIVE,
)
from mmdet_retina_plus.analysis.assignments.heads import (
    READERS,
    dense_head,
    reader_of,
)
from mmdet_retina_plus.analysis.assignments.page import strategies_html
from mmdet_retina_plus.analysis.assignments.strategies import (
    build_strategy,
    progress_of,
)
from mmdet_retina_plus.analysis.assignments.watching import watched
from tests.helpers.assigned_heads import ALL, OBJECTS, assigned_head, scene
from tests.helpers.models import detector_config, head_config
from tests.helpers.shipped_configs import load

pytestmark = pytest.mark.filterwarnings(
    # mmdet's guided anchoring asks for a name that mmdet calls old.
    'ignore:DeprecationWarning. pos_bboxes:UserWarning:mmdet'
)


def read(head, features, samples):
    with torch.no_grad():
        return reader_of(head)(head, features, samples)


def levels_of(head, features) -> list:
    sizes = [level.shape[-2:] for level in features]
    return head.prior_generator.grid_priors(sizes, device='cpu')


def assigned(head, features, sample) -> np.ndarray:
    """The assigner's own answer: -1 ignored, 0 negative, else the object."""
    levels = levels_of(head, features)
    priors = InstanceData(priors=torch.cat(levels))
    arguments = (sample.gt_instances,)
    if type(head).__name__ == 'ATSSHead':
        arguments = ([len(level) for level in levels], *arguments)
    return head.assigner.assign(priors, *arguments).gt_inds.numpy()


@pytest.mark.parametrize('kind', ['RetinaHead', 'RetinaPlusHead', 'ATSSHead'])
@pytest.mark.parametrize('objects', [OBJECTS, OBJECTS[:1], []])
def test_priors_of_anchor_heads_are_the_assigners(kind, objects):
    head = assigned_head(kind)
    features, samples = scene(kind, objects)
    found = read(head, features, samples)
    expected = assigned(head, features, samples[0])
    np.testing.assert_array_equal(found.states, np.sign(expected))
    np.testing.assert_array_equal(found.priors, np.flatnonzero(expected > 0))
    np.testing.assert_array_equal(found.objects, expected[expected > 0] - 1)
    assert (expected < 0).any() == (kind != 'ATSSHead' and bool(objects))
    levels = levels_of(head, features)
    np.testing.assert_array_equal(found.boxes, torch.cat(levels))
    assert found.strides == [8, 16, 32, 64, 128]
    counts = np.bincount(found.levels[expected > 0], minlength=5)
    assert found.count(POSITIVE) == counts.tolist()


@pytest.mark.parametrize('kind', ['ATSSHead', 'FCOSHead', 'YOLOV3Head'])
def test_objects_with_the_same_box_and_label_are_told_apart(kind):
    found = read(assigned_head(kind), *scene(kind))
    counts = found.positives_of(len(OBJECTS))
    assert sorted(counts[3:] > 0) == [False, True]


@pytest.mark.parametrize('kind', ALL)
def test_an_image_without_objects_has_no_positives(kind):
    found = read(assigned_head(kind), *scene(kind, []))
    assert not len(found.priors)
    assert POSITIVE not in found.states


@pytest.mark.parametrize('sampling', [False, True])
def test_points_of_fcos_are_those_of_mmdets_targets(sampling):
    head = assigned_head('FCOSHead', center_sampling=sampling)
    features, samples = scene('FCOSHead')
    found = read(head, features, samples)
    truth = samples[0].gt_instances
    points = levels_of(head, features)
    labels, targets = map(torch.cat, head.get_targets(points, [truth]))
    positive = labels < head.num_classes
    np.testing.assert_array_equal(found.states == POSITIVE, positive)
    np.testing.assert_array_equal(found.states == NEGATIVE, ~positive)
    boxes = head.bbox_coder.decode(torch.cat(points), targets)[positive]
    torch.testing.assert_close(truth.bboxes[found.objects], boxes)
    torch.testing.assert_close(
        torch.tensor(found.weights), head.centerness_target(targets[positive])
    )
    assert 0 < found.weights.min() < found.weights.max() <= 1


def test_negatives_of_ssd_are_three_times_the_positives_and_the_hardest():
    head = assigned_head('SSDHead')
    features, samples = scene('SSDHead')
    found = read(head, features, samples)
    positives = int((found.states == POSITIVE).sum())
    kept = np.flatnonzero(found.states == NEGATIVE)
    assert len(kept) == 3 * positives > 0
    scores = torch.cat(
        [
            level.permute(0, 2, 3, 1).reshape(-1, 4)
            for level in head(features)[0]
        ]
    )
    background = torch.full((len(scores),), 3)
    losses = cross_entropy(scores, background, reduction='none')
    losses[assigned(head, features, samples[0]) > 0] = -1
    hardest = losses.topk(len(kept)).indices.sort().values
    np.testing.assert_array_equal(kept, hardest)
    assert sum(found.count(IGNORED)) == len(scores) - 4 * positives


def test_priors_of_yolo_are_the_assigners():
    head = assigned_head('YOLOV3Head')
    features, samples = scene('YOLOV3Head')
    found = read(head, features, samples)
    levels = levels_of(head, features)
    truth = samples[0].gt_instances
    flags = head.responsible_flags(
        [level.shape[-2:] for level in features], truth.bboxes, 'cpu'
    )
    priors = InstanceData(
        priors=torch.cat(levels), responsible_flags=torch.cat(flags)
    )
    expected = head.assigner.assign(priors, truth).gt_inds.numpy()
    np.testing.assert_array_equal(found.states, np.sign(expected))
    np.testing.assert_array_equal(found.objects, expected[expected > 0] - 1)
    assert {*np.sign(expected)} == {-1, 0, 1}


def test_negatives_of_yolo_whose_predictions_overlap_are_ignored():
    torch.manual_seed(0)
    head = assigned_head('YOLOV3PlusHead')
    features, samples = scene('YOLOV3PlusHead')
    with_mining = read(head, features, samples)
    head.mining = []
    without = read(head, features, samples)
    assert sum(without.count(IGNORED)) == 0
    changed = with_mining.states != without.states
    assert 0 < changed.sum() == sum(with_mining.count(IGNORED))
    assert (without.states[changed] == NEGATIVE).all()
    assert with_mining.positives_of(len(OBJECTS)).tolist()[:3] == [1, 1, 1]


def test_free_priors_of_yolo_are_positives_where_they_are_chosen():
    head = assigned_head('GuidedYOLOV3Head')
    # The object of 32 x 32 pixels is the free prior of stride 8 exactly.
    features, samples = scene('GuidedYOLOV3Head', OBJECTS[3:4])
    found = read(head, features, samples)
    (prior,) = found.priors
    np.testing.assert_allclose(found.boxes[prior, 2:], [116, 44])
    assert found.states[prior] == POSITIVE
    assert found.objects.tolist() == [0]


def test_a_column_says_that_a_second_stage_is_not_shown():
    """Libra's sampler is in the second stage alone."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        libra = build_strategy(
            'libra', load('lab/method_libra-rcnn'), 'train', '', 'cpu'
        )
    single = libra._replace(name='plain', model=libra.model.backbone)
    assert libra.name == 'libra (RPN)'
    assert 'is not shown' in strategies_html([libra, single])
    assert 'is not shown' not in strategies_html([single])


@pytest.mark.parametrize('soft_start', [0.5, 1.0])
def test_a_trained_sapd_shows_the_weights_of_its_last_step(soft_start):
    """With soft_start=1 no soft ones: it never trains with them."""
    head = assigned_head('SAPDHead')
    head.soft_start = soft_start
    with progress_of(trained=True):
        weights = head.weigh_levels(torch.zeros(1, 5), torch.tensor([2]))
    assert (weights.max() == 1) == (soft_start == 1)


@pytest.mark.parametrize('trained', [False, True])
def test_weights_of_sapd_are_those_of_its_loss(trained):
    """A loss's gradient by a logit is its weight times that of weight 1."""
    head = assigned_head('SAPDHead')
    for weights in head.selector.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    features, samples = scene('SAPDHead')
    logits, distances = head(features)
    logits = [level.detach().requires_grad_() for level in logits]
    truth = samples[0].gt_instances
    with progress_of(trained):
        found = read(head, features, samples)
        losses = head.loss_by_feat(
            logits,
            distances,
            [truth],
            [samples[0].metainfo],
            level_logits=head.selector(features, [truth]),
        )
    gradients = torch.cat(
        [
            level.permute(0, 2, 3, 1).reshape(-1, 3)
            for level in torch.autograd.grad(losses['loss_cls'], logits)
        ]
    )
    rows = torch.cat(
        [level.permute(0, 2, 3, 1).reshape(-1, 3) for level in logits]
    ).detach()
    total = max(found.weights.sum(), 1)
    assert (gradients[found.states == IGNORED] == 0).all()
    x = rows[found.priors].requires_grad_()
    loss = head.loss_cls(
        x, truth.labels[found.objects], reduction_override='sum'
    )
    (plain,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(
        gradients[found.priors],
        plain * torch.tensor(found.weights)[:, None] / total,
    )
    levels = [
        len(set(found.levels[found.priors[found.objects == number]]))
        for number in range(3)
    ]
    # Smaller objects may take all cells of one of the three.
    assert 2 <= max(levels) <= 3 if trained else levels == [1, 1, 1]


def test_positives_of_centernet_are_the_cells_of_the_centres():
    head = assigned_head('CenterNetHead')
    features, samples = scene('CenterNetHead')
    found = read(head, features, samples)
    boxes = samples[0].gt_instances.bboxes.numpy()
    cells = (boxes[:, :2] + boxes[:, 2:]) // 8
    expected = cells[:, 1] * 32 + cells[:, 0]
    np.testing.assert_array_equal(found.priors, expected)
    np.testing.assert_array_equal(found.objects, np.arange(len(boxes)))
    np.testing.assert_array_equal(found.centres[found.priors], cells * 4 + 2)
    assert sum(found.count(NEGATIVE)) == 32 * 32 - 4


@pytest.mark.parametrize('count', [1, 5])
def test_centernet_is_asked_as_often_whatever_the_objects(count):
    head = assigned_head('CenterNetHead')
    with watched(head, 'get_targets') as calls:
        read(head, *scene('CenterNetHead', OBJECTS[:count]))
    # By the loss, and for all objects.
    assert len(calls) == 2


def test_guided_anchors_are_assigned_where_they_are_predicted():
    head = assigned_head('GARetinaHead')
    features, samples = scene('GARetinaHead')
    head.conv_shape.bias.data[:] = torch.tensor([0.5, -0.5])
    found = read(head, features, samples)
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    assert (sides[:, 0] > 1.2 * sides[:, 1]).all()
    truth = samples[0].gt_instances
    priors = InstanceData(priors=torch.tensor(found.boxes))
    expected = head.assigner.assign(priors, truth).gt_inds.numpy()
    np.testing.assert_array_equal(found.states, np.sign(expected))


@pytest.mark.parametrize(
    'mining',
    [
        dict(type='DenseOHEM', num=64),
        dict(
            type='StochasticHardMining',
            use_sigmoid=True,
            neg_pos_ratio=0.5,
        ),
    ],
)
def test_what_mining_leaves_out_counts_as_ignored(mining):
    head = assigned_head('RetinaPlusHead', mining=mining)
    features, samples = scene('RetinaPlusHead')
    found = read(head, features, samples)
    torch.manual_seed(1)
    logged = head.loss(features, samples)
    background = int(logged['num_background'])
    assert sum(found.count(NEGATIVE)) == background < 100
    # A positive that mining drops is one for the boxes only.
    left_out = sum(found.count(POSITIVE)) - int(logged['num_positive'])
    assert sum(found.count(IGNORED)) + left_out == int(logged['num_ignored'])


def test_what_a_sampler_leaves_out_counts_as_ignored():
    sampler = dict(
        type='RandomSampler',
        num=40,
        pos_fraction=0.25,
        add_gt_as_proposals=False,
    )
    head = assigned_head('RetinaHead', **{'train_cfg.sampler': sampler})
    assert isinstance(head.sampler, RandomSampler)
    features, samples = scene('RetinaHead')
    found = read(head, features, samples)
    assert sum(found.count(POSITIVE)) == 10
    assert sum(found.count(NEGATIVE)) == 30
    expected = assigned(head, features, samples[0])
    assert (expected[found.states == POSITIVE] > 0).all()
    assert (expected[found.states == NEGATIVE] == 0).all()
    np.testing.assert_array_equal(found.objects, expected[found.priors] - 1)


def test_reading_leaves_the_head_as_it_was():
    head = assigned_head('ATSSHead')
    features, samples = scene('ATSSHead')
    before = set(vars(head)), set(vars(head.assigner))
    first = read(head, features, samples)
    assert (set(vars(head)), set(vars(head.assigner))) == before
    assert not head.loss_cls._forward_pre_hooks
    second = read(head, features, samples)
    np.testing.assert_array_equal(first.states, second.states)
    labels = [label for _, label in OBJECTS]
    assert samples[0].gt_instances.labels.tolist() == labels


def test_heads_that_choose_otherwise_are_refused_by_name():
    config = detector_config()
    config.bbox_head.update(
        type='FreeAnchorRetinaHead', loss_bbox=dict(type='SmoothL1Loss')
    )
    config.bbox_head.pop('loss_cls')
    with pytest.raises(ValueError, match='FreeAnchorRetinaHead') as error:
        dense_head(MODELS.build(config))
    for known in READERS:
        assert known.__name__ in str(error.value)


def test_a_subclass_works_unless_it_may_choose_again():
    class Deeper(MODELS.get('RetinaHead')):
        def forward_single(self, x):
            return super().forward_single(x)

    class Other(Deeper):
        def loss_by_feat(self, *args, **kwargs):
            return super().loss_by_feat(*args, **kwargs)

    settings = head_config()
    settings.pop('type')
    assert reader_of(Deeper(**settings)) is not None
    assert reader_of(Other(**settings)) is None


def test_soft_targets_are_refused():
    head = assigned_head('ATSSHead')
    head.loss_cls = MODELS.build(dict(type='QualityFocalLoss'))
    with pytest.raises(ValueError, match='QualityFocalLoss'):
        read(head, *scene('ATSSHead'))

"""How RetinaMask's mask branch trains."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks
from mmdet.testing import demo_mm_inputs, demo_mm_proposals
from mmengine.config import Config
from mmengine.hub import get_config
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from benchmarks.harness import peak_bytes
from mmdet_retina_plus.heads import shared_bitmaps
from mmdet_retina_plus.heads.mask_roi_head import TRAIN_CFG
from mmdet_retina_plus.heads.shared_bitmaps import SharedBitmaps
from tests.helpers.mask_scenes import (
    Spy,
    bitmap_masks,
    build_retinamask,
    build_roi_head,
    detections,
    mask_sample,
    polygon_masks,
    reference_target,
    train,
)
from tests.helpers.models import RETINAMASK, roi_head_config
from tests.helpers.oracles import exact_level, read_oracle
from tests.helpers.processes import in_two_processes
from tests.helpers.samples import HEAD_OBJECTS, batches, data_sample, pyramid

ORACLE = read_oracle('mask_branch')
OUTLINES = [
    [[4, 4, 40, 8, 30, 36, 6, 30]],
    [[20, 24, 40, 24, 40, 60, 20, 60], [45, 30, 60, 30, 52, 58]],
]
NOTHING = detections([])


def overlap(box, other) -> float:
    sides = [
        max(0.0, min(box[i + 2], other[i + 2]) - max(box[i], other[i]))
        for i in (0, 1)
    ]
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    shared = sides[0] * sides[1]
    return shared / (sum(areas) - shared)


def jittered(boxes, count: int, seed: int) -> torch.Tensor:
    """Boxes around some, good and bad ones, inside of 64 x 64 pixels."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.tensor(boxes, dtype=torch.float32)
    chosen = boxes[torch.randint(len(boxes), (count,), generator=generator)]
    noise = torch.randn(count, 4, generator=generator) * 6
    moved = (chosen + noise).clamp(0, 63)
    corners = torch.stack([moved[:, :2], moved[:, 2:] + 1]).sort(dim=0).values
    return torch.cat([*corners], dim=1)


def reference_loss(head, features, found, samples) -> torch.Tensor:
    """All boxes through the head; the loss on those that match.

    Mean over matched boxes x 28 x 28 of the cross entropy on the class of the
    object.
    """
    terms = []
    for i, (result, sample) in enumerate(zip(found, samples, strict=True)):
        gt = sample.gt_instances
        boxes = torch.cat([result.bboxes, gt.bboxes])
        rois = torch.cat([torch.full((len(boxes), 1), float(i)), boxes], 1)
        logits = head.mask_head(head.mask_roi_extractor(features[:3], rois))
        for box, channels in zip(boxes.tolist(), logits, strict=True):
            overlaps = [overlap(box, other) for other in gt.bboxes.tolist()]
            if not overlaps or max(overlaps) < 0.5:
                continue
            best = int(np.argmax(overlaps))
            target = torch.tensor(
                reference_target(gt.masks.masks[best], np.float32(box))
            ).float()
            logit = channels[gt.labels[best]]
            terms.append(F.softplus(logit) - target * logit)
    return torch.stack(terms).mean()


@pytest.mark.parametrize('seed', range(3))
def test_loss_and_gradients_are_those_of_the_reference_rule(seed):
    head = build_roi_head()
    features = [level.requires_grad_() for level in pyramid()]
    found = [
        detections(jittered([box for box, _ in HEAD_OBJECTS], 20, seed), 1),
        detections(jittered([HEAD_OBJECTS[0][0]], 7, seed + 10)),
    ]
    samples = [
        mask_sample(HEAD_OBJECTS, outlines=OUTLINES),
        mask_sample(HEAD_OBJECTS[:1], outlines=OUTLINES[:1]),
    ]
    expected = reference_loss(head, features, found, samples)
    inputs = [*head.mask_head.parameters(), *features[:3]]
    theirs = torch.autograd.grad(expected, inputs)
    losses = train(head, found, samples, features)
    assert 2 + 1 < losses['num_mask_rois'] * 2 < 2 + 1 + 27
    ours = torch.autograd.grad(losses['loss_mask'], inputs)
    assert_close(losses['loss_mask'].squeeze(), expected)
    assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    'case', ORACLE['matches'], ids=lambda case: case['what']
)
def test_boxes_match_at_an_overlap_of_a_half(case):
    head = build_roi_head()
    spy = Spy(head)
    sample = mask_sample([((0, 0, 20, 20), 1)])
    losses = train(head, [detections([case['box']])], [sample])
    pooled = [[0, 0, 20, 20]] + [case['box']] * case['matched']
    # Those that do not match leave before anything is pooled.
    assert_close(spy.rois[0][:, 1:], torch.tensor(pooled).float())
    assert losses['num_mask_rois'] == len(pooled)


def test_the_objects_class_and_mask_train_not_the_predicted_ones():
    head = build_roi_head()
    spy = Spy(head)
    # Both detections say 1, which neither object is.
    found = detections([(4, 4, 40, 36), (20, 24, 60, 60)], labels=1)
    losses = train(head, [found], [mask_sample(HEAD_OBJECTS)])
    losses['loss_mask'].backward()
    (logits,) = spy.logits
    trained = logits.grad.abs().amax(dim=(2, 3)) > 0
    assert trained.nonzero().tolist() == [[0, 0], [1, 2], [2, 0], [3, 2]]


def test_images_with_more_boxes_weigh_more():
    """The mean is over the boxes of all images."""
    head = build_roi_head()
    features = pyramid()
    samples = [mask_sample(HEAD_OBJECTS), mask_sample(HEAD_OBJECTS[:1])]
    found = [detections([HEAD_OBJECTS[1][0]] * 3), NOTHING]
    together = train(head, found, samples, features)['loss_mask']
    first, second = (
        train(
            head,
            found[i : i + 1],
            samples[i : i + 1],
            [level[i : i + 1] for level in features],
        )['loss_mask']
        for i in range(2)
    )
    assert_close(together, (5 * first + 1 * second) / 6)


def test_all_boxes_on_one_object_count():
    head = build_roi_head()
    boxes = torch.tensor([4.0, 4, 40, 36]) + torch.rand(520, 4)
    losses = train(head, [detections(boxes)], [mask_sample(HEAD_OBJECTS[:1])])
    assert losses['num_mask_rois'] == 521


def test_a_sampler_may_bound_the_boxes():
    head = build_roi_head(train_cfg=dict(sampler=dict(num=16)))
    boxes = torch.tensor([4.0, 4, 40, 36]) + torch.rand(520, 4)
    losses = train(head, [detections(boxes)], [mask_sample(HEAD_OBJECTS[:1])])
    assert losses['num_mask_rois'] == 16


def test_objects_in_the_same_box_train_a_mask_each():
    """The authors' code would match both to the first of them."""
    head = build_roi_head()
    spy = Spy(head)
    box = (8, 8, 36, 36)
    sample = mask_sample(
        [(box, 0), (box, 2)],
        outlines=[[[8, 8, 22, 8, 22, 36, 8, 36]], [[22, 8, 36, 8, 36, 36]]],
    )
    train(head, [detections([box])], [sample])['loss_mask'].backward()
    # What raises a mask has a negative gradient.
    objects = spy.logits[0].grad < 0
    rows = [(0, 0), (1, 2), (0, 0)]  # the detection takes the first
    for i, (outline, label) in enumerate(rows):
        expected = reference_target(sample.gt_instances.masks[outline], box)
        assert_close(objects[i, label], torch.tensor(expected).bool())


@pytest.mark.parametrize(('share', 'count'), [(-1, 3), (0.5, 2)])
def test_regions_to_ignore_keep_their_detections_unless_asked(share, count):
    """Two objects, and a detection within the region."""
    head = build_roi_head(train_cfg=dict(assigner=dict(ignore_iof_thr=share)))
    sample = mask_sample(HEAD_OBJECTS)
    sample.ignored_instances.bboxes = torch.tensor([[0.0, 0, 64, 64]])
    losses = train(head, [detections([HEAD_OBJECTS[0][0]])], [sample])
    assert losses['num_mask_rois'] == count


def targets(masks, box) -> np.ndarray:
    """The mask target of a box that is matched to the first object."""
    sampled = Config(dict(mask_size=28))
    head = build_roi_head().mask_head
    result = type('Sampled', (), {})()
    result.pos_priors = torch.tensor([box]).float()
    result.pos_assigned_gt_inds = torch.zeros(1).long()
    ground_truth = type('Instances', (), dict(masks=masks))()
    return head.get_targets([result], [ground_truth], sampled)[0].numpy()


def near_its_border(target: np.ndarray, distance: int) -> np.ndarray:
    """Pixels that have both values within a distance."""
    image = torch.tensor(target)[None].float()
    size = 2 * distance + 1
    options = dict(stride=1, padding=distance)
    most = F.max_pool2d(image, size, **options)
    least = -F.max_pool2d(-image, size, **options)
    return (most != least)[0].numpy()


@pytest.mark.parametrize('masks', [polygon_masks, bitmap_masks])
@pytest.mark.parametrize(
    'case', ORACLE['targets'], ids=lambda case: case['what']
)
def test_targets_of_rectangles_are_rectangles(case, masks):
    expected = np.zeros((28, 28))
    expected[slice(*case['rows']), slice(*case['columns'])] = 1
    target = targets(masks([case['outline']], (96, 96)), case['box'])
    np.testing.assert_array_equal(target, expected)


STAR = [
    [48, 8, 56, 36, 88, 38, 62, 54, 72, 86, 48, 66, 24, 86, 34, 54, 8, 38],
    [2.5, 2.5, 20.25, 4, 12, 17.75],
]


@pytest.mark.parametrize(
    'box',
    [
        (8, 8, 88, 86),
        (1.3, 2.6, 90.1, 95.4),
        (30.25, 20.5, 75.75, 92.125),
        (0, 0, 22.4, 18.9),
        (40, 40, 43.5, 52),
        (60, 60, 60.4, 60.4),
        (48, 8, 48, 66),
    ],
    ids=str,
)
def test_targets_are_the_cropped_and_resized_polygon(box):
    expected = reference_target(STAR, np.float32(box))
    target = targets(polygon_masks([STAR], (96, 96)), box)
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize(
    'box',
    [(8, 8, 88, 86), (1.3, 2.6, 90.1, 95.4), (30.25, 20.5, 75.75, 92.125)],
    ids=str,
)
def test_targets_of_bitmaps_differ_at_borders_only(box):
    expected = reference_target(STAR, box)
    target = targets(bitmap_masks([STAR], (96, 96)), box)
    differ = target != expected
    assert differ.mean() < 0.05
    # A pixel of the image is at most one and a half of the target.
    assert not (differ & ~near_its_border(expected, 2)).any()


@pytest.mark.parametrize('k0', [4, 5])
def test_levels_of_the_listed_sizes(k0):
    scale = {4: RETINAMASK.roi_head.mask_roi_extractor.finest_scale, 5: 56}[k0]
    extractor = build_roi_head(
        mask_roi_extractor=dict(finest_scale=scale)
    ).mask_roi_extractor
    sides = torch.tensor([case['side'] for case in ORACLE['levels']])
    rois = torch.zeros(len(sides), 5)
    rois[:, 3:] = sides[:, None]
    assert (extractor.map_roi_levels(rois, 3) + 3).tolist() == [
        case[f'k0_{k0}'] for case in ORACLE['levels']
    ]


EXTRACTOR = build_roi_head().mask_roi_extractor


@settings(max_examples=200, deadline=None)
@given(
    width=st.floats(0.125, 2000, width=32),
    height=st.floats(0.125, 2000, width=32),
    corner=st.floats(0, 500, width=32),
)
def test_levels_follow_the_area(width, height, corner):
    roi = torch.tensor([[0, corner, corner, corner + width, corner + height]])
    x1, y1, x2, y2 = roi[0, 1:].tolist()
    assume(x2 > x1 and y2 > y1)
    exact = exact_level(np.sqrt((x2 - x1) * (y2 - y1)), k0=4)
    assume(abs(exact - np.rint(exact)) > 1e-4)
    level = EXTRACTOR.map_roi_levels(roi, 3).item() + 3
    assert level == np.clip(np.floor(exact), 3, 5)


def test_only_mask_head_levels_and_backbone_learn_from_masks():
    model = build_retinamask(roi_head_config())
    samples = [mask_sample(HEAD_OBJECTS), mask_sample(HEAD_OBJECTS[:1])]
    losses = model.loss(torch.randn(2, 3, 64, 64), samples)
    losses['loss_mask'].sum().backward()
    learning = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }
    parts = ('backbone.layer2', 'neck.lateral_convs.0', 'neck.fpn_convs.0')
    for part in (*parts, 'backbone.layer4', 'roi_head.mask_head.conv_logits'):
        assert any(name.startswith(part) for name in learning), part
    assert not any(name.startswith('bbox_head') for name in learning)
    # P6 and P7.
    assert not any(name.startswith('neck.fpn_convs.3') for name in learning)
    assert not any(name.startswith('neck.fpn_convs.4') for name in learning)


def test_boxes_carry_no_gradient(monkeypatch):
    """Even if a box head's detections do, which mmdet's do not."""
    model = build_retinamask(roi_head_config())
    found = detections([HEAD_OBJECTS[0][0]])
    found.bboxes.requires_grad_()
    monkeypatch.setattr(
        model.bbox_head, 'predict_by_feat', lambda *_, **__: [found]
    )
    spy = Spy(model.roi_head)
    model.loss(torch.randn(1, 3, 64, 64), [mask_sample(HEAD_OBJECTS)])
    assert len(spy.rois[0]) > len(HEAD_OBJECTS)
    assert not spy.rois[0].requires_grad


BATCHES = batches(HEAD_OBJECTS)


@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('bias', [-100.0, -1.0], ids=['blind', 'seeing'])
@pytest.mark.parametrize('strides', [[8, 16, 32], [8]], ids=str)
@pytest.mark.parametrize('masks', [polygon_masks, bitmap_masks])
def test_every_parameter_gets_a_finite_gradient(batch, bias, strides, masks):
    model = build_retinamask(
        roi_head_config(mask_roi_extractor=dict(featmap_strides=strides))
    )
    torch.nn.init.constant_(model.bbox_head.retina_cls.bias, bias)
    samples = [mask_sample(objects, masks=masks) for objects in BATCHES[batch]]
    losses = model.loss(torch.randn(2, 3, 64, 64), samples)
    if batch == 'all-empty':
        assert losses['loss_mask'] == 0
    sum(losses[name].sum() for name in losses if 'loss' in name).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize('strides', [[4], [4, 8, 16, 32]], ids=str)
def test_levels_of_masks_alone_have_gradients_without_boxes(strides):
    """The boxes of this detector start one level coarser."""
    roi_head = roi_head_config(
        mask_roi_extractor=dict(featmap_strides=strides)
    )
    model = build_retinamask(
        roi_head,
        bbox_start_level=1,
        neck=dict(start_level=0, num_outs=6),
    )
    losses = model.loss(torch.randn(1, 3, 64, 64), [mask_sample()])
    sum(losses[name].sum() for name in losses if 'loss' in name).backward()
    finest = model.neck.fpn_convs[0].conv.weight.grad
    assert finest is not None and not finest.any()


def parameters_after_two_steps(rank: int) -> list[torch.Tensor]:
    """With all levels and with one; each rank sees an object in one step.

    In the first step there are no detections.
    """
    torch.manual_seed(0)
    parameters = []
    for strides in ([8, 16, 32], [8]):
        extractor = dict(featmap_strides=strides)
        model = build_retinamask(roi_head_config(mask_roi_extractor=extractor))
        bias = model.bbox_head.retina_cls.bias
        torch.nn.init.constant_(bias, -100.0)
        parallel = DistributedDataParallel(model, find_unused_parameters=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for step in range(2):
            objects = [((8, 8, 40, 40), 1)] if rank == step else []
            samples = [mask_sample(objects)]
            losses = parallel(torch.randn(1, 3, 64, 64), samples, mode='loss')
            loss, _ = model.parse_losses(losses)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            torch.nn.init.constant_(bias, -1.0)
        parameters += [value.detach() for value in model.parameters()]
    return parameters


def test_processes_with_and_without_objects_train_together(tmp_path):
    ranks = in_two_processes(tmp_path, parameters_after_two_steps)
    assert_close(*ranks, rtol=0, atol=0)
    assert all(value.isfinite().all() for value in ranks[0])


def test_features_of_half_precision_are_pooled_in_single():
    head = build_roi_head()
    spy = Spy(head)
    features = [level.bfloat16() for level in pyramid()]
    # bfloat16 has no 20.25 and 44.75.
    objects = [((20.25, 20.25, 44.75, 44.75), 1)]
    with torch.autocast('cpu', torch.bfloat16):
        losses = train(head, [NOTHING], [mask_sample(objects)], features)
    losses['loss_mask'].backward()
    assert_close(spy.rois[0][:, 1:], torch.tensor([objects[0][0]]))
    assert losses['loss_mask'].isfinite()
    single = train(
        head,
        [NOTHING],
        [mask_sample(objects)],
        [level.float() for level in features],
    )
    assert_close(losses['loss_mask'], single['loss_mask'], rtol=0, atol=5e-3)


def test_a_head_of_half_precision_trains_and_predicts():
    head = build_roi_head().bfloat16()
    features = [level.bfloat16() for level in pyramid(1)]
    found = detections([(4, 4, 40, 36)])
    losses = train(head, [found], [mask_sample(HEAD_OBJECTS)], features)
    losses['loss_mask'].backward()
    assert losses['loss_mask'].isfinite()
    [result] = head.predict(features, [found], [mask_sample()])
    assert result.masks.shape == (1, 64, 64)


def test_counts_survive_half_precision():
    head = build_roi_head()
    boxes = torch.tensor([4.0, 4, 40, 36]) + torch.rand(520, 4)
    features = [level.bfloat16() for level in pyramid(1)]
    with torch.autocast('cpu', torch.bfloat16):
        losses = train(
            head,
            [detections(boxes)],
            [mask_sample(HEAD_OBJECTS[:1])],
            features,
        )
    assert losses['num_mask_rois'] == 521


def test_a_class_agnostic_head_trains_its_one_channel():
    head = build_roi_head(mask_head=dict(class_agnostic=True))
    spy = Spy(head)
    losses = train(head, [NOTHING], [mask_sample(HEAD_OBJECTS)])
    losses['loss_mask'].backward()
    assert spy.logits[0].shape == (2, 1, 28, 28)
    assert spy.logits[0].grad.all()


def test_ground_truth_is_left_as_it_was():
    head = build_roi_head()
    sample = mask_sample([((-4, 4, 40, 36), 0)])
    before = copy.deepcopy(sample.gt_instances.bboxes)
    found = detections([(-6, 4, 40, 36)])
    train(head, [found], [sample])
    assert_close(sample.gt_instances.bboxes, before)
    assert_close(found.bboxes, torch.tensor([[-6.0, 4, 40, 36]]))


@pytest.mark.parametrize('count', [0, 2])
def test_ground_truth_without_masks_is_refused(count):
    sample = data_sample(HEAD_OBJECTS[:count])
    sample.gt_instances.pop('masks', None)
    with pytest.raises(ValueError, match='with_mask=True'):
        train(build_roi_head(), [NOTHING], [sample])


@pytest.mark.parametrize(
    'changes',
    [
        {'mask_roi_extractor.featmap_strides': [4, 8, 16]},
        {'mask_roi_extractor.featmap_strides': [16, 32, 64]},
        {'start_level': 1},
        {'start_level': 3},
        {'start_level': 9},
    ],
    ids=str,
)
def test_levels_of_other_strides_are_refused(changes):
    head = build_roi_head(**changes)
    with pytest.raises(ValueError, match='set start_level of MaskRoIHead'):
        train(head, [NOTHING], [mask_sample(HEAD_OBJECTS)])
    with pytest.raises(ValueError, match='set start_level of MaskRoIHead'):
        head.predict(pyramid(1), [NOTHING], [mask_sample()])


def test_levels_of_sides_that_no_stride_divides_are_taken():
    shape = (70, 99)
    sample = mask_sample(HEAD_OBJECTS, shape)
    assert train(build_roi_head(), [NOTHING], [sample])['loss_mask'] > 0


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(train_cfg=dict(mask_sise=28)), 'train_cfg of .* mask_sise'),
        (dict(test_cfg=dict(max_mask=50)), 'test_cfg of .* max_mask:'),
        (dict(train_cfg='dict(mask_size=56)'), 'write a dict'),
        (dict(test_cfg=dict(score_thr=0.1)), 'score_thr: .* model.test_cfg'),
        (dict(test_cfg=dict(max_masks=-1)), 'max_masks is -1: use 0 or more'),
        (dict(test_cfg=dict(max_masks=None)), 'max_masks is None: use 0'),
    ],
)
def test_options_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_roi_head(**changes)


def test_options_that_are_not_given_keep_their_defaults():
    config = roi_head_config()
    config.train_cfg = config.test_cfg = None
    head = MODELS.build(config)
    assert head.train_cfg.to_dict() == TRAIN_CFG
    assert head.test_cfg.keep_all_boxes and head.test_cfg.max_masks == 50
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.7)
    head = build_roi_head(train_cfg=dict(assigner=assigner))
    assert head.bbox_assigner.pos_iou_thr == 0.7
    assert head.bbox_assigner.match_low_quality
    assert head.train_cfg.mask_size == TRAIN_CFG['mask_size']
    head = build_roi_head(train_cfg=dict(assigner=dict(pos_iou_thr=0.7)))
    assert head.bbox_assigner.pos_iou_thr == 0.7
    assert not head.bbox_assigner.match_low_quality
    assert TRAIN_CFG['assigner']['pos_iou_thr'] == 0.5


def test_targets_of_another_size_than_the_predictions_are_refused():
    head = build_roi_head(train_cfg=dict(mask_size=14))
    with pytest.raises(ValueError, match=r'mask_size is 14: set .*28'):
        train(head, [NOTHING], [mask_sample(HEAD_OBJECTS)])


def test_mmdets_rcnn_options_are_taken():
    """Those of its Mask R-CNN, word for word."""
    config = get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py').model
    head = build_roi_head(train_cfg=config.train_cfg.rcnn)
    losses = train(
        head, [detections([HEAD_OBJECTS[0][0]])], [mask_sample(HEAD_OBJECTS)]
    )
    assert losses['loss_mask'] > 0


@pytest.mark.parametrize('count', [0, 1])
def test_mmdets_own_test_inputs_train_and_predict(count):
    """They do not pass a data preprocessor."""
    samples = demo_mm_inputs(
        batch_size=1,
        image_shapes=[(3, 64, 64)],
        num_items=[count],
        num_classes=3,
        with_mask=True,
    )['data_samples']
    proposals = demo_mm_proposals([(3, 64, 64)], 10)
    for proposal in proposals:
        proposal.labels = torch.zeros(10).long()
    head = build_roi_head()
    losses = head.loss(pyramid(1), copy.deepcopy(proposals), samples)
    assert losses['loss_mask'].isfinite()
    [result] = head.predict(pyramid(1), proposals, samples, rescale=True)
    assert result.masks.shape == (10, 64, 64)


@pytest.mark.parametrize('order', ['as mmdet loads', 'image by image'])
@pytest.mark.parametrize('binarize', [True, False])
@pytest.mark.parametrize('pixels', [1, 2 * 40 * 50, 2**24])
def test_shared_bitmaps_crop_as_mmdets_do(
    pixels, binarize, order, monkeypatch
):
    monkeypatch.setattr(shared_bitmaps, 'CROPPED_PIXELS', pixels)
    rng = np.random.default_rng(0)
    masks = rng.integers(2, size=(5, 40, 50), dtype=np.uint8)
    if order == 'image by image':
        masks = np.ascontiguousarray(masks.transpose(1, 2, 0))
        masks = masks.transpose(2, 0, 1)
    corners = rng.uniform(0, 30, (20, 2)).astype(np.float32)
    boxes = np.hstack([corners, corners + rng.uniform(0, 20, (20, 2))])
    boxes = boxes.astype(np.float32)
    inds = rng.integers(5, size=20)
    theirs, ours = (
        kind(masks, 40, 50).crop_and_resize(
            boxes, (28, 28), inds, binarize=binarize
        )
        for kind in (BitmapMasks, SharedBitmaps)
    )
    assert np.array_equal(theirs.to_ndarray(), ours.to_ndarray())
    assert ours.to_ndarray().any()


def test_targets_of_many_boxes_do_not_copy_their_mask():
    head = build_roi_head()
    sample = mask_sample([((0.0, 0, 900, 700), 0)], shape=(800, 1000))
    found = detections([(0.0, 0, 900, 700)] * 100)
    levels = [level.detach() for level in pyramid(1, shape=(800, 1000))]
    peak = peak_bytes(
        lambda: head.loss(levels, [found], [sample]), torch.device('cpu')
    )
    assert peak < 100 * 800 * 1000 * 4 / 4


def test_the_order_of_features_in_memory_does_not_matter():
    head = build_roi_head()
    sample = mask_sample(HEAD_OBJECTS)
    losses = []
    for order in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        levels = [level.to(memory_format=order) for level in pyramid(1)]
        found = detections([HEAD_OBJECTS[0][0]])
        losses.append(head.loss(levels, [found], [sample])['loss_mask'])
    assert_close(*losses)


def test_other_numbers_of_classes_than_the_box_heads_are_refused():
    config = roi_head_config(mask_head=dict(num_classes=4))
    with pytest.raises(ValueError, match=r'bbox_head has 3 .*mask_head 4'):
        build_retinamask(config)
    config.mask_head.class_agnostic = True
    build_retinamask(config)

"""The best anchor of an object, compared with all anchors; its points."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models import FCOSHead
from mmdet.models.task_modules import (
    AnchorGenerator,
    MlvlPointGenerator,
    YOLOAnchorGenerator,
)

from mmdet_retina_plus.doctor.anchors import (
    best_factor,
    check_anchors,
    check_batch_scales,
    check_stretch,
    has_threshold,
)
from mmdet_retina_plus.doctor.priors import (
    check_level_order,
    check_longest,
    check_points,
    check_range_sizes,
)
from mmdet_retina_plus.doctor.split import Split

RETINANET = AnchorGenerator(
    strides=[8, 16, 32, 64, 128],
    ratios=[0.5, 1.0, 2.0],
    octave_base_scale=4,
    scales_per_octave=3,
)


def split_of(*boxes, size=(512, 512), **fields):
    """One image with boxes (left, top, width, height)."""
    width, height = size
    image = {'id': 1, 'file_name': 'a', 'width': width, 'height': height}
    annotations = [
        {
            'id': number,
            'image_id': 1,
            'category_id': 1,
            'bbox': list(box),
            'area': box[2] * box[3] / 2,  # That of a mask.
            'iscrowd': 0,
        }
        for number, box in enumerate(boxes)
    ]
    coco = {
        'images': [image],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'x'}],
    }
    return Split('train', coco, Path(), ('x',), **fields)


def sample(side, channels=3):
    return [{'inputs': torch.zeros(channels, side, side)}]


def test_validation_unlike_training():
    samples = {'train': sample(256), 'val': sample(256)}
    augment = {'random_size_range': (64, 96)}
    cfg = {'model': {'data_preprocessor': {'batch_augments': [augment]}}}
    (finding,) = check_batch_scales(cfg, samples)
    assert 'random_size_range=(192, 320)' in finding.fix
    augment['random_size_range'] = (480, 800)
    assert len(check_batch_scales(cfg, samples)) == 1
    for fine in ((192, 320), (128, 480), (256, 800)):
        augment['random_size_range'] = fine
        assert check_batch_scales(cfg, samples) == []


def test_objects_between_anchors():
    gaps = AnchorGenerator(strides=[8], ratios=[1.0], scales=[0.5])
    # Anchors of 4 pixels every 8 pixels: the middle of a cell is free.
    split = split_of(*[(67, 67, 2, 2)] * 3, *[(62, 62, 4, 4)] * 40)
    (finding,) = check_anchors(split, gaps, flooded=True)
    assert finding.level == 'warning'
    assert '3 overlap none: each makes all anchors' in finding.message
    assert finding.fix == 'model.train_cfg.assigner.min_pos_iou=0.001'
    (finding,) = check_anchors(split, gaps, flooded=False)
    assert finding.level == 'ok'


def test_ratios_are_height_by_width():
    tall = AnchorGenerator(strides=[8, 16], ratios=[3.0, 5.0], scales=[4, 6])
    wide = split_of(*[(9, 40 * y, 130, 26) for y in range(12)])
    (finding,) = check_anchors(wide, tall)
    assert 'height / width: their inverse fits' in finding.message
    key = 'model.bbox_head.anchor_generator.ratios'
    assert finding.fix == f'{key}=[0.2, 0.333]'
    turned = AnchorGenerator(
        strides=[8, 16], ratios=[0.2, 0.333], scales=[4, 6]
    )
    (finding,) = check_anchors(wide, turned)
    assert finding.level == 'ok'


def test_misfits_are_counted_by_size():
    boxes = [(9, 9, 5, 5), (9, 9, 40, 40), (50, 50, 400, 13), (0, 0, 120, 120)]
    (finding,) = check_anchors(split_of(*boxes), RETINANET)
    assert finding.level == 'warning'
    assert '2 of 4 objects' in finding.message
    assert '(1 of 1 small, 1 of 2 medium, 0 of 1 large)' in finding.message
    assert 'octave_base_scale' in finding.fix


def generator(**settings):
    strides = settings.pop('strides', [4, 8, 16, 32, 64])
    return AnchorGenerator(strides=strides, ratios=[0.5, 1, 2], **settings)


MIXED = [
    *((9 * x, 9 * x, 24 + x, 20 + x) for x in range(10)),
    *((x, x, 200 + x, 180 + x) for x in range(90)),
]
"""Few small objects, many large ones."""


@pytest.mark.parametrize(
    ('settings', 'right'),
    [
        ({'scales': [32]}, 'rpn_head.anchor_generator.scales=[8]'),
        ({'scales': [8]}, ''),
        (
            {'scales': [8], 'base_sizes': [16, 32, 64, 128, 256]},
            'rpn_head.anchor_generator.scales=[2]',
        ),
        (
            {'octave_base_scale': 32, 'scales_per_octave': 3},
            'rpn_head.anchor_generator.octave_base_scale=8',
        ),
        ({'octave_base_scale': 4, 'scales_per_octave': 3}, ''),
    ],
)
def test_sizes_in_pixels_where_strides_multiply_them(settings, right):
    (finding,) = check_anchors(
        split_of(*MIXED),
        generator(**settings),
        key='model.rpn_head.anchor_generator',
    )
    assert finding.level == ('warning' if right else 'ok')
    assert right in finding.fix


def test_few_objects_among_many_are_not_lost_in_a_sample():
    many = np.random.default_rng(0).uniform(100, 110, (40_000, 2))
    sides = np.where(np.arange(40_000) % 3500 == 7, 1, 64)[:, None]
    boxes, sizes = np.hstack([many, many + sides]), np.full_like(many, 512)
    # Halved anchors, of 16 pixels and more, do not fit 1 pixel either.
    found = best_factor(boxes, sizes, RETINANET, (sides == 1).ravel())
    assert found == (0.5, 12)


def test_an_assigner_by_rank_wants_no_iou():
    split = split_of((9, 9, 5, 5), (9, 9, 40, 40))
    for kind, level in (
        ('MaxIoUAssigner', 'warning'),
        ('ATSSAssigner', 'ok'),
        ('TaskAlignedAssigner', 'ok'),
        ('of another package', 'warning'),
    ):
        by_iou = has_threshold({'assigner': {'type': kind}})
        (finding,) = check_anchors(split, RETINANET, by_iou=by_iou)
        assert finding.level == level


def test_a_threshold_that_leaves_objects_out_is_named():
    split = split_of((9, 9, 30, 55), (99, 99, 31, 52), (200, 200, 45, 45))
    for threshold, level in ((0.8, 'warning'), (0.95, 'error')):
        (finding,) = check_anchors(split, RETINANET, threshold=threshold)
        assert finding.level == level
        assert f'requires an IoU of {threshold}' in finding.message
        assert 'match_low_quality=True' in finding.fix


def test_what_resizing_mends_is_fine():
    pipeline = [{'type': 'Resize', 'scale': (4096, 4096), 'keep_ratio': True}]
    split = split_of((9, 9, 5, 5), pipeline=pipeline)
    (finding,) = check_anchors(split, RETINANET)
    assert finding.level == 'ok'
    assert '0 of 1 objects' in finding.message


def test_crowds_and_unusable_boxes_do_not_count():
    split = split_of((9, 9, 5, 5), (9, 9, 0, 5))
    split.coco['annotations'][0]['iscrowd'] = 1
    assert check_anchors(split, RETINANET) == []


POINTS = MlvlPointGenerator([8, 16])
"""Points at 4, 12, 20, … pixels."""


@pytest.mark.parametrize(
    ('boxes', 'level'),
    [
        # Between two points; around one.
        ([(5, 5, 6, 6)], 'error'),
        ([(5, 5, 6, 6), (3, 3, 2, 2)], 'warning'),
        ([(3, 5, 6, 6)], 'error'),
        ([(3, 3, 2, 2), (40, 40, 40, 40)], 'ok'),
    ],
)
def test_objects_between_points(boxes, level):
    (finding,) = check_points(split_of(*boxes), POINTS)
    assert finding.level == level


def ends_of(*ends):
    """Ranges of levels with these ends, and one for the rest."""
    return tuple(zip((-1, *ends), (*ends, 1e8), strict=True))


EVEN = [(0, 0, 3 * x, 3 * x) for x in range(20, 170)]
TINY = [(9, 9, x, x) for x in range(8, 120)]


@pytest.mark.parametrize(
    ('strides', 'ends', 'boxes', 'told'),
    [
        ((8, 16, 32), (16, 32), [*EVEN], 1),
        ((8, 16, 32), (64, 128), [*EVEN], 0),
        ((8, 16, 32), (1000, 2000), [*EVEN], 1),
        ((8, 16, 32), (128, 256), [*EVEN], 0),
        ((4, 8, 16, 32, 64), (8, 16, 32, 64), [*TINY], 0),
        # All are small: no ranges change that.
        ((8, 16, 32), (1000, 2000), [*TINY], 0),
        ((0, 16, 32), (16, 32), [*EVEN], 0),
    ],
)
def test_ranges_that_fill_one_level(strides, ends, boxes, told):
    ranges = ends_of(*ends)
    head = FCOSHead(1, 8, strides=strides, regress_ranges=ranges)
    found = check_range_sizes(split_of(*boxes), head, 'key')
    right = ends_of(*(8 * x for x in strides[:-1]))
    assert [x.fix for x in found] == told * [f'key={right}']


def test_larger_images_have_points_in_every_object():
    double = {'type': 'Resize', 'scale_factor': 2.0, 'keep_ratio': True}
    split = split_of((5, 5, 6, 6), pipeline=[double])
    (finding,) = check_points(split, POINTS)
    assert finding.level == 'ok'


@pytest.mark.parametrize(
    ('scale', 'keep', 'right'),
    [
        ((256, 512), False, '.0.scale=(512, 256)'),
        ((512, 256), False, ''),
        ((256, 512), True, ''),
        # A square is a choice, as for SSD.
        ((256, 256), False, ''),
    ],
)
def test_width_and_height_exchanged_in_all_pipelines(scale, keep, right):
    step = {'type': 'Resize', 'scale': scale, 'keep_ratio': keep}
    split = split_of((9, 9, 5, 5), size=(640, 320), pipeline=[step])
    found = check_stretch([split])
    assert [x.fix.endswith(right) for x in found] == [True] * bool(right)


SMALL, MIDDLE, LARGE = [(9, 9)], [(40, 40)], [(90, 90)]


@pytest.mark.parametrize(
    ('sizes', 'told'),
    [
        ([LARGE, MIDDLE, SMALL], 0),
        ([SMALL, MIDDLE, LARGE], 1),
        ([MIDDLE, MIDDLE, MIDDLE], 0),
    ],
)
def test_anchors_in_the_order_of_the_levels(sizes, told):
    yolo = YOLOAnchorGenerator(strides=[32, 16, 8], base_sizes=sizes)
    assert len(check_level_order(yolo)) == told


def test_objects_longer_than_any_distance_of_gfl():
    levels = AnchorGenerator(strides=[8, 16, 32], ratios=[1.0], scales=[8])
    split = split_of((0, 0, 500, 90), (0, 0, 40, 440))
    (finding,) = check_longest(split, levels, reg_max=7)
    assert '1 object is longer than the 448 pixels' in finding.message
    assert finding.fix.startswith('model.bbox_head.reg_max=9')
    assert check_longest(split, levels, reg_max=9) == []

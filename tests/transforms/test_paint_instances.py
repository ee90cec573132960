import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dataset import pseudo_collate

from mmdet_retina_plus.transforms.paint_instances import PaintInstances
from tests.helpers.samples import filled
from tests.helpers.shipped_configs import build_detector, load

SHAPE = (24, 32)


def rectangles(boxes, labels, ignored=None) -> dict:
    """Results of a pipeline for objects that fill their boxes."""
    return dict(
        img=np.zeros((*SHAPE, 3), np.uint8),
        gt_masks=BitmapMasks([filled(box, SHAPE) for box in boxes], *SHAPE),
        gt_bboxes=HorizontalBoxes(np.array(boxes, np.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.array(labels, np.int64),
        gt_ignore_flags=np.array(
            [False] * len(boxes) if ignored is None else ignored, bool
        ),
    )


def painted(results: dict, **options) -> np.ndarray:
    transform = TRANSFORMS.build(dict(type='PaintInstances', **options))
    return transform(results)['gt_seg_map']


def test_an_object_is_its_label_plus_one_and_the_rest_background():
    seg_map = painted(rectangles([(2, 3, 10, 9)], [4]))
    expected = 5 * filled((2, 3, 10, 9), SHAPE)
    assert seg_map.dtype == np.uint8
    np.testing.assert_array_equal(seg_map, expected)


@pytest.mark.parametrize('order', [1, -1])
def test_a_smaller_object_stays_visible_on_a_larger_one(order):
    boxes, labels = [(0, 0, 20, 20), (5, 5, 8, 8)][::order], [0, 1][::order]
    seg_map = painted(rectangles(boxes, labels))
    assert (seg_map[5:8, 5:8] == 2).all()
    assert (seg_map == 1).sum() == 400 - 9


def test_of_equal_objects_the_later_is_on_top():
    seg_map = painted(rectangles([(0, 0, 8, 8), (4, 0, 12, 8)], [0, 1]))
    assert (seg_map[:8, 4:12] == 2).all()


def test_ignored_pixels_lie_below_objects():
    seg_map = painted(
        rectangles(
            [(4, 4, 20, 20), (0, 0, 8, 8)], [1, 0], ignored=[False, True]
        )
    )
    assert (seg_map[4:8, 4:8] == 2).all()
    assert (seg_map == 255).sum() == 64 - 16


def test_the_box_of_an_object_without_a_pixel_is_unknown():
    results = rectangles([(4, 4, 20, 20), (2, 2, 6.5, 6.5)], [0, 1])
    results['gt_masks'].masks[1] = 0
    seg_map = painted(results)
    assert (seg_map == 1).sum() == 256
    assert (seg_map[2:7, 2:4] == 255).all()
    assert (seg_map == 255).sum() == 25 - 9


def test_a_box_outside_of_the_image_is_clipped():
    results = rectangles([(-5, -5, 3, 3), (30, 22, 90, 90)], [0, 1])
    results['gt_masks'].masks[:] = 0
    assert (painted(results) == 255).sum() == 9 + 4


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 6))
def test_polygons_and_bitmaps_of_the_same_pixels_paint_the_same(seed, number):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (number, 2))
    boxes = np.hstack([corners, corners + rng.integers(1, 12, (number, 2))])
    labels = rng.integers(5, size=number)
    results = rectangles(boxes.tolist(), labels)
    polygons = [
        [np.array([x1, y1, x2, y1, x2, y2, x1, y2], np.float32)]
        for x1, y1, x2, y2 in boxes
    ]
    np.testing.assert_array_equal(
        painted(dict(results, gt_masks=PolygonMasks(polygons, *SHAPE))),
        painted(results),
    )


def test_one_pixel_objects_are_painted():
    seg_map = painted(rectangles([(3, 4, 4, 5)], [0]))
    assert seg_map.sum() == 1
    assert seg_map[4, 3] == 1


def test_an_image_without_objects_is_background():
    assert not painted(rectangles([], [])).any()


def test_an_image_without_masks_supervises_nothing():
    results = rectangles([(2, 3, 10, 9)], [4])
    del results['gt_masks']
    assert (painted(results) == 255).all()


def test_objects_alike_may_have_any_number_of_classes():
    results = rectangles([(0, 0, 4, 4), (8, 8, 12, 12)], [0, 1200])
    seg_map = painted(results, class_specific=False)
    assert sorted(np.unique(seg_map)) == [0, 1]


def test_a_label_that_means_ignored_names_the_way_out():
    results = rectangles([(0, 0, 4, 4)], [254])
    with pytest.raises(ValueError, match='class_specific=False'):
        painted(results)


def test_masks_leave_where_nobody_reads_them():
    results = rectangles([(2, 3, 10, 9)], [4])
    expected = painted(dict(results))
    kept = PaintInstances()(dict(results))
    assert 'gt_masks' in kept
    left = PaintInstances(keep_masks=False)(dict(results))
    assert 'gt_masks' not in left
    np.testing.assert_array_equal(left['gt_seg_map'], expected)


def test_boxes_of_masks_serve_where_there_are_no_others():
    results = rectangles([(2, 3, 10, 9)], [4])
    expected = painted(dict(results))
    del results['gt_bboxes'], results['gt_ignore_flags']
    np.testing.assert_array_equal(painted(results), expected)


def test_masks_of_the_original_size_belong_to_a_test():
    """mmdet's test pipelines resize before they load annotations."""
    results = rectangles([(2, 3, 10, 9)], [4])
    results.update(img=np.zeros((36, 48, 3), np.uint8), ori_shape=SHAPE)
    results['scale_factor'] = (1.5, 1.5)
    assert painted(results).shape == SHAPE


@pytest.mark.parametrize(
    'step',
    [dict(img=np.zeros((48, 64, 3))), dict(gt_bboxes_labels=np.zeros(4, int))],
    ids=['size', 'number'],
)
def test_masks_that_a_transform_left_behind_are_refused(step):
    results = rectangles([(2, 3, 10, 9)], [4])
    results['ori_shape'] = SHAPE
    with pytest.raises(ValueError, match='CachedMosaic'):
        painted(dict(results, **step))


def test_a_box_without_pixels_and_without_an_end_is_refused():
    results = rectangles([(9, 9, 9, 9)], [0])
    results['gt_bboxes'] = HorizontalBoxes([[9, 9, float('nan'), 9]])
    with pytest.raises(ValueError, match='correct its annotation'):
        painted(results)


@pytest.mark.parametrize('pad_mask', [False, True])
def test_boxes_alone_train_beside_masks(pad_mask):
    """A ConcatDataset's batch: one image with masks, one without."""
    with_masks = rectangles([(2, 3, 10, 9)], [0])
    without = rectangles([(4, 4, 20, 20)], [0])
    del without['gt_masks']
    pack = TRANSFORMS.build(
        dict(type='PackDetInputs', meta_keys=('img_shape',))
    )
    samples = [
        pack(PaintInstances(keep_masks=False)(dict(image, img_shape=SHAPE)))
        for image in (with_masks, without)
    ]
    preprocessor = MODELS.build(
        dict(
            type='DetDataPreprocessor',
            pad_mask=pad_mask,
            pad_seg=True,
            pad_size_divisor=64,
        )
    )
    batch = preprocessor(pseudo_collate(samples), training=True)
    detector = build_detector(load('retinaunet_r18_fpn_pennfudan'))
    losses = detector.loss(batch['inputs'].float(), batch['data_samples'])
    assert losses['num_positive'] > 0
    assert losses['loss_seg'] > 0
    [_, unknown] = batch['data_samples']
    assert (unknown.gt_sem_seg.sem_seg == 255).all()


def test_padding_of_a_batch_is_ignored():
    """Through mmdet's packing and preprocessor."""
    results = rectangles([(0, 0, 32, 24)], [0])
    packed = TRANSFORMS.build(dict(type='PackDetInputs', meta_keys=()))(
        PaintInstances()(results)
    )
    preprocessor = MODELS.build(
        dict(type='DetDataPreprocessor', pad_seg=True, pad_size_divisor=32)
    )
    batch = preprocessor(
        {name: [value] for name, value in packed.items()}, training=True
    )
    [sample] = batch['data_samples']
    seg_map = sample.gt_sem_seg.sem_seg
    assert seg_map.shape == (1, 32, 32)
    assert (seg_map[0, :24] == 1).all()
    assert (seg_map[0, 24:] == 255).all()

"""One fault at a time in the masks of an annotation file."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools.mask import encode

from mmdet_retina_plus.doctor.box_formats import check_box_format
from mmdet_retina_plus.doctor.scoring import refuse_cut_masks
from mmdet_retina_plus.doctor.segmentations import check_segmentations
from mmdet_retina_plus.doctor.split import Split

POLYGON = [[5, 5, 25, 5, 25, 15]]


def run_lengths(mask: np.ndarray) -> dict:
    return {'size': [48, 64], 'counts': encode(mask)['counts'].decode()}


WHOLE = np.zeros((48, 64), np.uint8, order='F')
EMPTY_RUN_LENGTHS = run_lengths(WHOLE)
WHOLE[5:15, 5:25] = 1
RUN_LENGTHS = run_lengths(WHOLE)


def findings(masks, pipeline, metrics=(), **fields):
    return check_segmentations(split_of(masks, pipeline, metrics, **fields))


def split_of(masks, pipeline, metrics=(), **fields):
    """A file with one annotation per mask."""
    annotations = [
        {
            'id': number,
            'image_id': 1,
            'category_id': 1,
            'bbox': [5, 5, 20, 10],
            'area': 100,
            'iscrowd': 0,
            'segmentation': mask,
            **fields,
        }
        for number, mask in enumerate(masks, 1)
    ]
    image = {'id': 1, 'file_name': 'a.png', 'width': 64, 'height': 48}
    coco = {
        'images': [image],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'x'}],
    }
    return Split(
        'train', coco, Path(), ('x',), pipeline=pipeline, metrics=metrics
    )


def split_again(split):
    """The data set of a file that was changed."""
    return replace(split, coco=split.coco)


def loads(**options):
    return [{'type': 'LoadAnnotations', 'with_mask': True, **options}]


BITMAPS = loads()


def test_polygons_that_are_boxes_teach_rectangles():
    box = [[5, 5, 25, 5, 25, 15, 5, 15]]
    runs = RUN_LENGTHS
    outline = [[5, 5, 25, 5, 25, 15, 9, 15]]
    for masks, number in (
        ([box] * 20, 20),
        ([box] * 7 + [runs] * 4 + [outline] * 9, 11),
    ):
        (finding,) = findings(masks, loads())
        message = f'the masks of {number} of 20 objects are their boxes'
        assert finding.message.startswith(message)
    assert findings([box] * 9 + [outline] * 11, loads()) == []
    # Pixels of any shape of a few pixels may fill its box.
    speck = [[5, 5, 12, 5, 12, 12, 5, 12]]
    assert findings([speck] * 20, loads(), bbox=[5, 5, 7, 7]) == []


RING = [[5, 5, 25, 5, 25, 15, 5, 15], [8, 8, 22, 8, 22, 12]]
CORNER = [[5, 5, 25, 5, 25, 7, 7, 7, 7, 15, 5, 15], [10, 9, 20, 9, 20, 14]]


def test_a_polygon_in_another_is_no_hole():
    (finding,) = findings([RING] * 3 + [POLYGON], loads())
    assert finding.message.startswith('3 masks have a polygon inside another')
    # Within the bounds, but outside of the polygon.
    assert findings([CORNER] * 3 + [POLYGON], loads()) == []


POLYGONS = loads(poly2mask=False)


@pytest.mark.parametrize(
    ('masks', 'pipeline', 'level', 'words'),
    [
        ([POLYGON, None], BITMAPS, 'error', 'ids 2'),
        ([POLYGON, []], BITMAPS, 'error', 'KeyError'),
        ([RUN_LENGTHS, POLYGON], POLYGONS, 'error', 'ids 1'),
        ([RUN_LENGTHS | {'size': [64, 48]}], BITMAPS, 'error', 'width]'),
        ([[[5, 5, 'x', 5, 25, 15]]], BITMAPS, 'error', 'neither'),
        ([{'size': [48, 64]}], BITMAPS, 'error', 'neither'),
        ([{'size': None, 'counts': 'PPT1'}], BITMAPS, 'error', 'neither'),
        ([{'size': [48], 'counts': 'PPT1'}], BITMAPS, 'error', 'neither'),
        ([{'size': ['a', 1], 'counts': '1'}], BITMAPS, 'error', 'neither'),
        ([{'size': [48, 64], 'counts': [2, None]}], BITMAPS, 'error', 'ids 1'),
        (['PPT1'], BITMAPS, 'error', 'neither'),
        ([7], BITMAPS, 'error', 'neither'),
    ],
)
def test_a_fault_is_found_with_its_fix(masks, pipeline, level, words):
    (finding,) = findings(masks, pipeline)
    assert finding.level == level
    assert words in finding.message + finding.fix


@pytest.mark.parametrize(
    ('counts', 'fix'),
    [
        (str(RUN_LENGTHS['counts'].encode()), 'counts.decode()'),
        (RUN_LENGTHS['counts'][:-2], 'write the run lengths again'),
        ([100, 20], 'write the run lengths again'),
        ([], 'write the run lengths again'),
    ],
)
def test_run_lengths_at_which_scoring_hangs_are_named(counts, fix):
    cut = RUN_LENGTHS | {'counts': counts}
    (finding,) = findings([RUN_LENGTHS, cut], BITMAPS, metrics=['segm'])
    assert finding.level == 'error'
    assert finding.message.endswith('ids 2')
    assert fix in finding.fix
    metric = SimpleNamespace(
        metrics=['segm'], _coco_api=SimpleNamespace(anns={7: {}})
    )
    evaluator = SimpleNamespace(metrics=[metric])
    infos = [{'instances': [{'mask': RUN_LENGTHS}]}]
    refuse_cut_masks(evaluator, infos)
    metric._coco_api.anns[7]['segmentation'] = cut
    with pytest.raises(ValueError, match='ids 7'):
        refuse_cut_masks(evaluator, infos)


@pytest.mark.parametrize(
    ('masks', 'pipeline'),
    [
        ([POLYGON, RUN_LENGTHS], BITMAPS),
        ([POLYGON, [*POLYGON, [1, 2]]], POLYGONS),
        ([None, RUN_LENGTHS], [{'type': 'LoadAnnotations'}]),
        ([None], []),
    ],
)
def test_what_mmdet_reads_raises_no_alarm(masks, pipeline):
    assert findings(masks, pipeline) == []


def test_crowds_may_be_run_lengths_but_not_without_mask():
    assert findings([RUN_LENGTHS], POLYGONS, iscrowd=1) == []
    assert findings([None], POLYGONS, iscrowd=1)


@pytest.mark.parametrize(
    'mask',
    [
        [[5, 5, 25, 5]],
        [[5, 5, 25, 5, 25, 15, 9]],
    ],
)
def test_objects_without_a_polygon_of_three_corners_do_not_train(mask):
    split = split_of([POLYGON, mask], BITMAPS)
    assert check_segmentations(split) == []
    assert split.lost_by['without a mask'].tolist() == [False, True]
    assert split_of([mask], []).usable.all()


@pytest.mark.parametrize(
    'mask',
    [
        [[5, 5, 15, 10, 25, 15]],
        [[5, 5, 5, 15, 5, 9, 5, 8]],
        EMPTY_RUN_LENGTHS,
        {'size': [48, 64], 'counts': [3072]},
    ],
)
def test_masks_without_a_pixel_train_as_empty_ones(mask):
    split = split_of([POLYGON, mask], BITMAPS)
    (finding,) = [
        x for x in check_segmentations(split) if 'no pixel' in x.message
    ]
    assert finding.message.endswith('ids 2')
    assert finding.level == 'warning'
    assert split.usable.all()
    assert 'error' in {x.level for x in findings([mask], BITMAPS)}
    assert findings([mask], []) == []


def test_scoring_stops_at_a_polygon_of_two_corners():
    (finding,) = findings([POLYGON, [[5, 5, 25, 15]]], [], metrics=['segm'])
    assert finding.level == 'error'
    assert 'ids 2' in finding.message


def test_an_unknown_image_has_no_size_that_run_lengths_miss():
    assert findings([RUN_LENGTHS], BITMAPS, image_id='1') == []


def test_boxes_or_run_lengths_go_along_rows():
    split = split_of([RUN_LENGTHS] * 3, BITMAPS, bbox=[5, 5, 10, 20])
    (finding,) = check_box_format(split)
    assert 'either bbox is [top, left, height, width]' in finding.message
    assert 'if not, write "bbox": [left, top' in finding.fix
    assert check_segmentations(split) == []


def test_a_contour_of_points_is_no_polygon():
    contour = [[5, 5], [25, 5], [25, 15]]
    for pipeline, metrics in ((BITMAPS, ()), ([], ['segm'])):
        (finding,) = findings([POLYGON, contour], pipeline, metrics)
        assert finding.level == 'error'
        assert 'a list of [x, y] points' in finding.message
        assert finding.message.endswith('ids 2')
    (flat,) = [[c for point in contour for c in point]]
    assert findings([POLYGON, [flat]], BITMAPS) == []
    assert findings([contour], []) == []


BOX, OUTLINE = [26, 5, 20, 10], [[26, 5, 46, 5, 46, 15]]
MIXED = {
    'corners': ([26, 5, 46, 15], '[left, top, right, bottom]'),
    'centres': ([36, 10, 20, 10], '[centre x, centre y, width, height]'),
    'sides exchanged': ([26, 5, 10, 20], '[left, top, height, width]'),
}


@pytest.mark.parametrize('name', MIXED)
def test_some_boxes_of_another_format(name):
    wrong, words = MIXED[name]
    split = split_of([OUTLINE] * 30, BITMAPS)
    for at, annotation in enumerate(split.coco['annotations']):
        annotation['bbox'] = wrong if at < 8 else BOX
    (finding,) = check_box_format(split)
    assert finding.level == 'error'
    assert finding.message.startswith(f'bbox of 8 of 30 objects is {words}')
    split.coco['annotations'][0]['bbox'] = BOX
    assert check_box_format(split_again(split)) == []


def test_some_polygons_that_are_rows_first():
    turned = [[5, 26, 5, 46, 15, 46]]
    masks = [turned] * 8 + [OUTLINE] * 22
    (finding,) = findings(masks, BITMAPS, bbox=BOX)
    assert finding.level == 'error'
    assert finding.message.startswith('polygons of 8 of 30 objects are rows')
    (finding,) = findings(masks[1:], BITMAPS, bbox=BOX)
    assert finding.level == 'warning'


def test_boxes_around_hidden_parts_are_no_other_format():
    visible = [[26, 5, 32, 5, 32, 9, 26, 9]]
    split = split_of([visible] * 10 + [OUTLINE] * 20, BITMAPS, bbox=BOX)
    assert check_box_format(split) == []

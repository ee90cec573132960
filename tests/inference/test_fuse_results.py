"""Result files of several detectors, made one."""

import json

import numpy as np
import pytest

from mmdet_retina_plus.inference import fuse_results
from mmdet_retina_plus.inference.fuse_results import fuse_files
from mmdet_retina_plus.inference.run_lengths import encode_window
from tests.helpers.detections import detection


@pytest.fixture
def fuse(tmp_path):
    """Fuse lists of detections, or texts, written to one file each."""

    def run(*views, **options):
        files = []
        for number, view in enumerate(views):
            files.append(tmp_path / f'{number}.json')
            text = view if isinstance(view, str) else json.dumps(view)
            files[-1].write_text(text, 'latin-1')
        out = tmp_path / 'fused.json'
        fuse_files(files, out, **options)
        return json.loads(out.read_text())

    return run


def assert_like(results, expected):
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        assert result.keys() == wanted.keys()
        for key, value in wanted.items():
            if key in ('bbox', 'score'):
                value = pytest.approx(value)
            assert result[key] == value


def test_one_file_keeps_boxes_that_do_not_overlap(fuse):
    view = [
        detection(0.9),
        detection(0.8, category=3),
        detection(0.7, box=(100, 10, 5.5, 2)),
        detection(0.6, image=2),
    ]
    assert_like(fuse(view), view)


def test_ids_may_be_texts(fuse):
    view = [
        detection(0.9, image='a', category='cat'),
        detection(0.8, image='a', category='dog'),
    ]
    assert_like(fuse(view, view), view)


def test_equal_files_are_one(fuse):
    view = [detection(0.9), detection(0.5, category=2)]
    assert_like(fuse(view, view, view), view)


def test_what_one_file_of_four_found_has_a_quarter_of_its_score(fuse):
    """In images that no other file knows, too."""
    view = [detection(0.8), detection(0.6, image=2)]
    expected = [detection(0.2), detection(0.15, image=2)]
    assert_like(fuse(view, [], [], []), expected)
    results = fuse(view, [], missing_weight=0)
    assert_like(results, view)


def test_boxes_are_means(fuse):
    views = [detection(0.8)], [detection(0.8, box=(12, 10, 20, 30))]
    overlap = 18 / 22
    x = 10 + 2 * overlap / (1 + overlap)
    assert_like(fuse(*views), [detection(0.8, box=(x, 10, 20, 30))])
    apart = fuse(*views, iou_thr=0.9)
    assert [result['score'] for result in apart] == pytest.approx([0.4, 0.4])


def test_presets_and_the_options_beside_them(fuse):
    weak = [detection(0.01)]
    assert len(fuse(weak, preset='nndetection')) == 1
    assert fuse(weak, preset='mdt') == []
    assert len(fuse(weak, preset='mdt', score_floor=0)) == 1


def test_a_segmentation_is_that_of_the_best_box_that_has_one(fuse):
    shape, lower = (
        encode_window(np.eye(9) > 0, (at, 0), (50, 50)) for at in (0, 20)
    )
    views = [
        [
            detection(0.5, segmentation=lower),
            detection(0.9, category=2, segmentation={}),
        ],
        [
            detection(0.8, segmentation=shape),
            detection(0.3, category=2, segmentation=lower),
        ],
    ]
    one, two = sorted(fuse(*views), key=lambda r: r['category_id'])
    assert one['segmentation'] == shape
    assert two['segmentation'] == lower


def test_no_detections_at_all_are_an_empty_file(fuse):
    assert fuse([], []) == []


def bad(**changes):
    record = {**detection(), **changes}
    return {key: value for key, value in record.items() if value != 'absent'}


@pytest.mark.parametrize(
    ('record', 'problem'),
    [
        (bad(score='absent'), 'has no score'),
        (bad(score=-1), 'score -1, not a number of 0 or more'),
        (bad(score=float('nan')), 'score nan'),
        (bad(bbox=[1, 2, 3]), 'bbox [1, 2, 3], not [x, y, width, height]'),
        (bad(bbox=[9, 9, -2, 3]), 'with no negative side'),
        (bad(bbox=[1, 2, 1e200, 1e200]), 'below 1e100'),
        (bad(bbox=None), 'has bbox None'),
        (bad(segmentation=5), 'has segmentation 5, neither run lengths'),
        (bad(segmentation='abc'), "segmentation 'abc', neither run lengths"),
        (bad(segmentation=dict(size=[1, 1])), 'neither run lengths'),
        (bad(image_id=None), 'image_id None, not an id'),
        (bad(category_id=[1]), 'category_id [1], not an id'),
        (3, 'is 3, not an object'),
    ],
)
def test_a_bad_detection_is_found_before_any_work(
    fuse, monkeypatch, tmp_path, record, problem
):
    monkeypatch.setattr(fuse_results, 'fuse_images', pytest.fail)
    with pytest.raises(ValueError, match=r'1\.json\[1\]') as caught:
        fuse([detection()], [detection(), record])
    assert problem in str(caught.value)
    assert not (tmp_path / 'fused.json').exists()


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('', 'is empty'),
        ('\xff\xd8\xff', 'is a JPEG, not JSON'),
        ('[{', 'is not JSON, or is truncated: '),
        ('[' * 100_000, 'is nested too deeply'),
        ('{"images": []}', 'holds no list of detections'),
    ],
)
def test_a_file_that_is_no_result_file_is_named(fuse, text, problem):
    with pytest.raises(ValueError, match=rf'1\.json {problem}'):
        fuse([detection()], text)


def test_earlier_results_are_replaced_whole_or_not_at_all(
    fuse, tmp_path, monkeypatch
):
    out = tmp_path / 'fused.json'
    out.write_text('[]')
    with monkeypatch.context() as patch:
        patch.setattr('os.replace', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fuse([detection()])
    assert out.read_text() == '[]'
    assert not list(tmp_path.glob('*.part'))
    assert_like(fuse([detection()]), [detection()])

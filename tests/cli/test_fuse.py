"""Result files of several detectors, made one."""

import json

import pytest
from click.testing import CliRunner

from mmdet_retina_plus.cli.fuse import main


def detection(score=0.8, box=(10, 10, 20, 30), image=1, category=1, **more):
    return dict(
        image_id=image,
        category_id=category,
        bbox=list(box),
        score=score,
        **more,
    )


@pytest.fixture
def fuse(tmp_path):
    """Fuses lists of detections, written to one file each."""

    def run(*views, options=(), out='fused.json'):
        files = []
        for number, view in enumerate(views):
            files.append(tmp_path / f'{number}.json')
            text = view if isinstance(view, str) else json.dumps(view)
            files[-1].write_text(text)
        out = tmp_path / out
        arguments = [*map(str, files), '--out', str(out), *options]
        return CliRunner().invoke(main, arguments), out

    return run


def fused(fuse, *views, options=()):
    result, out = fuse(*views, options=options)
    assert result.exit_code == 0, result.output
    return json.loads(out.read_text())


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
        detection(0.8, category='dog'),
        detection(0.7, box=(100, 10, 5.5, 2)),
        detection(0.6, image='b'),
    ]
    assert_like(fused(fuse, view), view)


def test_equal_files_are_one(fuse):
    view = [detection(0.9), detection(0.5, category=2)]
    assert_like(fused(fuse, view, view, view), view)


def test_what_one_file_of_four_found_has_a_quarter_of_its_score(fuse):
    """In images that no other file knows, too."""
    view = [detection(0.8), detection(0.6, image=2)]
    expected = [detection(0.2), detection(0.15, image=2)]
    assert_like(fused(fuse, view, [], [], []), expected)
    results = fused(fuse, view, [], options=['--missing-weight', '0'])
    assert_like(results, view)


def test_boxes_are_means(fuse):
    views = [detection(0.8)], [detection(0.8, box=(12, 10, 20, 30))]
    overlap = 18 / 22
    x = 10 + 2 * overlap / (1 + overlap)
    assert_like(fused(fuse, *views), [detection(0.8, box=(x, 10, 20, 30))])
    apart = fused(fuse, *views, options=['--iou-thr', '0.9'])
    assert [result['score'] for result in apart] == pytest.approx([0.4, 0.4])


def test_presets_and_the_options_beside_them(fuse):
    weak = [detection(0.01)]
    assert len(fused(fuse, weak, options=['--preset', 'nndetection'])) == 1
    mdt = ['--preset', 'mdt']
    assert fused(fuse, weak, options=mdt) == []
    assert len(fused(fuse, weak, options=[*mdt, '--score-floor', '0'])) == 1


def test_the_best_boxes_of_each_image_stay(fuse):
    view = [
        detection(0.5),
        detection(0.9, category=2),
        detection(0.1, image=2),
    ]
    result, out = fuse(view, options=['--max-per-img', '1'])
    assert [x['score'] for x in json.loads(out.read_text())] == [0.9, 0.1]
    assert 'Boxes beyond --max-per-img 1: 1, left out' in result.output
    result, _ = fuse(view)
    assert 'left out' not in result.output


def test_a_segmentation_is_that_of_the_best_box(fuse):
    shape = dict(size=[50, 50], counts='abc')
    views = [
        [
            detection(0.5, segmentation='lower'),
            detection(0.9, category=2),
        ],
        [
            detection(0.8, segmentation=shape),
            detection(0.3, category=2, segmentation='lower'),
        ],
    ]
    one, two = sorted(fused(fuse, *views), key=lambda r: r['category_id'])
    assert one['segmentation'] == shape
    assert 'segmentation' not in two


def test_other_entries_are_named_as_left_out(fuse):
    result, out = fuse([detection(keypoints=[1, 2, 2], segmentation=[])])
    assert 'Left out' in result.output
    assert 'keypoints' in result.output
    (record,) = json.loads(out.read_text())
    assert 'keypoints' not in record


def test_no_detections_at_all_are_an_empty_file(fuse):
    assert fused(fuse, [], []) == []


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
        (bad(bbox=[9, 9, -2, 3]), 'neither side below 0'),
        (bad(bbox=[1, 2, 1e200, 1e200]), 'below 1e100'),
        (bad(bbox=None), 'has bbox None'),
        (bad(image_id=None), 'image_id None, not an id'),
        (bad(category_id=[1]), 'category_id [1], not an id'),
        (3, 'is 3, not an object'),
    ],
)
def test_a_bad_detection_is_found_before_any_work(
    fuse, monkeypatch, record, problem
):
    monkeypatch.setattr('mmdet_retina_plus.cli.fuse.fuse_image', pytest.fail)
    result, out = fuse([detection()], [detection(), record])
    assert result.exit_code == 1
    assert '1.json[1]' in result.output
    assert problem in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('[{', 'is no JSON'),
        ('{"images": []}', 'holds no list of detections'),
    ],
)
def test_a_file_that_is_no_result_file_is_named(fuse, text, problem):
    result, _ = fuse([detection()], text)
    assert result.exit_code == 1
    assert '1.json' in result.output
    assert problem in result.output


def test_inputs_are_never_overwritten(fuse, tmp_path):
    result, out = fuse([detection()], out='0.json')
    assert result.exit_code == 1
    assert 'name another' in result.output
    assert json.loads(out.read_text()) == [detection()]


def test_earlier_results_are_replaced_whole_or_not_at_all(
    fuse, tmp_path, monkeypatch
):
    out = tmp_path / 'fused.json'
    out.write_text('earlier')
    with monkeypatch.context() as patch:
        patch.setattr('os.replace', lambda *_: 1 / 0)
        result, _ = fuse([detection()])
    assert isinstance(result.exception, ZeroDivisionError)
    assert out.read_text() == 'earlier'
    assert not list(tmp_path.glob('*.part'))
    assert_like(fused(fuse, [detection()]), [detection()])


def test_a_missing_folder_is_named(fuse):
    result, _ = fuse([detection()], out='nowhere/fused.json')
    assert result.exit_code == 1
    assert 'There is no folder' in result.output
    assert 'nowhere' in result.output


def test_impossible_options_say_why(fuse):
    result, _ = fuse([detection()], options=['--score-floor', 'nan'])
    assert result.exit_code == 1
    assert 'score_floor must be finite' in result.output
    result, _ = fuse([detection()], options=['--iou-thr', 'nan'])
    assert result.exit_code == 2
    assert 'not a finite number' in result.output

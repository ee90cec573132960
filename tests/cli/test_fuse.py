"""What the command says of a fusion, and refuses."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mmdet_retina_plus.cli.fuse import main
from tests.helpers.detections import detection


@pytest.fixture
def fuse(tmp_path):
    """Fuses lists of detections, written to one file each."""

    def run(*views, options=(), out='fused.json'):
        files = []
        for number, view in enumerate(views):
            files.append(tmp_path / f'{number}.json')
            files[-1].write_text(json.dumps(view))
        out = tmp_path / out
        arguments = [*map(str, files), '--out', str(out), *options]
        return CliRunner().invoke(main, arguments), out

    return run


def test_mmdet_is_not_needed(tmp_path):
    """It takes more time to load than all else."""
    for name in ('a.json', 'b.json'):
        (tmp_path / name).write_text(json.dumps([detection(0.5)] * 3))
    code = (
        'import sys\n'
        "sys.modules.update(dict.fromkeys(['mmcv', 'mmdet', 'mmengine']))\n"
        'from retina_plus_command import main\n'
        "main(['fuse', 'a.json', 'b.json', '--out', 'c.json'])"
    )
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / 'c.json').read_text())) == 1


def test_the_best_boxes_of_each_image_stay(fuse):
    view = [
        detection(0.5),
        detection(0.9, category=2),
        detection(0.1, image=2),
    ]
    result, out = fuse(view, options=['--max-per-img', '1'])
    assert [x['score'] for x in json.loads(out.read_text())] == [0.9, 0.1]
    assert 'Boxes left out by --max-per-img 1: 1' in result.output
    result, _ = fuse(view)
    assert 'left out' not in result.output


def test_other_entries_are_named_as_left_out(fuse):
    result, out = fuse([detection(keypoints=[1, 2, 2], segmentation=[])])
    assert 'Entries left out' in result.output
    assert 'keypoints' in result.output
    (record,) = json.loads(out.read_text())
    assert 'keypoints' not in record


def test_inputs_are_never_overwritten(fuse, tmp_path):
    result, out = fuse([detection()], out='0.json')
    assert result.exit_code == 1
    assert 'name another' in result.output
    assert json.loads(out.read_text()) == [detection()]


def test_what_is_no_result_file_is_never_replaced(fuse, tmp_path):
    (tmp_path / 'train.json').write_text('{"images": []}')
    result, out = fuse([detection()], out='train.json')
    assert result.exit_code == 1
    assert 'train.json is not a result file' in result.output
    assert out.read_text() == '{"images": []}'


def test_images_and_categories_stay_listed_next_to_the_boxes(fuse, tmp_path):
    """Without them, numbers by `predict` would be taken for others."""
    listed = dict(
        images=[dict(id=n, file_name=f'{n}.png') for n in (1, 2)],
        annotations=[],
        categories=[dict(id=1, name='cat')],
    )
    fewer = dict(listed, images=listed['images'][:1])
    for name, coco in (('0', fewer), ('1', listed)):
        (tmp_path / f'{name}.images.json').write_text(json.dumps(coco))
    views = [detection()], [detection(0.5), detection(image=2)]
    result, out = fuse(*views)
    beside = out.with_suffix('.images.json')
    assert str(beside) in result.output
    assert json.loads(beside.read_text()) == listed
    # Image 2 is listed nowhere now, and the names of before would be wrong.
    (tmp_path / '1.images.json').unlink()
    fuse(*views)
    assert out.exists() and not beside.exists()


def test_a_single_file_is_noted(fuse):
    result, _ = fuse([detection()])
    assert 'is the only file' in result.output
    result, _ = fuse([detection()], [detection(0.5)])
    assert 'is the only file' not in result.output


def test_a_missing_folder_is_named(fuse):
    result, _ = fuse([detection()], out='nowhere/fused.json')
    assert result.exit_code == 1
    assert 'There is no folder' in result.output
    assert 'nowhere' in result.output


def test_a_missing_file_is_named_with_those_that_are_there(fuse, tmp_path):
    absent = str(tmp_path / 'absent.json')
    result, out = fuse([detection()], options=[absent])
    assert 'there is no file' in result.output
    assert 'holds 0.json' in result.output
    assert result.exit_code == 1
    assert not out.exists()


def test_impossible_options_say_why(fuse):
    result, _ = fuse([detection()], options=['--score-floor', 'nan'])
    assert result.exit_code == 1
    assert 'score_floor must be finite' in result.output
    result, _ = fuse([detection()], options=['--iou-thr', 'nan'])
    assert result.exit_code == 2
    assert 'not a finite number' in result.output


def test_a_bad_detection_is_an_error_in_a_line(fuse):
    result, out = fuse([detection()], [detection(), detection(score=-1)])
    assert result.exit_code == 1
    assert '1.json[1] has score -1' in result.output
    assert not out.exists()

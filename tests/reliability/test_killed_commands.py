"""A command that is killed where it writes, and is run again."""

import json
import signal
from pathlib import Path

import pytest

from mmdet_retina_plus.inference.result_files import with_names
from mmdet_retina_plus.inference.shards import Shard, missing_parts
from tests.helpers.commands import predict, read
from tests.helpers.image_files import annotations, write_image
from tests.helpers.killed_writes import run_killed
from tests.helpers.seeing_detector import seeing

__all__ = ['seeing']


def write_images(folder: Path, count: int) -> Path:
    for number in range(count):
        write_image(folder / f'{number}.png', (5, 5, 20 + number, 20))
    return folder


def files_of(out: Path) -> list:
    return [read(file) for file in (out, out.with_suffix('.images.json'))]


def test_a_killed_predict_leaves_one_run_and_ends_like_a_whole_one(
    tmp_path, seeing
):
    """Wherever it dies: boxes are never beside the names of another run."""
    out, whole = tmp_path / 'out.json', tmp_path / 'whole.json'
    before = write_images(tmp_path / 'before', 2)
    images = write_images(tmp_path / 'images', 3)
    predict(images, *seeing, '--out', whole)
    arguments = images, *seeing, '--out', out
    kills, code = 0, -signal.SIGKILL
    while code:
        predict(before, *seeing, '--out', out)
        earlier = files_of(out)
        code = run_killed(lambda: predict(*arguments), at=kills)
        assert code in (0, -signal.SIGKILL)
        boxes = read(out)
        assert boxes in (earlier[0], read(whole))
        named = with_names(out, boxes).images
        assert len(named) in (0, 2 if boxes == earlier[0] else 3)
        predict(*arguments)
        assert files_of(out) == files_of(whole)
        kills += 1
    assert kills > 4


def test_a_killed_part_is_never_joined_wrongly(tmp_path, seeing):
    """The part that ends last dies anywhere, and is repeated."""
    out, whole = tmp_path / 'out.json', tmp_path / 'whole.json'
    images = write_images(tmp_path / 'images', 4)
    predict(images, *seeing, '--out', whole)
    arguments = images, *seeing, '--out', out, '--shard'
    kills, code = 0, -signal.SIGKILL
    while code:
        predict(*arguments, '1/2')
        code = run_killed(lambda: predict(*arguments, '2/2'), at=kills)
        assert code in (0, -signal.SIGKILL)
        if out.exists():
            assert read(out) == read(whole)
        # Of an array of jobs, both may run again.
        predict(*arguments, '2/2')
        if not out.exists():
            predict(*arguments, '1/2')
        assert files_of(out) == files_of(whole)
        for file in (out, *tmp_path.glob('out.*')):
            file.unlink(missing_ok=True)
        kills += 1
    assert kills > 8


def test_a_part_that_died_behind_its_boxes_is_missing(tmp_path):
    """The list of its images comes last."""
    out = tmp_path / 'out.json'
    for number in (1, 2):
        part = Shard(number, 2).file(out)
        part.write_text('[]')
        if number == 1:
            part.with_suffix('.images.json').write_text('{}')
    assert missing_parts(out, 2) == [Shard(2, 2)]


@pytest.mark.parametrize('is_read', [False, True])
def test_names_of_an_earlier_run_go_where_an_annotation_file_has_them(
    is_read, tmp_path, seeing
):
    """Unless they are that file."""
    images = write_images(tmp_path / 'images', 2)
    out = tmp_path / 'out.json'
    predict(images, *seeing, '--out', out)
    listed = out.with_suffix('.images.json')
    ann_file = listed
    if not is_read:
        ann_file = annotations(tmp_path / 'ann.json', (1, '1.png'))
    arguments = images, *seeing, '--out', out, '--ann-file', ann_file
    predict(*arguments)
    assert listed.exists() == is_read
    assert {box['image_id'] for box in json.loads(out.read_text())} == (
        {1, 2} if is_read else {1}
    )

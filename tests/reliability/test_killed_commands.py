"""A command that is killed where it writes, and is run again."""

import signal

import pytest

from mmdet_retina_plus.inference.shards import Shard, missing_parts
from tests.helpers.commands import predict, read
from tests.helpers.image_files import annotations, write_image
from tests.helpers.killed_predicts import KilledPredict
from tests.helpers.seeing_detector import seeing

__all__ = ['seeing']


WRITES = {'whole': (2, 5, 6), 'part': (7, 16, 22, 23)}
"""Where boxes and their images are of two runs, or parts are half removed; the
drill tries all."""


@pytest.mark.parametrize('kind', WRITES)
def test_a_killed_predict_is_as_a_whole_one_when_run_again(
    kind, tmp_path, seeing
):
    """And before that, of one run."""
    scene = KilledPredict(tmp_path, seeing)
    for at in WRITES[kind]:
        code, faults = getattr(scene, kind)(at=at)
        assert (code, list(faults)) == (-signal.SIGKILL, []), at


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
    images = tmp_path / 'images'
    for number in range(2):
        write_image(images / f'{number}.png', (5, 5, 25, 20))
    out = tmp_path / 'out.json'
    predict(images, *seeing, '--out', out)
    listed = out.with_suffix('.images.json')
    ann_file = listed
    if not is_read:
        ann_file = annotations(tmp_path / 'ann.json', (1, '1.png'))
    arguments = images, *seeing, '--out', out, '--ann-file', ann_file
    predict(*arguments)
    assert listed.exists() == is_read
    assert {box['image_id'] for box in read(out)} == (
        {1, 2} if is_read else {1}
    )

"""What the command refuses, says and keeps, whatever its images are."""

import errno
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmdet_retina_plus.cli.predict import main
from mmdet_retina_plus.common.output_files import RowsFile
from mmdet_retina_plus.inference.pictures import Pictures
from tests.helpers.commands import predict, read
from tests.helpers.image_files import annotations, write_image
from tests.helpers.seeing_detector import (
    POISON,
    SeeingDetector,
    interrupt,
)


def test_one_bad_image_does_not_stop_the_others(tmp_path, seeing):
    images = tmp_path / 'images'
    write_image(images / 'a.png', (5, 5, 25, 20))
    whole = Path(write_image(images / 'truncated.jpg', (5, 5, 25, 20)))
    whole.write_bytes(whole.read_bytes()[:-200])
    write_image(images / 'poison.png', (5, 5, 6, 6), grey=POISON)
    (images / 'text.png').write_text('no image')
    (images / 'void.png').touch()
    write_image(images / 'z.png', (5, 5, 25, 20))
    ann_file = annotations(
        tmp_path / 'ann.json',
        *enumerate(
            ['a.png', 'truncated.jpg', 'absent.png', 'poison.png'], start=1
        ),
        *[(5, 'text.png'), (6, 'z.png'), (7, 'void.png')],
    )
    out = tmp_path / 'out.json'
    arguments = (images, *seeing, '--out', out, '--tile', 64)
    output = predict(*arguments, '--ann-file', ann_file, code=1)
    assert [item['image_id'] for item in read(out)] == [1, 6]
    assert 'poison.png: RuntimeError: out of memory' in output
    assert 'void.png: The file is empty' in output
    assert 'text.png: The file is not a readable image' in output
    assert '1 image is missing: absent.png\n' in output
    assert '\ntruncated.jpg: ' in output
    *_, failures = output.split('.json\n')
    assert len(failures.splitlines()) == 6
    assert '5 of 7 images failed' in output
    assert 'z.png' not in output
    predict(*arguments, code=1)
    listed = read(tmp_path / 'out.images.json')['images']
    assert [(x['id'], x['file_name']) for x in listed] == [
        (1, 'a.png'),
        (6, 'z.png'),
    ]


@pytest.mark.parametrize(
    ('given', 'needed'),
    [
        (('--overlap', 0.5), '--tile'),
        (('--batch-size', 2), '--tile'),
        (('--show-score-thr', 0.5), '--show-dir'),
        (('--fuse', 'nms'), '--tile or --flip or --ensemble'),
        (('--preset', 'mdt'), '--tile or --flip or --ensemble'),
        (('--iou-thr', 0.5), '--tile or --flip or --ensemble'),
    ],
)
def test_options_that_do_nothing_are_named(tmp_path, seeing, given, needed):
    write_image(tmp_path / 'a.png', (5, 5, 25, 20))
    arguments = (tmp_path / 'a.png', *seeing, '--out', tmp_path / 'out.json')
    line = f'Note: {given[0]} does nothing without {needed}\n'
    assert line in predict(*arguments, *given)
    assert 'Note' not in predict(*arguments)


BAD_OPTIONS = {
    'no image': (dict(images='nothing'), 'no file or folder'),
    'no checkpoint': (dict(checkpoint='absent.pth'), 'absent.pth'),
    'no ensemble': (dict(extra=['--ensemble', 'absent.pth']), 'absent.pth'),
    'no config': (
        dict(config='absent.py'),
        'no file absent.py; .* holds a.png',
    ),
    'no folder': (dict(out='absent/out.json'), 'no folder'),
    'tile': (dict(extra=['--tile', '0']), '--tile'),
    'overlap': (dict(extra=['--overlap', '1']), '--overlap'),
    'threshold': (dict(extra=['--iou-thr', '1.5']), '--iou-thr'),
    'batch': (dict(extra=['--batch-size', '0']), '--batch-size'),
    'preset': (
        dict(extra=['--flip', '--fuse', 'nms', '--preset', 'mdt']),
        '--fuse wbc',
    ),
    'key': (
        dict(extra=['--cfg-options', 'modle.a=1']),
        'no modle; did you mean model',
    ),
    'pair': (dict(extra=['--cfg-options', 'model']), 'KEY=VALUE'),
    'value': (dict(extra=['--cfg-options', 'model.a=1']), "keyword.*'a'"),
    'device': (dict(extra=['--device', 'abacus']), 'abacus'),
    'overwriting': (dict(extra=['--show-dir', '.']), 'overwrite'),
    'no number': (dict(extra=['--score-thr', 'nan']), 'not a finite'),
    'infinity': (dict(extra=['--score-thr', 'inf']), 'not in the range'),
    'not shown': (dict(extra=['--show-score-thr', 'nan']), 'not a finite'),
    'swapped': (
        dict(config='seeing.pth', checkpoint='seeing.py'),
        'seeing.pth is not a config.*CONFIG first',
    ),
    'two configs': (dict(checkpoint='seeing.py'), 'is a config, not a check'),
}


@pytest.mark.parametrize('case', BAD_OPTIONS)
def test_bad_options_are_refused_before_any_work(
    tmp_path, seeing, monkeypatch, case
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SeeingDetector, 'predict', pytest.fail)
    write_image(Path('a.png'))
    changes, message = BAD_OPTIONS[case]
    config, checkpoint = seeing
    given = dict(
        images='a.png', config=config, checkpoint=checkpoint, out='out.json'
    )
    given |= changes
    result = CliRunner().invoke(
        main,
        [
            *(given['images'], given['config'], given['checkpoint']),
            *('--out', given['out'], *given.get('extra', ())),
        ],
    )
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    words = ' '.join(result.output.split())
    assert re.search(message, words), result.output
    assert not Path('out.json').exists()


def test_a_picture_that_fails_is_not_an_image_that_fails(
    tmp_path, seeing, monkeypatch
):
    images = tmp_path / 'images'
    for name in ('a.png', 'b.png'):
        write_image(images / name, (5, 5, 25, 20))
    save = Pictures.save

    def fail_once(self, source, found, target):
        if source.name == 'a.png':
            raise OSError('disk full')
        save(self, source, found, target)

    monkeypatch.setattr(Pictures, 'save', fail_once)
    out, pictures = tmp_path / 'out.json', tmp_path / 'pictures'
    arguments = (images, *seeing, '--out', out, '--show-dir', pictures)
    output = predict(*arguments, code=1)
    assert 'a.png: no picture: disk full' in output
    assert '1 of 2 have no picture' in output
    assert 'failed' not in output
    assert [item['image_id'] for item in read(out)] == [1, 2]
    assert [path.name for path in pictures.iterdir()] == ['b.png']


@pytest.mark.parametrize('unwritten', ['out.json', 'out.images.json'])
def test_failures_and_files_are_told_where_a_file_cannot_be_written(
    tmp_path, seeing, monkeypatch, unwritten
):
    images = tmp_path / 'images'
    write_image(images / 'a.png', (5, 5, 25, 20))
    (images / 'text.png').write_text('no image')
    replace = os.replace

    def full(part, file):
        if file.name == unwritten:
            raise OSError(errno.ENOSPC, 'No space left', str(file))
        replace(part, file)

    monkeypatch.setattr(os, 'replace', full)
    output = predict(images, *seeing, '--out', tmp_path / 'out.json', code=1)
    assert f"No space left: '{tmp_path / unwritten}'" in output
    assert '\ntext.png: ' in output
    assert '1 of 2 images failed' in output
    first_is_written = unwritten == 'out.images.json'
    assert ('1 box written to' in output) == first_is_written
    assert 'Their images' not in output


@pytest.mark.parametrize('full', [True, False], ids=['full disk', 'model'])
def test_an_earlier_result_stays_where_nothing_can_be_added(
    three_images, tmp_path, seeing, monkeypatch, full
):
    def fail(self, given):
        raise OSError(errno.ENOSPC, 'No space left')

    out = tmp_path / 'out.json'
    arguments = (three_images, *seeing, '--out', out)
    predict(*arguments)
    earlier = out.read_text()
    if full:
        monkeypatch.setattr(RowsFile, 'extend', fail)
    else:
        monkeypatch.setattr(SeeingDetector, 'look', fail)
    output = predict(*arguments, code=1)
    # A disk stays full, the next image may be better.
    assert ('\nError: [Errno 28] No space left' in output) == full
    assert ('3 of 3 images failed' in output) != full
    assert out.read_text() == earlier
    assert not list(tmp_path.glob('*.part'))


@pytest.fixture
def three_images(tmp_path) -> Path:
    images = tmp_path / 'images'
    for name in ('a.png', 'b.png', 'c.png'):
        write_image(images / name, (5, 5, 25, 20))
    return images


def test_an_interruption_keeps_what_is_done(
    three_images, tmp_path, seeing, monkeypatch
):
    interrupt(monkeypatch, done=2)
    out = tmp_path / 'out.json'
    output = predict(three_images, *seeing, '--out', out, code=130)
    assert 'Interrupted, 2 of 3 images done' in output
    assert [item['image_id'] for item in read(out)] == [1, 2]
    listed = read(tmp_path / 'out.images.json')['images']
    assert [image['file_name'] for image in listed] == ['a.png', 'b.png']


def test_ctrl_c_leaves_an_earlier_result_as_it_is(
    three_images, tmp_path, seeing, monkeypatch
):
    out = tmp_path / 'out.json'
    predict(three_images, *seeing, '--out', out)
    earlier = out.read_text()
    interrupt(monkeypatch, done=1)
    output = predict(three_images, *seeing, '--out', out, code=130)
    assert 'Interrupted, 1 of 3 images done' in output
    assert out.read_text() == earlier
    partial = tmp_path / 'out.partial.json'
    assert {item['image_id'] for item in read(partial)} == {1}
    partial.unlink()
    # No image is done now.
    predict(three_images, *seeing, '--out', out, code=130)
    assert not partial.exists()
    assert out.read_text() == earlier

"""Parts of a set come to what the whole comes to."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmdet_retina_plus.inference import shards
from mmdet_retina_plus.inference.shards import Shard, merge_shards
from tests.helpers.commands import predict, read
from tests.helpers.image_files import annotations, write_image
from tests.helpers.seeing_detector import interrupt


def test_parts_are_the_whole_in_any_order(tmp_path, seeing):
    images = tmp_path / 'images'
    for number in range(5):
        write_image(images / f'{number}.png', (5, 5, 20 + number, 20))
    whole, parts = tmp_path / 'whole.json', tmp_path / 'parts.json'
    predict(images, *seeing, '--out', whole)
    for number in (2, 3, 1):
        assert not parts.exists()
        said = predict(
            *(images, *seeing, '--out', parts, '--shard', f'{number}/3')
        )
    assert '3 parts joined' in said
    assert f'5 boxes written to {parts}' in said
    assert read(parts) == read(whole)
    listed = [
        read(path.with_suffix('.images.json')) for path in (whole, parts)
    ]
    assert listed[0] == listed[1]
    assert not list(tmp_path.glob('*shard*'))


def test_an_annotation_file_gives_parts_its_ids(tmp_path, seeing):
    for name in ('a.png', 'b.png'):
        write_image(tmp_path / name, (5, 5, 25, 20))
    ann_file = annotations(tmp_path / 'ann.json', (9, 'a.png'), (7, 'b.png'))
    out = tmp_path / 'out.json'
    for number in (1, 2):
        predict(
            *(tmp_path, *seeing, '--out', out, '--ann-file', ann_file),
            *('--shard', f'{number}/2'),
        )
    # In the order of the file, as of a single process.
    assert [box['image_id'] for box in read(out)] == [9, 7]


@pytest.mark.parametrize('shard', ['0/2', '3/2', '1', 'a/b', '1/0', '-1/2'])
def test_parts_that_cannot_be_are_refused(tmp_path, seeing, shard):
    write_image(tmp_path / 'a.png')
    arguments = (tmp_path / 'a.png', *seeing, '--out', tmp_path / 'out.json')
    said = predict(*arguments, f'--shard={shard}', code=2)
    assert 'is not a part' in said


def test_more_parts_than_images_are_refused(tmp_path, seeing):
    write_image(tmp_path / 'a.png')
    arguments = (tmp_path / 'a.png', *seeing, '--out', tmp_path / 'out.json')
    assert 'use fewer parts' in predict(*arguments, '--shard', '1/2', code=1)
    # Once, and not by each process.
    said = predict(*arguments, '--jobs', 2, '--device', 'cpu', code=1)
    assert said.count('use fewer parts') == 1
    both = predict(*arguments, '--shard', '1/2', '--jobs', 2, code=2)
    assert 'use either --shard or --jobs' in both


OPTIONS = {
    'option': ('--score-thr', 0.5),
    'config': ('--cfg-options', 'test_dataloader.batch_size=2'),
    'checkpoint': (),
    'images': (),
}


@pytest.mark.parametrize('case', OPTIONS)
def test_parts_of_an_earlier_run_are_not_joined(tmp_path, seeing, case):
    images, out = tmp_path / 'images', tmp_path / 'out.json'
    for number in range(2):
        write_image(images / f'{number}.png', (5, 5, 25, 20))
    arguments = (images, *seeing, '--out', out, '--shard')
    predict(*arguments, '1/2')
    if case == 'checkpoint':
        torch.save(torch.load(seeing[1]) | dict(extra=1), seeing[1])
    if case == 'images':
        write_image(images / '9.png')
    said = predict(*arguments, '2/2', *OPTIONS[case], code=1)
    assert 'Not joined: out.shard-1-of-2.json from a run' in said
    assert not out.exists()
    predict(*arguments, '1/2', *OPTIONS[case])
    assert read(out)


def test_an_interrupted_part_is_not_joined(tmp_path, seeing, monkeypatch):
    images, out = tmp_path / 'images', tmp_path / 'out.json'
    for number in range(4):
        write_image(images / f'{number}.png', (5, 5, 25, 20))
    arguments = (images, *seeing, '--out', out, '--shard')
    with monkeypatch.context() as patch:
        interrupt(patch, done=1)
        predict(*arguments, '1/2', code=130)
    assert len(read(tmp_path / 'out.shard-1-of-2.partial.json')) == 1
    predict(*arguments, '2/2')
    assert not out.exists()
    predict(*arguments, '1/2')
    assert len(read(out)) == 4


def test_parts_that_lack_images_are_not_joined(tmp_path):
    out = tmp_path / 'out.json'
    for number in (1, 2):
        part = Shard(number, 2).file(out)
        part.write_text('[]')
        coco = dict(images=[dict(id=number)], categories=[])
        coco['origin'] = dict(run='a', seen=1, total=3)
        part.with_suffix('.images.json').write_text(json.dumps(coco))
    with pytest.raises(ValueError, match='2 of 3 images'):
        merge_shards(out, 2, 'a', [1, 2])
    assert not out.exists()


def test_a_folder_that_is_gone_is_no_missing_part(tmp_path, monkeypatch):
    out = tmp_path / 'out.json'
    part = Shard(1, 1).file(out)
    part.write_text('[]')
    coco = dict(images=[], categories=[], origin=dict(run='', seen=0, total=0))
    part.with_suffix('.images.json').write_text(json.dumps(coco))
    gone = Path('gone/out.json')
    monkeypatch.setattr(Shard, 'file', lambda *_: part)
    with pytest.raises(FileNotFoundError, match='gone'):
        merge_shards(gone, 1, '', [])
    assert merge_shards(out, 1, '', []) == 0


class InThisProcess:
    """A process of `run_jobs` that is done once it is started."""

    def __init__(self, words, env):
        assert env['OMP_NUM_THREADS']
        predict(*words[words.index('predict') + 1 :])

    def wait(self):
        return 0

    poll = wait


def test_jobs_come_to_what_one_process_does(tmp_path, seeing, monkeypatch):
    monkeypatch.setattr(shards.subprocess, 'Popen', InThisProcess)
    images = tmp_path / 'images'
    for number in range(3):
        write_image(images / f'{number}.png', (5, 5, 20 + number, 20))
    one, two = tmp_path / 'one.json', tmp_path / 'two.json'
    predict(images, *seeing, '--out', one)
    predict(images, *seeing, '--jobs', 2, '--out', two, '--device', 'cpu')
    assert read(two) == read(one) != []


def test_a_part_that_fails_is_named(tmp_path, seeing, monkeypatch):
    class SecondFails(InThisProcess):
        def __init__(self, words, env):
            self.fails = words[-1] == '2/2'
            if not self.fails:
                super().__init__(words, env)

        def wait(self):
            return int(self.fails)

        poll = wait

    monkeypatch.setattr(shards.subprocess, 'Popen', SecondFails)
    images, out = tmp_path / 'images', tmp_path / 'out.json'
    for number in range(2):
        write_image(images / f'{number}.png', (5, 5, 25, 20))
    arguments = (images, *seeing, '--out', out, '--device', 'cpu')
    said = predict(*arguments, '--jobs', 2, code=1)
    assert 'repeat the command with --shard 2/2' in said
    assert '--shard 1/2' not in said
    predict(*arguments, '--shard', '2/2')
    assert len(read(out)) == 2


def test_sigterm_ends_all_parts(tmp_path, monkeypatch):
    ended = []

    class Endless:
        def __init__(self, words, env):
            self.shard = words[-1]

        def wait(self):
            if self.shard not in ended:
                os.kill(os.getpid(), signal.SIGTERM)

        def poll(self):
            return None

        def terminate(self):
            ended.append(self.shard)

    monkeypatch.setattr(shards.subprocess, 'Popen', Endless)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        shards.run_jobs(['predict'], tmp_path / 'out.json', 2, 0)
    assert ended == ['1/2', '2/2']
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_users_file_does_not_hide_pythons(tmp_path):
    (tmp_path / 'queue.py').write_text('raise SystemExit(3)')
    code = shards.WITHOUT_FOLDER + 'import queue'
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)

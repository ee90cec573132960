"""A file that is no checkpoint is refused before torch is imported."""

import subprocess
import sys

import pytest
import torch

from mmdet_retina_plus.common.checkpoint_files import check_checkpoint

REFUSED = {
    'iter_16.pth': 'no file iter_16.pth; did you mean iter_160.pth?',
    'zzz.pth': r'no file zzz.pth; /.* holds iter_160.pth, .* and \d more',
    'run/best.pth': 'no file run/best.pth; work_dirs/my_config holds last.pth',
    'empty.pth': 'empty.pth is empty: copy it again',
    'cut.pth': 'cut.pth is truncated: copy it again',
    'photo.pth': 'photo.pth is a JPEG, not a checkpoint: name the .pth',
    'text.pth': 'text.pth is not a checkpoint: name the .pth',
    'work_dirs/my_config': 'is a folder: name a checkpoint in it, .* last.pth',
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The current folder: a training's, and broken files."""
    monkeypatch.chdir(tmp_path)
    trained = tmp_path / 'work_dirs' / 'my_config'
    trained.mkdir(parents=True)
    torch.save(dict(x=torch.ones(9)), trained / 'last.pth')
    whole = (trained / 'last.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(whole[:-200])
    (tmp_path / 'photo.pth').write_bytes(b'\xff\xd8\xff\xe0')
    (tmp_path / 'text.pth').write_text('weights')
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'iter_160.pth').write_bytes(whole)


@pytest.mark.parametrize('name', REFUSED)
def test_what_is_no_checkpoint_is_refused_with_the_fix(name, work):
    with pytest.raises(ValueError, match=REFUSED[name]):
        check_checkpoint(name, 'my_config.py')


def test_what_torch_may_read_passes(work):
    check_checkpoint('iter_160.pth', 'my_config.py')
    check_checkpoint('https://host/absent.pth', 'my_config.py')
    torch.save(dict(x=1), 'old.pth', _use_new_zipfile_serialization=False)
    check_checkpoint('old.pth', 'my_config.py')


def test_commands_refuse_a_checkpoint_before_torch_is_imported(work):
    """A heavy import takes seconds, on a busy machine a minute."""
    code = (
        'import sys\n'
        'from retina_plus_command import main\n'
        'sys.argv = ["retina-plus", "export", "a.py", "cut.pth", "--out", '
        '"a.onnx"]\n'
        'open("a.py", "w").close()\n'
        'try:\n    main()\n'
        'finally:\n    assert "torch" not in sys.modules'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert 'Error: cut.pth is truncated' in done.stderr
    assert 'Assertion' not in done.stderr

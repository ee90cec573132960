"""No checkpoint runs code, whichever way it comes in."""

import pickle
import re
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch

from mmdet_retina_plus.cli.assignments import main as assignments
from mmdet_retina_plus.cli.evaluate import main as evaluate
from mmdet_retina_plus.cli.export import main as export
from mmdet_retina_plus.cli.loss_cdf import main as loss_cdf
from mmdet_retina_plus.doctor.checkpoints import check_weights
from tests.helpers.commands import invoke, predict
from tests.helpers.hostile_pickles import ATTACKS
from tests.helpers.image_files import write_image
from tests.helpers.killed_trainings import (
    Killer,
    NoisyModel,
    noisy_config,
    train,
)
from tests.helpers.loss_cdf_scene import folder
from tests.helpers.seeing_detector import seeing

__all__ = ['folder', 'seeing']

REFUSAL = 'no checkpoint of mmengine|Unsupported global|is blocked'


def by_resume(bad: Path, resume: bool = True) -> None:
    with pytest.raises(pickle.UnpicklingError, match=REFUSAL):
        train(noisy_config(), bad.parent, resume=resume, load_from=str(bad))


def by_load_from(bad: Path) -> None:
    by_resume(bad, resume=False)


def by_pretrained(bad: Path) -> None:
    model = NoisyModel()
    model.init_cfg = dict(type='Pretrained', checkpoint=str(bad))
    with pytest.raises(pickle.UnpicklingError, match=REFUSAL):
        model.init_weights()


def by_doctor(bad: Path) -> None:
    (found,) = check_weights(dict(load_from=str(bad)), NoisyModel())
    assert found.level == 'error'
    assert 'cannot read' in found.message


WAYS: dict[str, Callable[[Path], None]] = {
    'resume': by_resume,
    'load_from': by_load_from,
    'pretrained': by_pretrained,
    'doctor': by_doctor,
}


@pytest.fixture(params=['os-system', 'flags'])
def bad(request, tmp_path):
    """A checkpoint with an attack; nothing may have come of it at the end.

    Of two kinds: refused by torch, and only by us.
    """
    victim = tmp_path / 'created'
    attack = ATTACKS[request.param](victim)
    torch.save(dict(state_dict={}, meta=attack), tmp_path / 'bad.pth')
    yield tmp_path / 'bad.pth'
    assert not victim.exists()


@pytest.mark.parametrize('way', WAYS)
def test_a_hostile_checkpoint_is_refused(way, bad):
    WAYS[way](bad)


def test_predict_refuses_a_hostile_checkpoint(bad, seeing, tmp_path):
    write_image(tmp_path / 'images' / 'a.png', (5, 5, 25, 20))
    config, _ = seeing
    arguments = tmp_path / 'images', config, bad, '--out', tmp_path / 'o.json'
    output = predict(*arguments, code=1)
    assert re.search(REFUSAL, output)
    assert 'weights_only' not in output


@pytest.mark.parametrize(
    ('command', 'option'),
    [
        (assignments, ['--checkpoint']),
        (evaluate, []),
        (export, []),
        (loss_cdf, []),
    ],
    ids=['assignments', 'evaluate', 'export', 'loss-cdf'],
)
def test_a_command_refuses_a_hostile_checkpoint(
    command, option, bad, folder, tmp_path
):
    arguments = folder / 'config.py', *option, bad
    out = tmp_path / 'out.onnx'  # Folders may be named so, too.
    output = invoke(command, *arguments, '--out', out, code=1)
    assert re.search(REFUSAL, output)
    assert not out.exists()


def edited(file: Path, to: Path, path: str, value: Any) -> str:
    """A checkpoint in which one value, by its dotted keys, is another."""
    checkpoint = torch.load(file)
    *keys, last = path.split('.')
    keys = [int(key) if key.isdigit() else key for key in keys]
    reduce(lambda part, key: part[key], keys, checkpoint)[last] = value
    torch.save(checkpoint, to)
    return str(to)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """The checkpoint of the second step of a training."""
    work_dir = tmp_path_factory.mktemp('saved')
    train(noisy_config(), work_dir, Killer('before_train_iter', 3))
    return work_dir / 'iter_2.pth'


RUN = "x = __import__('pathlib').Path({!r}).rmdir()"
INFO = 'message_hub.runtime_info'


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('meta.config', RUN.format),
        (f'{INFO}.best_ckpt', str),
        (f'{INFO}.keep_ckpt_ids', lambda path: [path]),
    ],
)
@pytest.mark.parametrize('hooks', [[], [dict(type='ExactResumeHook')]])
def test_a_resumed_training_neither_runs_nor_removes_what_a_checkpoint_names(
    path, value, hooks, saved, tmp_path
):
    """With our hook and without it, wherever the checkpoint lies."""
    victim = tmp_path / 'victim.pth'
    victim.mkdir()
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    named = edited(saved, work_dir / 'bad.pth', path, value(str(victim)))
    config = noisy_config(
        custom_hooks=hooks, default_hooks__checkpoint__max_keep_ckpts=1
    )
    # Whatever is in place of a number is the name of a file.
    config.default_hooks.checkpoint.filename_tmpl = '{}'
    config.train_cfg.max_iters = 4
    train(config, work_dir, resume=True, load_from=named)
    assert victim.exists()
    assert (work_dir / '4').exists()


STATE = 'exact_resume.processes.0'


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (f'{STATE}.data.position', 10**12),
        (f'{STATE}.data.position', -1),
        (f'{STATE}.random.numpy.state.pos', 10**7),
        (f'{STATE}.random.numpy.state.key', []),
        (f'{STATE}.random.python', 'x'),
        (f'{STATE}.random.torch', torch.zeros(5056, dtype=torch.uint8)),
    ],
)
def test_states_that_no_training_has_are_refused(path, value, saved, tmp_path):
    """NumPy would read beyond its memory, a sampler draw for a year."""
    named = edited(saved, tmp_path / 'bad.pth', path, value)
    with pytest.raises(ValueError, match='damaged or forged'):
        train(noisy_config(), tmp_path, resume=True, load_from=named)

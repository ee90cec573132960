"""No checkpoint runs code, whichever way it comes in."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmdet_retina_plus.cli.assignments import main as assignments
from mmdet_retina_plus.doctor.checkpoints import check_weights
from tests.helpers.commands import invoke, predict
from tests.helpers.hostile_pickles import ATTACKS
from tests.helpers.image_files import write_image
from tests.helpers.killed_trainings import NoisyModel, noisy_config, train
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


def test_assignments_refuses_a_hostile_checkpoint(bad, folder, tmp_path):
    arguments = folder / 'config.py', '--checkpoint', bad
    output = invoke(assignments, *arguments, '--out', tmp_path / 'o', code=1)
    assert re.search(REFUSAL, output)

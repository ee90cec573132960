"""Focal losses and their gradients, drawn."""

import errno
from pathlib import Path

import cv2
import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose

from mmdet_retina_plus.analysis import loss_pictures
from mmdet_retina_plus.analysis.loss_curves import (
    build_losses,
    draw,
    loss_and_gradient,
)
from mmdet_retina_plus.cli.loss_curves import main
from tests.helpers.loss_values import oracle


def run(*arguments, code=0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in arguments])
    assert result.exit_code == code, result.output
    return result.output


def positives(name):
    vectors = oracle(name)['vectors']
    return [vector for vector in vectors if vector['target'] == 1]


def check(loss, vector):
    logit = torch.tensor([vector['logit']], dtype=torch.float64)
    expected = [vector['loss']], [vector['gradient']]
    assert_allclose(loss_and_gradient(loss, logit), expected, rtol=1e-10)


@pytest.mark.parametrize('vector', positives('focal_loss'))
def test_curves_of_focal_losses_go_through_the_oracle(vector):
    focal, star = build_losses([vector['gamma']], (), vector['alpha'])
    assert not star
    check(*focal.values(), vector)


@pytest.mark.parametrize('vector', positives('focal_loss_star'))
def test_curves_of_focal_loss_stars_go_through_the_oracle(vector):
    pairs = ((vector['gamma'], vector['beta']),)
    focal, star = build_losses([], pairs, vector['alpha'])
    assert not focal
    check(*star.values(), vector)


def test_gammas_that_differ_in_the_last_digits_are_two_lines():
    stars = ((4.0, 1.0), (4.0, 1.0000001))
    focal, star = build_losses([2.0, 2.0000001], stars, None)
    assert [loss.gamma for loss in focal.values()] == [2.0, 2.0000001]
    assert [loss.beta for loss in star.values()] == [1, 1.0000001]


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['--gamma', 2],
        ['--gamma', '0,2', '--star', '2,1', '--star', '4,0', '--alpha', 0.25],
    ],
)
def test_a_picture_is_drawn(tmp_path, arguments):
    out = tmp_path / 'curves.png'
    assert str(out) in run('--out', out, *arguments)
    assert cv2.imread(str(out)).std() > 0


@pytest.mark.parametrize(
    ('arguments', 'message', 'code'),
    [
        (['--gamma', '-1'], 'at least 0', 1),
        (['--gamma', 'nan'], 'at least 0', 1),
        (['--gamma', 'two'], 'not numbers', 2),
        (['--alpha', '2'], 'in [0, 1]', 1),
        (['--alpha', 'some'], 'or none', 1),
        (['--star', '0,1'], 'divides by gamma', 1),
        (['--star', '2'], 'not 2 numbers', 2),
    ],
)
def test_bad_numbers_say_the_way_out(tmp_path, arguments, message, code):
    out = tmp_path / 'curves.png'
    assert message in run('--out', out, *arguments, code=code)
    assert not out.exists()


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    assert 'no folder' in run('--out', tmp_path / 'none' / 'x.png', code=1)
    message = run('--out', tmp_path / 'curves.what', code=1)
    assert "'what' is not supported" in message
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_is_an_error_and_leaves_what_was(
    tmp_path, monkeypatch
):
    out = tmp_path / 'curves.png'
    out.write_bytes(b'before')

    def full(self, content):
        raise OSError(errno.ENOSPC, 'No space left', str(self))

    monkeypatch.setattr(Path, 'write_bytes', full)
    assert 'Error: [Errno 28] No space left' in run('--out', out, code=1)
    assert out.read_bytes() == b'before'
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ('name', 'start'),
    [('a.svg', b'<?xml'), ('a.PDF', b'%PDF'), ('plain', b'\x89PNG')],
)
def test_the_ending_chooses_the_format(tmp_path, name, start):
    run('--out', tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ('alpha', 'top'), [(None, 5), (0.25, 1.25), (1, 5), (0, 5)]
)
def test_the_ordinate_is_scaled_as_the_loss(monkeypatch, alpha, top):
    figures = []
    monkeypatch.setattr(
        loss_pictures, 'encoded', lambda figure, format: figures.append(figure)
    )
    draw(build_losses([0, 2], (), alpha), alpha, 'png')
    assert figures[0].axes[0].get_ylim() == (0, top)

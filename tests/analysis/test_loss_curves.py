"""Focal losses and their gradients, as they are drawn."""

import pytest
import torch
from numpy.testing import assert_allclose

from mmdet_retina_plus.analysis import loss_pictures
from mmdet_retina_plus.analysis.loss_curves import (
    build_losses,
    draw_loss_curves,
    loss_and_gradient,
)
from tests.helpers.oracles import read_oracle


def positives(name):
    vectors = read_oracle(name)['vectors']
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
    ('alpha', 'top'), [(None, 5), (0.25, 1.25), (1, 5), (0, 5)]
)
def test_the_ordinate_is_scaled_as_the_loss(monkeypatch, alpha, top):
    figures = []
    monkeypatch.setattr(
        loss_pictures, 'encoded', lambda figure, format: figures.append(figure)
    )
    draw_loss_curves(build_losses([0, 2], (), alpha), alpha, 'png')
    assert figures[0].axes[0].get_ylim() == (0, top)

import re

import pytest
import torch
from mmdet.models.losses import SmoothL1Loss
from torch.testing import assert_close

from mmdet_retina_plus.losses import SelfAdjustingSmoothL1Loss
from tests.helpers.gradients import value_and_gradient
from tests.helpers.oracles import read_oracle
from tests.helpers.processes import in_two_processes


def statistics(loss):
    return loss.running_mean.clone(), loss.running_var.clone()


def boxes(*errors):
    return torch.tensor(errors, dtype=torch.float32).reshape(-1, 4)


@pytest.fixture
def loss():
    return SelfAdjustingSmoothL1Loss()


@pytest.mark.parametrize(
    'steps', read_oracle('self_adjusting_smooth_l1')['runs'], ids=['3b', 'B7']
)
@pytest.mark.parametrize('ignored_rows', [0, 50])
def test_oracle(steps, ignored_rows):
    loss = SelfAdjustingSmoothL1Loss(reduction='sum').double()
    # The buffers began in single precision.
    loss.running_mean.fill_(loss.beta)
    for step in steps:
        errors = torch.tensor(step['errors'], dtype=torch.float64)
        errors = errors.reshape(-1, 4)
        pred = torch.cat([errors, torch.randn(ignored_rows, 4).double()])
        weight = torch.zeros_like(pred)
        weight[: len(errors)] = 1
        value, gradient = value_and_gradient(
            loss, pred, torch.zeros_like(pred), weight
        )
        expected = {
            'sum': value,
            'transition': loss.transition(),
            'mean': loss.running_mean,
            'var': loss.running_var,
            'first_gradient': gradient[:1].squeeze(0),
        }
        for name in expected.keys() & step.keys():
            assert_close(
                expected[name],
                torch.tensor(step[name], dtype=torch.float64),
                rtol=0,
                atol=1e-12,
                msg=lambda text, name=name: f'{name}: {text}',
            )


def test_equals_smooth_l1_of_the_stock_while_the_transition_is_at_its_cap():
    ours = SelfAdjustingSmoothL1Loss(beta=0.11, loss_weight=0.25).eval()
    stock = SmoothL1Loss(beta=0.11, loss_weight=0.25)
    pred, target = torch.randn(2, 20, 4) * 0.2
    weight = (torch.rand(20, 1) > 0.5).float().expand(20, 4)
    for options in (
        {},
        dict(avg_factor=7.0),
        dict(reduction_override='sum'),
        dict(reduction_override='none'),
    ):
        assert_close(
            value_and_gradient(ours, pred, target, weight, **options),
            value_and_gradient(stock, pred, target, weight, **options),
        )


@pytest.mark.parametrize('options', [{}, dict(avg_factor=0.0)])
def test_no_box_costs_zero_and_keeps_statistics_and_graph(loss, options):
    before = statistics(loss)
    value, gradient = value_and_gradient(
        loss, boxes(), boxes(), boxes(), **options
    )
    assert value == 0 and gradient.shape == (0, 4)
    value, gradient = value_and_gradient(
        loss, torch.randn(9, 4), torch.zeros(9, 4), torch.zeros(9), **options
    )
    assert value == 0 and (gradient == 0).all()
    assert_close(statistics(loss), before)


def test_a_single_box_is_no_statistic(loss):
    before = statistics(loss)
    pred = torch.randn(5, 4)
    weight = torch.tensor([0.0, 0, 2.5, 0, 0])
    value, gradient = value_and_gradient(
        loss, pred, torch.zeros(5, 4), weight, avg_factor=1.0
    )
    assert value.isfinite() and (gradient[2] != 0).all()
    assert_close(statistics(loss), before)


def test_size_of_a_weight_does_not_matter_to_statistics():
    pred, target = torch.randn(2, 20, 4)
    one, other = SelfAdjustingSmoothL1Loss(), SelfAdjustingSmoothL1Loss()
    one(pred, target)
    other(pred, target, torch.rand(20) + 0.1)
    assert_close(statistics(one), statistics(other))


def test_a_coordinate_of_weight_zero_does_not_count(loss):
    pred = torch.randn(4, 4)
    weight = torch.tensor(
        [[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 1], [0] * 4]
    )
    loss(pred, torch.zeros(4, 4), weight)
    for coordinate, rows in enumerate(weight.T.bool()):
        errors = pred[rows, coordinate].abs()
        mean, var = loss.running_mean[coordinate], loss.running_var[coordinate]
        if len(errors) > 1:
            assert_close(mean, 0.9 * 0.11 + 0.1 * errors.mean())
            assert_close(var, 0.1 * errors.var())
        else:
            assert mean == torch.tensor(0.11) and var == 0


@pytest.mark.parametrize('error', [torch.nan, torch.inf])
def test_errors_that_are_not_finite_leave_statistics_alone(loss, error):
    loss(torch.randn(5, 4), torch.zeros(5, 4))
    before = statistics(loss)
    pred = torch.randn(5, 4)
    pred[2, 1] = error
    loss(pred, torch.zeros(5, 4))
    assert_close(statistics(loss), before)


def test_statistics_move_in_training_only(loss):
    pred, target = torch.randn(2, 20, 4)
    before = statistics(loss)
    loss.eval()(pred, target)
    assert_close(statistics(loss), before)
    with torch.no_grad():
        loss.train()(pred, target)
    assert (loss.running_mean != before[0]).all()


def test_large_errors_keep_an_exact_variance(loss):
    error = 1e4 + torch.randn(100, 4)
    loss(error, torch.zeros(100, 4))
    assert_close(loss.running_var, 0.1 * error.double().var(0).float())


def test_a_resumed_run_continues_as_if_uninterrupted(loss):
    steps = torch.randn(6, 2, 20, 4) * 0.1
    for pred, target in steps[:3]:
        loss(pred, target)
    resumed = SelfAdjustingSmoothL1Loss()
    resumed.load_state_dict(loss.state_dict())
    for pred, target in steps[3:]:
        assert loss(pred, target) == resumed(pred, target)
    assert_close(statistics(loss), statistics(resumed), rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_single_precision(dtype):
    pred, target = (torch.randn(2, 20, 4) * 0.1).to(dtype)
    one, other = SelfAdjustingSmoothL1Loss(), SelfAdjustingSmoothL1Loss()
    value, gradient = value_and_gradient(one, pred, target)
    exact, exact_gradient = value_and_gradient(
        other, pred.float(), target.float()
    )
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    assert value == exact
    assert_close(gradient, exact_gradient.to(dtype))
    assert_close(statistics(one), statistics(other))
    with torch.autocast('cpu', dtype):
        assert SelfAdjustingSmoothL1Loss()(pred, target) == exact


def test_gradcheck():
    loss = SelfAdjustingSmoothL1Loss(reduction='none').double().eval()
    pred = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randn(6, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (pred, target))


def statistics_by_step(
    rank: int, steps: list[list[tuple[torch.Tensor, ...]]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Statistics of a synchronised loss, after each step.

    Args:
        rank: Rank of this process.
        steps: Arguments of the loss, by step and rank.
    """
    loss = SelfAdjustingSmoothL1Loss(sync=True)
    seen = []
    for step in steps:
        loss(*step[rank])
        seen.append(statistics(loss))
    return seen


def test_synchronised_processes_equal_one_with_all_boxes(tmp_path):
    """Uneven halves; a process without rows; one without a positive."""
    pred, target = torch.randn(2, 3, 9, 4) * 0.1
    weight = torch.ones(3, 9)
    weight[2, 4:] = 0
    parts = [slice(0, 4), slice(4, 9)], [slice(0, 9), slice(9, 9)]
    steps = [
        [(pred[i, rows], target[i, rows], weight[i, rows]) for rows in part]
        for i, part in enumerate((parts[0], parts[1], parts[0]))
    ]
    alone = SelfAdjustingSmoothL1Loss(sync=True)
    expected = []
    for i in range(3):
        alone(pred[i], target[i], weight[i])
        expected.append(statistics(alone))
    for seen in in_two_processes(tmp_path, statistics_by_step, steps):
        assert_close(seen, expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(beta=0.0), 'use 0 < beta_min <= beta'),
        (dict(beta=float('nan')), 'beta is nan'),
        (dict(beta=float('inf')), 'beta is inf'),
        (dict(beta_min=0.0), 'beta_min is 0.0'),
        (dict(beta_min=0.2), 'beta_min is 0.2'),
        (dict(momentum=1.1), 'momentum is 1.1'),
        (dict(momentum=float('nan')), 'momentum is nan'),
        (dict(num_features=0), 'boxes have 4 coordinates'),
        (dict(reduction='average'), 'use "none", "mean" or "sum"'),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SelfAdjustingSmoothL1Loss(**options)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(pred=torch.zeros(3, 5)), 'or set num_features'),
        (dict(target=torch.zeros(2, 4)), 'or set num_features'),
        (dict(weight=torch.zeros(4)), 'one per row or one per number'),
        (dict(reduction_override='avg'), 'use "none", "mean" or "sum"'),
        (dict(reduction_override='sum', avg_factor=2), 'avg_factor'),
    ],
)
def test_inputs_that_do_not_fit_are_refused(loss, changes, message):
    inputs = dict(pred=torch.zeros(3, 4), target=torch.zeros(3, 4))
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(**{**inputs, **changes})


def test_other_numbers_of_coordinates():
    loss = SelfAdjustingSmoothL1Loss(num_features=5)
    assert loss(torch.randn(3, 5), torch.zeros(3, 5)).isfinite()
    assert loss.transition().shape == (5,)

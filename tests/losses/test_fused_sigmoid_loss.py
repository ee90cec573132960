import re
import tracemalloc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import one_hot
from torch.testing import assert_close

from mmdet_retina_plus.losses import (
    FocalLossStar,
    FusedFocalLoss,
    fused_sigmoid_loss,
)
from tests.helpers.gradients import value_and_gradient

NUM_ANCHORS, NUM_CLASSES = 100, 3
both_losses = pytest.mark.parametrize(
    'loss_type', [FusedFocalLoss, FocalLossStar]
)
reductions = pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])


@pytest.fixture
def pred():
    return torch.randn(NUM_ANCHORS, NUM_CLASSES, dtype=torch.float64) * 4


@pytest.fixture
def labels():
    return torch.randint(0, NUM_CLASSES + 1, (NUM_ANCHORS,))


def shares_of(labels):
    return one_hot(labels, NUM_CLASSES + 1)[:, :NUM_CLASSES]


@both_losses
@reductions
def test_one_hot_rows_equal_labels(loss_type, reduction, pred, labels):
    loss = loss_type(alpha=0.3, reduction=reduction)
    for target in (
        shares_of(labels),
        shares_of(labels).bool(),
        shares_of(labels).double(),
    ):
        assert_close(
            value_and_gradient(loss, pred, target),
            value_and_gradient(loss, pred, labels),
        )


@both_losses
def test_every_integer_type_serves_as_label(loss_type, pred, labels):
    expected = loss_type()(pred, labels)
    for dtype in (torch.uint8, torch.int16, torch.int32):
        assert loss_type()(pred, labels.to(dtype)) == expected


@both_losses
def test_loss_and_gradient_are_linear_in_shares(loss_type, pred):
    loss = loss_type(alpha=0.3, reduction='none')
    share = torch.rand_like(pred)
    positive, background, blend = (
        torch.stack(value_and_gradient(loss, pred, target))
        for target in (torch.ones_like(pred), torch.zeros_like(pred), share)
    )
    assert_close(blend, share * positive + (1 - share) * background)


@both_losses
def test_background_rows_have_only_background_terms(loss_type, pred):
    background = torch.full((NUM_ANCHORS,), NUM_CLASSES)
    value, gradient = value_and_gradient(
        loss_type(alpha=1.0, reduction='none'), pred, background
    )
    assert (value == 0).all() and (gradient == 0).all()
    value, gradient = value_and_gradient(
        loss_type(alpha=0.0, reduction='none'), pred, background
    )
    assert (value > 0).all() and (gradient > 0).all()


@both_losses
def test_alpha_zero_silences_positives(loss_type, pred, labels):
    value, gradient = value_and_gradient(
        loss_type(alpha=0.0, reduction='none'), pred, labels
    )
    positive = shares_of(labels).bool()
    assert (value[positive] == 0).all() and (gradient[positive] == 0).all()
    assert (value[~positive] > 0).all() and (gradient[~positive] > 0).all()


@both_losses
def test_constant_alpha_per_class_equals_the_number(loss_type, pred, labels):
    weight = torch.rand(NUM_ANCHORS)
    for target in (labels, shares_of(labels)):
        assert_close(
            value_and_gradient(
                loss_type(alpha=[0.3] * NUM_CLASSES), pred, target, weight
            ),
            value_and_gradient(loss_type(alpha=0.3), pred, target, weight),
        )


@both_losses
def test_alpha_per_class_acts_on_its_class(loss_type, pred, labels):
    alphas = [0.1, 0.5, 0.8]
    loss = loss_type(alpha=alphas, reduction='none')(pred, labels)
    for column, alpha in enumerate(alphas):
        alone = loss_type(alpha=alpha, reduction='none')(pred, labels)
        assert_close(loss[:, column], alone[:, column])


@both_losses
@reductions
def test_weights_act_in_every_shape_alike(loss_type, reduction, pred, labels):
    loss = loss_type(reduction=reduction)
    weight = torch.rand(NUM_ANCHORS)
    weights = weight[:, None].expand_as(pred)
    expected = value_and_gradient(loss, pred, labels, weight)
    for same in (weight[:, None], weights, weights.reshape(-1)):
        assert_close(value_and_gradient(loss, pred, labels, same), expected)


@both_losses
@given(factors=st.lists(st.floats(-10, 10), min_size=6, max_size=6))
@settings(deadline=None, max_examples=25)
def test_loss_and_gradient_are_linear_in_weights(loss_type, factors):
    loss = loss_type(reduction='none')
    pred = torch.linspace(-3, 4, 6, dtype=torch.float64).reshape(3, 2)
    weight = torch.tensor(factors, dtype=torch.float64).reshape(3, 2)
    for target in (torch.tensor([0, 1, 2]), pred.sigmoid()):
        value, gradient = value_and_gradient(loss, pred, target, weight)
        plain, plain_gradient = value_and_gradient(loss, pred, target)
        assert_close(value, plain * weight)
        assert_close(gradient, plain_gradient * weight)


@both_losses
def test_reductions_are_sums_of_the_elements(loss_type, pred, labels):
    loss = loss_type(loss_weight=0.7)
    weight = torch.rand(NUM_ANCHORS)
    elements, gradient = value_and_gradient(
        loss, pred, labels, weight, reduction_override='none'
    )
    assert elements.shape == pred.shape
    epsilon = torch.finfo(torch.float32).eps
    for divisor, options in (
        (1, dict(reduction_override='sum')),
        (pred.numel(), dict(reduction_override='mean')),
        (7 + epsilon, dict(avg_factor=7)),
        (7 + epsilon, dict(avg_factor=torch.tensor([7.0]).double())),
    ):
        assert_close(
            value_and_gradient(loss, pred, labels, weight, **options),
            (elements.sum() / divisor, gradient / divisor),
        )


@both_losses
def test_order_of_anchors_is_the_order_of_elements(loss_type, pred, labels):
    loss = loss_type(reduction='none')
    order = torch.randperm(NUM_ANCHORS)
    value, gradient = value_and_gradient(loss, pred, labels)
    assert_close(
        value_and_gradient(loss, pred[order], labels[order]),
        (value[order], gradient[order]),
    )


@both_losses
@pytest.mark.parametrize('shape', [(0, 3), (0, 1)])
def test_no_anchors_cost_zero_and_keep_the_graph(loss_type, shape):
    for options in ({}, dict(avg_factor=0.0), dict(reduction_override='sum')):
        value, gradient = value_and_gradient(
            loss_type(), torch.zeros(shape), torch.zeros(0).long(), **options
        )
        assert value == 0
        assert gradient.shape == shape


@both_losses
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_end_of_a_chunk_changes_no_bit(loss_type, dtype, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pred = torch.randn(1000, 7, dtype=dtype) * 5
    labels = torch.randint(0, 8, (1000,))
    loss = loss_type(gamma=1.7, reduction='none')
    for target in (labels, torch.rand_like(pred)):
        whole = value_and_gradient(loss, pred, target)
        monkeypatch.setattr(fused_sigmoid_loss, 'CHUNK_CPU', 7 * 96)
        parts = value_and_gradient(loss, pred, target)
        monkeypatch.undo()
        assert_close(parts, whole, rtol=0, atol=0)
    torch.set_num_threads(threads)


@both_losses
@reductions
@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_gradcheck(loss_type, reduction, gamma):
    loss = loss_type(gamma=gamma, alpha=[0.25, 0.6], reduction=reduction)
    pred = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(5, dtype=torch.float64)
    for target in (torch.tensor([0, 1, 2, 2, 1]), torch.rand(5, 2).double()):
        assert gradcheck(loss, (pred, target, weight))


@both_losses
def test_second_derivative_says_that_there_is_none(loss_type, pred, labels):
    pred.requires_grad_()
    (gradient,) = torch.autograd.grad(
        loss_type()(pred, labels), pred, create_graph=True
    )
    with pytest.raises(RuntimeError, match='no second derivative'):
        gradient.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(gradient.sum(), pred)


@both_losses
@reductions
@pytest.mark.parametrize('torch_can_tell', [True, False])
def test_retained_graph_gives_the_same_gradient_again(
    loss_type, reduction, torch_can_tell, pred, labels, monkeypatch
):
    if not torch_can_tell:
        monkeypatch.setattr(fused_sigmoid_loss, 'keeps_graph', lambda: True)
    pred.requires_grad_()
    value = loss_type(reduction=reduction)(pred, labels).sum()
    value.backward(retain_graph=True)
    once = pred.grad.clone()
    (3 * value).backward(retain_graph=True)
    assert_close(pred.grad, 4 * once)
    pred.grad.zero_()
    value.backward()
    assert_close(pred.grad, once)


@both_losses
def test_backward_keeps_one_number_per_logit_and_hands_it_over(
    loss_type, pred, labels
):
    kept = []
    pred.requires_grad_()
    with saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        value = loss_type()(pred, labels)
    assert sorted(tensor.numel() for tensor in kept) == [0, pred.numel()]
    places = {tensor.data_ptr() for tensor in kept}
    kept.clear()
    value.backward()
    assert pred.grad.data_ptr() in places


@both_losses
def test_logits_are_not_kept_alive(loss_type, labels):
    scale = torch.ones((), requires_grad=True)
    pred = scale * torch.randn(NUM_ANCHORS, NUM_CLASSES)
    watch = weakref.ref(pred)
    value = loss_type()(pred, labels)
    del pred
    assert watch() is None
    value.backward()
    assert scale.grad.isfinite()


@both_losses
def test_no_gradient_costs_no_buffer(loss_type, monkeypatch):
    monkeypatch.setattr(fused_sigmoid_loss, 'CHUNK_CPU', 2**14)
    pred = torch.randn(200_000, 10)
    labels = torch.full((200_000,), 10)

    def numpy_peak(pred):
        tracemalloc.start()
        loss = loss_type()(pred, labels)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak, loss.requires_grad

    size = pred.numel() * pred.element_size()
    wanted = pred.clone().requires_grad_()
    with torch.no_grad():
        peak, differentiable = numpy_peak(wanted)
    assert peak < size / 10 and not differentiable
    peak, differentiable = numpy_peak(pred)
    assert peak < size / 10 and not differentiable
    peak, differentiable = numpy_peak(wanted)
    assert size <= peak < 1.1 * size and differentiable


@both_losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_single_precision(loss_type, dtype, labels):
    pred = (torch.randn(NUM_ANCHORS, NUM_CLASSES) * 10).to(dtype)
    weight = torch.rand(NUM_ANCHORS).to(dtype)
    for target in (labels, shares_of(labels).to(dtype)):
        value, gradient = value_and_gradient(
            loss_type(), pred, target, weight, avg_factor=3.0
        )
        exact, exact_gradient = value_and_gradient(
            loss_type(), pred.float(), target, weight.float(), avg_factor=3.0
        )
        assert value == exact and value.dtype == torch.float32
        assert gradient.dtype == dtype
        assert (gradient == exact_gradient.to(dtype)).all()


@both_losses
def test_half_gradient_is_rounded_after_it_is_scaled(loss_type):
    pred = torch.full((1, 1), -7.0, dtype=torch.float16, requires_grad=True)
    background = torch.ones(1).long()
    loss = loss_type(gamma=3.0)(pred, background, avg_factor=1e4)
    (gradient,) = torch.autograd.grad(loss * 2**30, pred)
    assert gradient > 0


@both_losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(loss_type, dtype, labels):
    pred = torch.randn(NUM_ANCHORS, NUM_CLASSES)
    for target in (labels, shares_of(labels).float()):
        expected = value_and_gradient(loss_type(), pred, target)
        with torch.autocast('cpu', dtype):
            assert_close(
                value_and_gradient(loss_type(), pred, target),
                expected,
                rtol=0,
                atol=0,
            )


@both_losses
def test_layout_of_logits_is_free(loss_type, pred, labels):
    assert_close(
        value_and_gradient(loss_type(), pred.t().contiguous().t(), labels),
        value_and_gradient(loss_type(), pred, labels),
    )


@both_losses
@pytest.mark.parametrize('dtype', [torch.float64, torch.int64, torch.bool])
def test_type_of_weights_is_free(loss_type, dtype, pred, labels):
    weight = torch.randint(0, 2, (NUM_ANCHORS,))
    for target in (labels, shares_of(labels)):
        expected = value_and_gradient(
            loss_type(), pred.float(), target, weight.float()
        )
        result = value_and_gradient(
            loss_type(), pred.float(), target, weight.to(dtype)
        )
        assert_close(result, expected)


@both_losses
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(use_sigmoid=False), 'set use_sigmoid=True'),
        (dict(gamma=-0.1), 'gamma is -0.1'),
        (dict(gamma=float('nan')), 'gamma is nan'),
        (dict(gamma='2'), 'gamma is 2'),
        (dict(alpha='0.25'), 'alpha is 0.25'),
        (dict(gamma=float('inf')), 'gamma is inf'),
        (dict(alpha=-0.1), 'alpha is -0.1: give a number in [0, 1]'),
        (dict(alpha=1.1), 'alpha is 1.1'),
        (dict(alpha=float('nan')), 'alpha is nan'),
        (dict(alpha=[0.1, float('inf')]), 'alpha is [0.1, inf]'),
        (dict(alpha=[]), 'one such per class'),
        (dict(reduction='average'), 'use "none", "mean" or "sum"'),
    ],
)
def test_options_out_of_range_are_refused(loss_type, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        loss_type(**options)


@both_losses
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(pred=torch.zeros(4)), 'shape (anchors, classes)'),
        (dict(pred=torch.zeros(1, 4, 2)), 'shape (anchors, classes)'),
        (dict(pred=torch.zeros(4, 2).long()), 'floating point'),
        (dict(target=torch.tensor([0, 1, 2, 3])), 'span [0, 3]'),
        (dict(target=torch.tensor([0, 1, 2, -1])), 'background last'),
        (dict(target=torch.zeros(4)), 'use integers'),
        (dict(target=torch.zeros(4).bool()), 'use integers'),
        (dict(target=torch.zeros(3).long()), 'one label per anchor'),
        (dict(target=torch.zeros(4, 3)), 'one target per logit'),
        (dict(target=torch.full((4, 2), 1.5)), 'are probabilities'),
        (dict(target=torch.full((4, 2), torch.nan)), 'are probabilities'),
        (dict(target=torch.zeros(4, 2, requires_grad=True)), 'targets: detac'),
        (dict(weight=torch.zeros(3)), 'one per row or one per number'),
        (dict(weight=torch.zeros(2, 4)), 'one per row or one per number'),
        (dict(weight=torch.zeros(4, requires_grad=True)), 'weights: detach()'),
        (dict(reduction_override='avg'), 'use "none", "mean" or "sum"'),
        (dict(reduction_override='sum', avg_factor=2), 'use reduction="mean"'),
    ],
)
def test_inputs_that_do_not_fit_are_refused(loss_type, changes, message):
    inputs = dict(pred=torch.zeros(4, 2), target=torch.tensor([0, 1, 2, 2]))
    with pytest.raises(ValueError, match=re.escape(message)):
        loss_type()(**{**inputs, **changes})


@both_losses
def test_alpha_of_another_number_of_classes_is_refused(loss_type, pred):
    with pytest.raises(ValueError, match='2 entries for 3 classes'):
        loss_type(alpha=[0.1, 0.2])(pred, torch.zeros(NUM_ANCHORS).long())

"""Both losses by kernels, against the torch path and 50 digits."""

import subprocess
import sys
from functools import partial

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close

from mmdet_retina_plus.kernels import sigmoid_loss
from mmdet_retina_plus.losses import FocalLossStar, FusedFocalLoss
from tests.helpers.gradients import value_and_gradient
from tests.helpers.kernels import by_kernels
from tests.helpers.oracles import exact_focal

both_losses = pytest.mark.parametrize(
    'loss_type', [FusedFocalLoss, FocalLossStar]
)
TINY = torch.finfo(torch.float32).tiny
SCENES = st.fixed_dictionaries(
    dict(
        seed=st.integers(0, 2**31),
        anchors=st.integers(1, 300),
        classes=st.sampled_from([1, 2, 3, 7, 16, 20, 80, 91]),
        soft=st.booleans(),
        weighted=st.sampled_from(['', 'anchor', 'column', 'each', 'flat']),
        integers=st.booleans(),
    )
)
OPTIONS = st.fixed_dictionaries(
    dict(
        gamma=st.sampled_from([0.5, 1, 2, 2.0, 3.7]),
        alpha=st.sampled_from([None, 0.25, 1, 'per class']),
        reduction=st.sampled_from(['none', 'mean', 'sum']),
        loss_weight=st.sampled_from([1, 0.3]),
    )
)


def draw(
    seed: int,
    anchors: int,
    classes: int,
    soft: bool,
    weighted: str,
    integers: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Logits, targets and weights."""
    torch.manual_seed(seed)
    pred = torch.randn(anchors, classes) * 4
    target = torch.randint(0, classes + 1, (anchors,))
    if soft:
        target = torch.rand(anchors, classes)
    elif integers:
        target = target.to(torch.uint8)
    shape = dict(
        anchor=(anchors,),
        column=(anchors, 1),
        each=(anchors, classes),
        flat=(anchors * classes,),
    )
    weight = torch.rand(shape[weighted]) if weighted else None
    if integers and weight is not None:
        weight = weight > 0.3
    return pred, target, weight


def exact_star(logit, target, gamma, alpha, beta=1.0):
    """Loss and gradient of FL* by the definition, in 50 digits."""
    with mpmath.workdps(50):
        sign = 1 if target else -1
        margin = sign * mpmath.mpf(gamma) * logit + beta
        alpha_t = mpmath.mpf(alpha) if target else 1 - mpmath.mpf(alpha)
        value = alpha_t * mpmath.log1p(mpmath.exp(-margin)) / gamma
        slope = -sign * alpha_t / (1 + mpmath.exp(margin))
        return float(value), float(slope)


@pytest.mark.parametrize('target', [0, 1])
@pytest.mark.parametrize('soft', [False, True])
@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_fifty_digits_agree(device, target, soft, data):
    gamma = data.draw(st.floats(0, 100) | st.sampled_from([0, 0.5, 1, 2, 5]))
    alpha = data.draw(st.floats(0, 1))
    logits = data.draw(
        st.lists(st.floats(-90, 90, width=32), min_size=35, max_size=35)
    )
    targets = torch.full((35, 1), target, device=device)
    with by_kernels(device):
        result = value_and_gradient(
            FusedFocalLoss(gamma=gamma, alpha=alpha, reduction='none'),
            torch.tensor(logits, device=device)[:, None],
            targets if soft else 1 - targets.squeeze(1),
        )
    expected = [exact_focal(logit, target, gamma, alpha) for logit in logits]
    assert_close(
        torch.cat(result, dim=1).double().cpu(),
        torch.tensor(expected, dtype=torch.float64),
        rtol=2e-5,
        # Below its normal numbers a format has no relative precision.
        atol=TINY,
    )


def test_gradients_count_where_the_power_alone_rounds_to_zero(device):
    gamma = 75.0
    logits = torch.linspace(0.5, 1.5, 400)
    with by_kernels(device):
        _, grad = value_and_gradient(
            FusedFocalLoss(gamma=gamma, alpha=1.0, reduction='sum'),
            logits.to(device)[:, None],
            torch.zeros(len(logits), dtype=torch.long, device=device),
        )
    expected = [exact_focal(x, 1, gamma, 1.0)[1] for x in logits.tolist()]
    expected = torch.tensor(expected, dtype=torch.float64)[:, None]
    assert (expected.abs() < TINY).any() and (expected.abs() > TINY).any()
    assert_close(grad.double().cpu(), expected, rtol=2e-5, atol=TINY)


@pytest.mark.parametrize('target', [0, 1])
@given(
    logits=st.lists(st.floats(-40, 40, width=32), min_size=35, max_size=35),
    gamma=st.floats(0.25, 2, width=32),
    alpha=st.floats(0, 1),
)
@settings(deadline=None, max_examples=15)
def test_fifty_digits_agree_with_the_star(
    device, target, logits, gamma, alpha
):
    with by_kernels(device):
        result = value_and_gradient(
            FocalLossStar(gamma=gamma, alpha=alpha, reduction='none'),
            torch.tensor(logits, device=device)[:, None],
            torch.full((35,), 1 - target, device=device),
        )
    expected = [exact_star(logit, target, gamma, alpha) for logit in logits]
    assert_close(
        torch.cat(result, dim=1).double().cpu(),
        torch.tensor(expected, dtype=torch.float64),
        rtol=2e-5,
        atol=TINY,
    )


@both_losses
@given(scene=SCENES, options=OPTIONS, divided=st.booleans())
@settings(deadline=None, max_examples=15)
def test_equals_the_torch_path(device, loss_type, scene, options, divided):
    pred, target, weight = draw(**scene)
    if options['alpha'] == 'per class':
        options['alpha'] = torch.rand(pred.size(1)).tolist()
    loss = loss_type(**options)
    factor = 7.5 if divided and options['reduction'] != 'sum' else None
    expected = value_and_gradient(
        loss, pred.double(), target, weight, avg_factor=factor
    )
    if factor:
        factor = torch.tensor(factor, device=device)
    with by_kernels(device):
        value, gradient = value_and_gradient(
            loss,
            pred.to(device),
            target.to(device),
            None if weight is None else weight.to(device),
            avg_factor=factor,
        )
    assert value.dtype == gradient.dtype == torch.float32
    assert_close(value.cpu().double(), expected[0], rtol=2e-5, atol=TINY)
    # The two terms of a soft target may cancel.
    scale = expected[1].abs().max().item() * scene['soft']
    assert_close(
        gradient.cpu().double(), expected[1], rtol=2e-5, atol=1e-6 * scale
    )


@both_losses
def test_more_tiles_than_programs_and_many_partial_sums(
    device, loss_type, monkeypatch
):
    monkeypatch.setattr(sigmoid_loss, 'TILE', 64)
    monkeypatch.setattr(sigmoid_loss, 'FINISH_BLOCK', 4)
    pred, target, weight = draw(0, 133, 7, False, 'anchor', False)
    expected = value_and_gradient(loss_type(), pred, target, weight)
    for programs in (1, 3, 2**14):
        monkeypatch.setattr(sigmoid_loss, 'MAX_PROGRAMS', programs)
        with by_kernels(device):
            result = value_and_gradient(
                loss_type(),
                pred.to(device),
                target.to(device),
                weight.to(device),
            )
        assert_close(result, tuple(x.to(device) for x in expected))


@pytest.mark.parametrize('anchors', [20, 2**31 // 1203 + 20])
def test_the_last_of_many_logits_count(device, anchors):
    """Also if 32 bits cannot number them."""
    if anchors > 20 and device.type != 'cuda':
        pytest.skip('only a GPU is fast enough')
    pred = torch.full(
        (anchors, 1203), -4.0, device=device, dtype=torch.bfloat16
    )
    labels = torch.full((anchors,), 1203, device=device)
    weight = torch.zeros(anchors, device=device)
    last = slice(anchors - 9, anchors)
    pred[last].normal_()
    labels[last] = torch.arange(9, device=device)
    weight[last] = 1
    loss = partial(FusedFocalLoss(), avg_factor=1.0)
    with by_kernels(device):
        value, gradient = value_and_gradient(loss, pred, labels, weight)
        expected = value_and_gradient(
            loss, pred[last], labels[last], weight[last]
        )
    assert_close(value, expected[0])
    assert_close(gradient[last], expected[1], rtol=0, atol=0)
    assert not gradient[:-9].any()


@both_losses
def test_every_run_gives_the_same_bits(device, loss_type):
    pred, target, weight = draw(0, 300, 80, False, 'anchor', False)
    inputs = [x.to(device) for x in (pred, target, weight)]
    with by_kernels(device):
        first, again = (
            value_and_gradient(loss_type(), *inputs) for _ in range(2)
        )
    assert_close(again, first, rtol=0, atol=0)


@both_losses
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('soft', [False, True])
def test_halves_are_computed_in_single_precision(
    device, loss_type, dtype, soft
):
    pred, target, weight = draw(0, 100, 20, soft, 'anchor', False)
    inputs = [pred.to(dtype), target, weight.to(dtype)]
    if soft:
        inputs[1] = target.to(dtype)
    inputs = [x.to(device) for x in inputs]
    single = [x.float() if x.is_floating_point() else x for x in inputs]
    with by_kernels(device):
        for reduction in ('mean', 'none'):
            loss = partial(loss_type(), reduction_override=reduction)
            value, gradient = value_and_gradient(loss, *inputs)
            exact, exact_gradient = value_and_gradient(loss, *single)
            assert value.dtype == torch.float32
            assert_close(value, exact, rtol=1e-6, atol=0)
            # The last digit: the interpreter cuts it off a bfloat16.
            kind = torch.finfo(dtype)
            assert_close(
                gradient,
                exact_gradient.to(dtype),
                rtol=kind.eps,
                atol=kind.eps * kind.tiny,
            )


@both_losses
def test_half_gradient_is_rounded_after_it_is_scaled(device, loss_type):
    pred = torch.full((1, 1), -7.0, dtype=torch.float16, device=device)
    pred.requires_grad_()
    background = torch.ones(1, device=device).long()
    with by_kernels(device):
        loss = loss_type(gamma=3.0)(pred, background, avg_factor=1e4)
        (gradient,) = torch.autograd.grad(loss * 2**30, pred)
    assert gradient > 0


@both_losses
def test_upstream_gradients_of_elements_are_met(device, loss_type):
    pred, target, _ = draw(0, 50, 3, False, '', False)
    upstream = torch.randn_like(pred)
    loss = loss_type(reduction='none')
    pred.requires_grad_()
    (expected,) = torch.autograd.grad(loss(pred, target), pred, upstream)
    moved = pred.detach().to(device).requires_grad_()
    with by_kernels(device):
        value = loss(moved, target.to(device))
        (gradient,) = torch.autograd.grad(value, moved, upstream.to(device))
    assert_close(gradient.cpu(), expected)


@both_losses
@pytest.mark.parametrize('shape', [(0, 3), (0, 1), (3, 0)])
def test_nothing_costs_zero_and_keeps_the_graph(device, loss_type, shape):
    pred = torch.zeros(shape, device=device)
    labels = torch.zeros(shape[0], device=device).long()
    with by_kernels(device):
        for options in (
            {},
            dict(avg_factor=0.0),
            dict(reduction_override='sum'),
        ):
            value, gradient = value_and_gradient(
                loss_type(), pred, labels, **options
            )
            assert value == 0
            assert gradient.shape == shape
        loss = partial(loss_type(), reduction_override='none')
        assert value_and_gradient(loss, pred, labels)[0].shape == shape


@both_losses
def test_layout_of_logits_is_free(device, loss_type):
    pred, target, _ = draw(0, 50, 3, False, '', False)
    pred, target = pred.to(device), target.to(device)
    with by_kernels(device):
        expected = value_and_gradient(loss_type(), pred, target)
        turned = pred.t().contiguous().t().requires_grad_()
        value = loss_type()(turned, target)
        value.backward()
    assert_close((value, turned.grad), expected, rtol=0, atol=0)


@both_losses
def test_backward_keeps_the_logits_and_nothing_of_their_size(
    device, loss_type
):
    kept = []
    pred, target, _ = draw(0, 50, 3, False, '', False)
    pred, target = pred.to(device).requires_grad_(), target.to(device)
    with (
        by_kernels(device),
        saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x),
    ):
        loss_type()(pred, target)
    inputs = {pred.data_ptr(), target.data_ptr()}
    assert {tensor.data_ptr() for tensor in kept} == inputs


@both_losses
def test_retained_graph_gives_the_same_gradient_again(device, loss_type):
    pred, target, _ = draw(0, 50, 3, False, '', False)
    pred = pred.to(device).requires_grad_()
    with by_kernels(device):
        value = loss_type()(pred, target.to(device))
        value.backward(retain_graph=True)
        once = pred.grad.clone()
        (3 * value).backward()
    assert_close(pred.grad, 4 * once)


@both_losses
def test_second_derivative_says_that_there_is_none(device, loss_type):
    pred, target, _ = draw(0, 50, 3, False, '', False)
    pred = pred.to(device).requires_grad_()
    with by_kernels(device):
        (gradient,) = torch.autograd.grad(
            loss_type()(pred, target.to(device)), pred, create_graph=True
        )
        with pytest.raises(RuntimeError, match='no second derivative'):
            gradient.sum().backward()


BAD = [
    torch.tensor([0, 1, 2, 3]),
    torch.tensor([0, 1, 2, -1]),
    torch.tensor([0, 1, 2, 2**32]),
    torch.tensor([0, 1, 2, 3]).to(torch.uint8),
    torch.full((4, 2), 1.5),
    torch.full((4, 2), -0.1),
    torch.full((4, 2), torch.nan),
]


@pytest.mark.parametrize('per_element', [False, True])
@pytest.mark.parametrize('target', BAD, ids=lambda x: str(x.flatten()[-1:]))
def test_targets_out_of_range_are_seen(device, target, per_element):
    def valid(target: torch.Tensor) -> torch.Tensor:
        loss = sigmoid_loss.SigmoidLoss(
            *(False, 2.0, 0.0, ((1.0,), (1.0,))),
            *(target.to(device), None, 1.0, per_element),
        )
        return loss.value(torch.zeros(len(target), 2, device=device))[1]

    assert not valid(target)
    # One among many, and the ends of the range.
    many = target[:3].repeat_interleave(1000, dim=0).clamp(0, 1)
    many = many.nan_to_num(0)
    assert valid(many)
    assert not valid(torch.cat([many, target]))


def test_targets_out_of_range_stop_a_gpu(card):
    """In a process of its own, whose card is of no use after that."""
    code = (
        'import torch; from mmdet_retina_plus.losses import FusedFocalLoss\n'
        'pred = torch.zeros(4, 2).cuda()\n'
        'FusedFocalLoss()(pred, torch.tensor([0, 1, 2, 3]).cuda())\n'
        'torch.cuda.synchronize()\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert result.returncode
    assert 'background last' in result.stderr
    assert 'device-side assert' in result.stderr


@both_losses
@pytest.mark.parametrize('alpha', [0.25, [0.1, 0.2, 0.3]])
def test_nothing_waits_for_the_gpu(card, loss_type, alpha):
    pred, target, weight = (
        x.to(card) for x in draw(0, 3000, 3, False, 'anchor', False)
    )
    factor = torch.tensor(7, device=card)
    pred.requires_grad_()
    for mode in ('default', 'error'):
        # The first time copies what later steps find.
        torch.cuda.set_sync_debug_mode(mode)
        try:
            loss = loss_type(alpha=alpha)(
                pred, target, weight, avg_factor=factor
            )
            loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode('default')


@both_losses
def test_double_precision_stays_with_torch(device, loss_type):
    pred, target, _ = draw(0, 50, 3, False, '', False)
    pred, target = pred.double(), target
    expected = value_and_gradient(loss_type(), pred, target)
    result = value_and_gradient(
        loss_type(), pred.to(device), target.to(device)
    )
    assert_close(tuple(x.cpu() for x in result), expected)


@pytest.mark.parametrize('changed', ['target', 'weight'])
def test_what_changes_before_backward_is_an_error(device, changed):
    pred, target, weight = draw(0, 20, 3, False, 'anchor', False)
    inputs = dict(target=target.to(device), weight=weight.to(device))
    with by_kernels(device):
        value = FusedFocalLoss()(pred.to(device).requires_grad_(), **inputs)
        inputs[changed].zero_()
        with pytest.raises(RuntimeError, match='modified by an inplace'):
            value.backward()

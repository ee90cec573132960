import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS
from torch import Tensor
from torch.testing import assert_close

from mmdet_retina_plus.losses.batch_dice_ce_loss import (
    BatchDiceCELoss,
    batch_dice_ce_loss,
)
from tests.helpers.oracles import read_oracle

ORACLE = read_oracle('batch_dice_ce')
LOGITS = torch.tensor(ORACLE['logits'], dtype=torch.float64)
LABELS = torch.tensor(ORACLE['labels'])


def dice_part(logits: Tensor, labels: Tensor, **options) -> float:
    """Dice loss alone, since the loss is half of it and cross entropy."""
    total = batch_dice_ce_loss(logits, labels, **options)
    cross_entropy = F.cross_entropy(logits, labels, ignore_index=255)
    return (2 * total - cross_entropy).item()


def by_hand(logits: Tensor, labels: Tensor) -> Tensor:
    """The formula, pixel by pixel."""
    num_classes = logits.size(1)
    pixels = logits.permute(0, 2, 3, 1).reshape(-1, num_classes)
    truth = labels.flatten()
    pixels, truth = pixels[truth != 255], truth[truth != 255]
    prob = pixels.exp() / pixels.exp().sum(dim=1, keepdim=True)
    cross_entropy = sum(
        -p[label].log() for p, label in zip(prob, truth, strict=True)
    ) / max(len(truth), 1)
    dice = [
        (2 * prob[truth == c, c].sum() + 1e-6)
        / (prob[:, c].sum() + (truth == c).sum() + 1e-6)
        for c in range(1, num_classes)
    ]
    return (1 - sum(dice) / len(dice) + cross_entropy) / 2


def test_oracle():
    loss = MODELS.build(dict(type='BatchDiceCELoss'))
    value = loss(LOGITS, LABELS).item()
    assert value == pytest.approx(ORACLE['loss'], abs=1e-12)
    dice = 1 - dice_part(LOGITS, LABELS)
    assert dice == pytest.approx(sum(ORACLE['dice'][1:]) / 2, abs=1e-8)


def test_dice_is_the_batchs_and_not_the_images():
    dice = 1 - dice_part(LOGITS, LABELS)
    assert abs(dice - ORACLE['per_image_dice']) > 0.05
    separate = [
        1 - dice_part(LOGITS[i : i + 1], LABELS[i : i + 1]) for i in range(2)
    ]
    assert sum(separate) / 2 == pytest.approx(
        ORACLE['per_image_dice'], abs=1e-6
    )


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_it_is_the_formula(seed, num_classes):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(
        2, num_classes, 3, 5, generator=generator, dtype=torch.float64
    )
    labels = torch.randint(num_classes + 1, (2, 3, 5), generator=generator)
    labels[labels == num_classes] = 255
    assert_close(
        batch_dice_ce_loss(logits, labels),
        by_hand(logits, labels),
        rtol=1e-10,
        atol=1e-10,
    )


def test_gradients_equal_finite_differences():
    logits = LOGITS.clone().requires_grad_()
    labels = LABELS.clone()
    labels[0, 0, 0] = 255
    assert torch.autograd.gradcheck(
        lambda pred: batch_dice_ce_loss(pred, labels), logits
    )


def test_ignored_pixels_leave_both_terms():
    logits = torch.randn(2, 3, 4, 4)
    labels = torch.randint(3, (2, 4, 4))
    labels[:, 2:] = 255
    changed = logits.clone()
    changed[:, :, 2:] = 7 * torch.randn(2, 3, 2, 4)
    assert_close(
        batch_dice_ce_loss(logits, labels), batch_dice_ce_loss(changed, labels)
    )
    assert_close(
        batch_dice_ce_loss(logits, labels),
        batch_dice_ce_loss(logits[:, :, :2], labels[:, :2]),
    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_nothing_valid_is_zero_with_a_gradient_of_zero(dtype):
    logits = torch.randn(2, 3, 4, 4, dtype=dtype, requires_grad=True)
    loss = BatchDiceCELoss()(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_a_perfect_prediction_costs_nothing():
    labels = torch.randint(3, (2, 8, 8))
    logits = 60.0 * F.one_hot(labels, 3).permute(0, 3, 1, 2)
    assert batch_dice_ce_loss(logits, labels).abs() < 1e-6


def test_an_absent_class_holds_dice_near_one_unless_it_is_skipped():
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    logits = torch.zeros(1, 2, 64, 64, dtype=torch.float64)
    logits[:, 0] = 9.21024  # p = 1e-4 for the object
    assert dice_part(logits, labels) == pytest.approx(1, abs=1e-5)
    assert dice_part(logits, labels, skip_absent=True) == pytest.approx(
        0, abs=1e-12
    )


def test_a_class_that_is_present_is_not_skipped():
    assert_close(
        batch_dice_ce_loss(LOGITS, LABELS),
        batch_dice_ce_loss(LOGITS, LABELS, skip_absent=True),
    )


def test_sums_of_many_pixels_do_not_overflow_half_precision():
    logits = torch.randn(1, 2, 512, 512)
    labels = (torch.rand(1, 512, 512) < 0.5).long()
    expected = batch_dice_ce_loss(logits, labels)
    with torch.autocast('cpu', torch.bfloat16):
        assert_close(batch_dice_ce_loss(logits, labels), expected)
    half = batch_dice_ce_loss(logits.half(), labels)
    assert half.dtype == torch.float32
    assert_close(half, expected, rtol=1e-3, atol=1e-4)


def test_weights_of_zero_and_one_are_a_choice_of_pixels_in_dice():
    """Cross entropy divides by the pixels that have labels, as mmdet does."""
    labels = LABELS.clone()
    chosen = torch.tensor([[[1.0, 1], [0, 1]], [[1, 0], [1, 1]]]).double()
    weighted = batch_dice_ce_loss(
        LOGITS, labels, chosen, avg_factor=chosen.sum()
    )
    labels[chosen == 0] = 255
    assert_close(weighted, batch_dice_ce_loss(LOGITS, labels))


def test_loss_weight_scales():
    assert_close(
        BatchDiceCELoss(loss_weight=3.0)(LOGITS, LABELS),
        3 * batch_dice_ce_loss(LOGITS, LABELS),
    )


def test_labels_may_be_bytes():
    assert_close(
        batch_dice_ce_loss(LOGITS, LABELS.byte()),
        batch_dice_ce_loss(LOGITS, LABELS),
    )


@pytest.mark.parametrize('value', [3, 254, -1])
def test_a_label_without_a_class_names_num_classes(value):
    labels = LABELS.clone()
    labels[0, 0, 0] = value
    with pytest.raises(ValueError, match='num_classes'):
        batch_dice_ce_loss(LOGITS, labels)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: BatchDiceCELoss(smooth=0.0), 'above 0'),
        (
            lambda: BatchDiceCELoss()(
                LOGITS, LABELS, reduction_override='none'
            ),
            'whole batch',
        ),
        (lambda: batch_dice_ce_loss(LOGITS, LABELS[:, :1]), 'per pixel'),
        (lambda: batch_dice_ce_loss(LOGITS[:, :1], LABELS), 'two classes'),
        (
            lambda: batch_dice_ce_loss(LOGITS, LABELS, torch.ones(2)),
            'Weights have',
        ),
    ],
)
def test_bad_input_names_the_way_out(call, message):
    with pytest.raises(ValueError, match=message):
        call()

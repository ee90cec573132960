"""FusedFocalLoss against mmdet's FocalLoss and one plain copy of the logits.

python -m benchmarks.focal_loss --device cpu --threads 1
"""

from collections.abc import Callable
from functools import partial

import click
import torch
import torch.nn.functional as F
from mmdet.models.losses import FocalLoss
from torch import Tensor

from benchmarks.harness import Measurement, describe, measure, print_table
from mmdet_retina_plus.losses import FusedFocalLoss

GAMMA, ALPHA, AVG_FACTOR = 2.0, 0.25, 100.0
# Eight images of 800x1344 pixels, one image, a tenth of one. The largest comes
# first: smaller ones would grow the heap, which saves it page faults.
SIZES = {'cpu': (201_600, 20_160), 'cuda': (1_612_800, 201_600, 20_160)}
GOALS = {1: '>= 15x', 2: '>= 8x'}


class Inputs:
    """Logits with the labels and weights of a head for one image."""

    def __init__(
        self,
        anchors: int,
        classes: int,
        device: str,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.pred = torch.empty(
            anchors, classes, device=device, dtype=dtype, requires_grad=True
        )
        self.labels = torch.full((anchors,), classes, device=device)
        self.labels[::500] = torch.arange(
            len(self.labels[::500]), device=device
        ).remainder(classes)
        self.weight = torch.ones(anchors, device=device)
        self.weight[7::100] = 0
        self.draw()

    @torch.no_grad()
    def draw(self) -> None:
        self.pred.normal_(-4.6, 2)

    def step(self, loss: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        """Forward and backward, as in training."""
        value = loss(
            self.pred, self.labels, self.weight, avg_factor=AVG_FACTOR
        )
        value.backward()
        gradient, self.pred.grad = self.pred.grad, None
        assert gradient is not None
        return value, gradient

    def errors(self, loss: Callable[..., Tensor]) -> tuple[float, float]:
        """Largest relative errors of value and gradient, against float64."""
        value, gradient = self.step(loss)
        exact = value.new_zeros((), dtype=torch.float64)
        worst = exact.clone()
        for rows in torch.arange(len(self.pred), device='cpu').split(20_160):
            rows = slice(int(rows[0]), int(rows[-1]) + 1)
            part, slope = reference(
                self.pred[rows], self.labels[rows], self.weight[rows]
            )
            exact += part
            error = (gradient[rows] - slope).abs() / slope.abs()
            # 0 / 0 means equal; any other NaN must stay visible.
            error[gradient[rows] == slope] = 0
            worst = torch.maximum(worst, error.max())
        return ((value - exact) / exact).abs().item(), worst.item()


def reference(
    pred: Tensor, labels: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Value and gradient of the definition by autograd, in float64."""
    pred = pred.detach().double().requires_grad_()
    positive = F.one_hot(labels, pred.size(1) + 1)[:, :-1].bool()
    logits = torch.where(positive, pred, -pred)
    error = (GAMMA * F.logsigmoid(-logits)).exp()
    alpha = torch.where(positive, ALPHA, 1 - ALPHA) * weight[:, None]
    value = -(alpha * error * F.logsigmoid(logits)).sum() / AVG_FACTOR
    value.backward()
    assert pred.grad is not None
    return value.detach(), pred.grad


def row(
    name: str,
    measured: Measurement,
    stock: Measurement,
    copy: Measurement,
    errors: tuple[float, float] | None = None,
) -> list[str]:
    return [
        name,
        f'{measured.seconds * 1e3:.2f}',
        f'{stock.seconds / measured.seconds:.1f}x',
        f'{measured.seconds / copy.seconds:.2f}',
        f'{measured.megabytes:.1f}',
        *(f'{error:.1e}' for error in errors or ()),
    ]


@click.command()
@click.option('--device', type=click.Choice(['cpu', 'cuda']), default='cpu')
@click.option('--threads', default=1, help='Number of CPU threads.')
@click.option('--classes', default=80)
@click.option('--repeats', default=9)
def main(device: str, threads: int, classes: int, repeats: int) -> None:
    """Print medians of forward and backward, ratios, peak memory, errors."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    stock_loss = FocalLoss(use_sigmoid=True, gamma=GAMMA, alpha=ALPHA)
    fused_loss = FusedFocalLoss(gamma=GAMMA, alpha=ALPHA)
    for anchors in SIZES[device]:
        inputs = Inputs(anchors, classes, device)
        stock, fused, copy = measure(
            (
                partial(inputs.step, stock_loss),
                partial(inputs.step, fused_loss),
                lambda inputs=inputs: inputs.pred.detach().clone(),
            ),
            torch.device(device),
            repeats=repeats,
            prepare=inputs.draw,
        )
        rows = [
            row('FocalLoss', stock, stock, copy, inputs.errors(stock_loss)),
            row(
                'FusedFocalLoss', fused, stock, copy, inputs.errors(fused_loss)
            ),
            row('one copy', copy, stock, copy),
        ]
        if device == 'cpu' and anchors == 201_600 and classes == 80:
            goal = GOALS.get(threads, '')
            rows.append(['goal', '', goal, '<= 2.5', '<= 90', '2e-5', '2e-5'])
        print_table(
            f'Focal loss, {anchors:,} anchors x {classes} classes, '
            + describe(torch.device(device)),
            (
                'forward + backward',
                'median ms',
                'faster',
                'copies',
                'peak MB',
                'value error',
                'gradient error',
            ),
            rows,
        )


if __name__ == '__main__':
    main()

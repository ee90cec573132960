"""Focal losses and their gradients: figure 1 of the focal loss paper."""

from typing import TYPE_CHECKING, Any

from mmdet_retina_plus.common.numbers import show_number

if TYPE_CHECKING:
    from torch import Tensor


def build_losses(
    gammas: list[float],
    stars: tuple[tuple[float, float], ...],
    alpha: float | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build focal losses and FL* losses, by their labels in the figure.

    Raises:
        ValueError: A number is out of its range.
    """
    from mmdet_retina_plus.losses import FocalLossStar, FusedFocalLoss

    focal, star = {}, {}
    for gamma in gammas:
        name = rf'FL, $\gamma$ = {show_number(gamma)}' if gamma else 'CE'
        focal[name] = FusedFocalLoss(gamma=gamma, alpha=alpha)
    for gamma, beta in stars:
        name = rf'FL*, $\gamma$ = {show_number(gamma)}'
        name += rf', $\beta$ = {show_number(beta)}'
        star[name] = FocalLossStar(gamma=gamma, beta=beta, alpha=alpha)
    return focal, star


def loss_and_gradient(loss: Any, logits: 'Tensor') -> tuple[Any, Any]:
    """Loss of positives, and its derivative with respect to the logit.

    Args:
        loss: Module of a sigmoid loss.
        logits: Shape (N,), the paper's x_t, since all labels are positive.

    Returns:
        Two arrays of shape (N,).
    """
    import torch

    x = logits.double()[:, None].requires_grad_()
    labels = torch.zeros(len(x), dtype=torch.long)
    values = loss(x, labels, reduction_override='none')
    (slopes,) = torch.autograd.grad(values.sum(), x)
    return values.detach().numpy()[:, 0], slopes.numpy()[:, 0]


def draw_loss_curves(
    families: tuple[dict, dict], alpha: float | None, format: str
) -> bytes:
    """Plot all losses over p_t and their gradients over x_t.

    Args:
        families: Focal losses and FL* losses, by their labels.
        alpha: Factor of the losses, which also scales the left y axis.
        format: Format of the picture, such as 'png'.
    """
    import torch

    from .loss_pictures import encoded, plot_lines, two_panels

    p = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    x = torch.linspace(-5, 5, 501, dtype=torch.float64)
    figure, (left, right) = two_panels()
    for losses, dashed in zip(families, (False, True), strict=True):
        values = {
            label: (p.numpy(), loss_and_gradient(loss, p.logit())[0])
            for label, loss in losses.items()
        }
        slopes = {
            label: (x.numpy(), loss_and_gradient(loss, x)[1])
            for label, loss in losses.items()
        }
        plot_lines(left, values, dashed)
        plot_lines(right, slopes, dashed)
    given = '' if alpha is None else rf', $\alpha$ = {alpha:g}'
    left.set(
        title=f'Loss of a positive{given}',
        xlabel='probability of the true class, $p_t$',
        ylabel='loss',
        xlim=(0, 1),
        ylim=(0, 5 * (alpha or 1)),  # With an alpha of 0 the loss is 0.
    )
    right.set(
        title='Its gradient',
        xlabel='logit of the true class, $x_t$',
        ylabel='derivative by $x_t$',
        xlim=(-5, 5),
    )
    left.legend(frameon=False)
    return encoded(figure, format)

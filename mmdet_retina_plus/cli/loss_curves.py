"""`retina-plus loss-curves`: focal losses and their gradients, drawn."""

from pathlib import Path

import click

from mmdet_retina_plus.analysis.loss_curves import (
    build_losses,
    draw_loss_curves,
)
from mmdet_retina_plus.common.output_files import check_out, replace

from .errors import errors_as_messages
from .options import NumberList, ascending, gammas_option, out_option


@click.command()
@gammas_option
@click.option(
    '--star',
    'stars',
    multiple=True,
    type=NumberList(2),
    metavar='GAMMA,BETA',
    help='Add FL* with these numbers, such as 2,1 or 4,0 in the paper.',
)
@click.option(
    '--alpha',
    default='none',
    show_default=True,
    help='Factor of the losses, or none.',
)
@out_option('Picture to write.', default='loss_curves.png', show_default=True)
def main(
    gammas: tuple[tuple[float, ...], ...],
    stars: tuple[tuple[float, float], ...],
    alpha: str,
    out: Path,
) -> None:
    """Draw the loss of a positive over p_t, and its gradient over x_t.

    Figure 1 and the appendix of the focal loss paper, computed with
    FusedFocalLoss and FocalLossStar.
    """
    with errors_as_messages():
        check_out(out, ())
        factor = as_number(alpha)
        families = build_losses(ascending(gammas), stars, factor)
        picture = draw_loss_curves(families, factor, out.suffix[1:] or 'png')
        replace(out, picture)
    click.echo(f'{out}')


def as_number(alpha: str) -> float | None:
    """Raises ValueError unless it is a number, or none."""
    if alpha.lower() == 'none':
        return None
    try:
        return float(alpha)
    except ValueError:
        raise ValueError(
            f'--alpha is {alpha!r}: give a number in [0, 1], or none'
        ) from None

"""`retina-plus make-data`: generated training data."""

import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import click

from mmdet_retina_plus.synthetic.presets import (
    DONUT_PRESETS,
    PRESETS,
    DonutPreset,
    Preset,
)

from .errors import errors_as_messages

KINDS: dict[str, Mapping[str, Preset | DonutPreset]] = {
    'shapes': PRESETS,
    'donuts': DONUT_PRESETS,
}
"""A kind is drawn by the function `make_<kind>` of `synthetic.<kind>`."""


def list_presets() -> str:
    """List the presets of every kind with their image sizes."""
    lines = [
        f'{kind}: '
        + ', '.join(f'{name} {style.size}' for name, style in presets.items())
        for kind, presets in KINDS.items()
    ]
    # click does not rewrap a paragraph that starts with this mark.
    return '\n'.join(['\b', 'Presets and their image size:', *lines])


@click.command(epilog=list_presets())
@click.argument('kind', type=click.Choice(list(KINDS)))
@click.argument('out', type=click.Path(path_type=Path))
@click.option(
    '--num',
    type=int,
    help='Training images.  [default: shapes 300; donuts 1000]',
)
@click.option(
    '--num-val',
    type=int,
    help='Validation images.  [default: shapes num / 4; donuts 500]',
)
@click.option(
    '--size',
    type=int,
    help="Image side in pixels.  [default: the preset's; see below]",
)
@click.option('--seed', default=0, show_default=True)
@click.option(
    '--preset',
    help='A preset listed below.  [default: the first of the kind]',
)
def main(kind: str, out: Path, **options) -> None:
    """Generate a data set with exact instance masks in the folder OUT.

    shapes are coloured shapes on a noisy background. donuts are the toy tasks
    of Retina U-Net, one disc per image of noise: with or without a hole
    (donuts; pattern if the mask covers the hole), or with two diameters
    (scale). Presets with -2x are twice as large.

    OUT must be new or empty. The command writes images/, instances_train.json
    and instances_val.json in COCO format.
    """
    from rich.progress import track

    # Remove unfinished output at SIGTERM, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given = {name: x for name, x in options.items() if x is not None}
    with errors_as_messages(doctor=True):
        module = import_module(f'mmdet_retina_plus.synthetic.{kind}')
        getattr(module, f'make_{kind}')(out, progress=track, **given)
    click.echo(f'{kind} written to {out}')

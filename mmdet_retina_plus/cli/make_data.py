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
    """The presets of every kind and their image sizes, a line per kind."""
    lines = [
        f'{kind}: '
        + ', '.join(f'{name} {style.size}' for name, style in presets.items())
        for kind, presets in KINDS.items()
    ]
    # click leaves the lines of such a paragraph alone.
    return '\n'.join(['\b', 'Presets and their image size:', *lines])


@click.command(epilog=list_presets())
@click.argument('kind', type=click.Choice(list(KINDS)))
@click.argument('out', type=click.Path(path_type=Path))
@click.option(
    '--num',
    type=int,
    help='Train images.  [default: shapes 300; donuts 1000]',
)
@click.option(
    '--num-val',
    type=int,
    help='Val images.  [default: shapes num / 4; donuts 500]',
)
@click.option(
    '--size',
    type=int,
    help="Image side in pixels.  [default: the preset's; see below]",
)
@click.option('--seed', default=0, show_default=True)
@click.option(
    '--preset',
    help='One of those below.  [default: the first of the kind]',
)
def main(kind: str, out: Path, **options) -> None:
    """Draw a set with exact instance masks into the folder OUT.

    shapes are coloured shapes on a noisy ground. donuts are the toy tasks of
    Retina U-Net, one disc per image of noise: with a hole or without
    (donuts, and pattern where the mask covers the hole), or of two diameters
    (scale); the presets with -2x are twice as large.

    OUT must be new or empty. It receives images/, instances_train.json and
    instances_val.json in COCO format.
    """
    from rich.progress import track

    # What is unfinished goes away at a kill as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given = {name: x for name, x in options.items() if x is not None}
    with errors_as_messages(doctor=True):
        module = import_module(f'mmdet_retina_plus.synthetic.{kind}')
        getattr(module, f'make_{kind}')(out, progress=track, **given)
    click.echo(f'{kind} written to {out}')

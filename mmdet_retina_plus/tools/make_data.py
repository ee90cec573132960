"""`retina-plus make-data`: generated training data."""

import signal
import sys
from pathlib import Path

import click

from mmdet_retina_plus.data.presets import PRESETS


@click.command()
@click.argument('kind', type=click.Choice(['shapes']))
@click.argument('out', type=click.Path(path_type=Path))
@click.option('--num', default=300, show_default=True, help='Train images.')
@click.option('--num-val', type=int, help='Val images.  [default: num / 4]')
@click.option(
    '--size',
    type=int,
    help='Image side in pixels.  [default: '
    + ', '.join(f'{name} {style.size}' for name, style in PRESETS.items())
    + ']',
)
@click.option('--seed', default=0, show_default=True)
@click.option(
    '--preset',
    type=click.Choice(list(PRESETS)),
    default='easy',
    show_default=True,
)
def main(kind: str, out: Path, **options) -> None:
    """Draw coloured shapes with exact instance masks into the folder OUT.

    OUT must be new or empty. It receives images/, instances_train.json and
    instances_val.json in COCO format.
    """
    from rich.progress import track

    # What is unfinished goes away at a kill as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        from mmdet_retina_plus.data.shapes import make_shapes

        make_shapes(out, progress=track, **options)
    except ImportError as error:
        raise click.ClickException(
            f'{error}; `retina-plus doctor` names what to install'
        ) from error
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f'{kind} written to {out}')

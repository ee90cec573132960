"""`retina-plus export`: export a trained detector to ONNX."""

from pathlib import Path

import click

from mmdet_retina_plus.common.text import clause, quantity
from mmdet_retina_plus.inference.export.export_onnx import export_onnx

from .errors import errors_as_messages
from .options import (
    InputFile,
    ManyValues,
    cfg_options_option,
    out_option,
)
from .progress import progress_bar


@click.command(cls=ManyValues)
@click.argument('config', type=InputFile())
@click.argument('checkpoint')
@out_option('ONNX file to write.', required=True)
@click.option(
    '--raw',
    is_flag=True,
    help='Leave out NMS and masks: output the boxes of all anchors and the '
    'scores of all classes.',
)
@click.option(
    '--dynamic',
    is_flag=True,
    help='Accept batches of images of any size.  [default: one image, padded '
    "to the config's size]",
)
@click.option(
    '--fp16',
    is_flag=True,
    help='Compute in half precision; scores may differ by .01, boxes by 1 px.',
)
@click.option(
    '--images',
    help="File, folder or pattern to compare on.  [default: the config's test "
    'images]',
)
@click.option(
    '--num-images',
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help='Number of images to compare on, evenly spread.',
)
@click.option('--overwrite', is_flag=True, help='Replace existing files.')
@cfg_options_option
def main(config: str, checkpoint: str, out: Path, **options) -> None:
    """Write CHECKPOINT of CONFIG as an ONNX file that runs without mmdet.

    The file includes normalisation, decoding and NMS: it takes uint8 RGB
    images and returns boxes, scores, labels and, with a mask branch, masks of
    28 x 28. *_example.py next to it needs only numpy, pillow and onnxruntime.

    The file is first compared with the checkpoint on real images. If a label
    differs, a score by more than 1e-5 or a box by more than .01 px, nothing is
    written.
    """
    with errors_as_messages(doctor=True):
        done = export_onnx(
            config,
            checkpoint,
            out,
            progress=progress_bar('Comparing'),
            **options,
        )
    for kind, shapes in (('in', done.inputs), ('out', done.outputs)):
        for name, shape in shapes.items():
            click.echo(f'{kind:>3}  {name}: {" x ".join(map(str, shape))}')
    gap, limit = done.difference, done.tolerance
    click.echo(
        f'{quantity(done.num_found, "detection")} in '
        f'{quantity(done.num_images, "image")} agree: '
        f'scores within {gap.score:.1g} (allowed {limit.score:g}), boxes '
        f'{gap.box:.1g} px ({limit.box:g})'
        + (
            f', masks {gap.mask:.1g} ({limit.mask:g})'
            if 'masks' in done.outputs
            else ''
        )
    )
    if gap.close_calls:
        click.echo(
            f'Note: {clause(gap.close_calls, "detection", "are")} at a '
            'threshold and found on one side only',
            err=True,
        )
    for line in done.notes:
        click.echo(f'Note: {line}', err=True)
    for file in done.files:
        click.echo(f'Written to {file}')

"""`retina-plus init`: write a config for annotation files and check it."""

from collections.abc import Sequence
from pathlib import Path
from shlex import join, quote
from tempfile import TemporaryDirectory
from typing import Any

import click
from click.core import ParameterSource

from mmdet_retina_plus import __version__
from mmdet_retina_plus.common.output_files import check_out
from mmdet_retina_plus.doctor.findings import any_error

from .doctor import check
from .errors import errors_as_messages
from .options import FiniteRange, out_option
from .progress import progress_bar

FOLDER = click.Path(path_type=Path)
DIVIDING = ('val_fraction', 'seed')
"""Options of the split of ANNOTATIONS, which `--val` replaces."""


@click.command()
@click.argument('annotations', type=FOLDER)
@click.argument('images', type=FOLDER)
@click.option(
    '--val',
    type=FOLDER,
    help='COCO file for validation.  [default: a part of ANNOTATIONS]',
)
@click.option(
    '--val-images',
    type=FOLDER,
    help='Folder of the validation images.  [default: IMAGES]',
)
@click.option(
    '--model',
    metavar='NAME',
    help='Shipped config to start from, see configs/README.md.  [default: '
    'retinamask_r50_fpn, or retinanet_r50_fpn_fl without masks]',
)
@out_option('Config to write.', default='my_config.py', show_default=True)
@click.option(
    '--val-fraction',
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help='Fraction of the images for validation, without --val.',
)
@click.option(
    '--seed',
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help='Seed of this split.',
)
@click.option(
    '--batch-size',
    type=click.IntRange(min=1),
    help="Images per GPU.  [default: the model's]",
)
@click.option('--overwrite', is_flag=True, help='Replace existing files.')
@click.pass_context
def main(
    context: click.Context,
    annotations: Path,
    images: Path,
    out: Path,
    overwrite: bool,
    **options: Any,
) -> None:
    """Write a config that trains a detector on ANNOTATIONS and IMAGES.

    ANNOTATIONS is a COCO file, IMAGES the folder that its file names are
    relative to. Without --val, a part of the images, in proportion for each
    class, is used for validation, and both parts are written next to the
    config. Errors about other formats name the call that converts them.
    Classes, paths, image size, anchors, learning rate and metrics are set from
    the data, with comments. Then `retina-plus doctor --fast` checks the
    config. The exit code is 1 if it finds an error or no config can be
    written.
    """
    with errors_as_messages(doctor=True):
        from mmdet_retina_plus import config
        from mmdet_retina_plus.authoring.plan import make_plan, summary
        from mmdet_retina_plus.authoring.write_config import write

        refuse_idle(context)
        if out.suffix != '.py':
            raise ValueError(f'--out {out} must end in .py')
        may_write([out], annotations, options['val'], overwrite)
        plan = make_plan(annotations, images, out, config, **options)
        may_write(plan.files, annotations, options['val'], overwrite)
        click.echo('\n'.join(summary(plan)))
        plan = fitted(plan)
        version = f'retina-plus {__version__}'
        write(plan, version, command_of(context))
    click.echo(f'Written: {", ".join(map(str, plan.files))}\n')
    if any_error(check(out, (), fast=True, show=None, quiet=False)):
        click.echo(
            '\nFix the errors that doctor reports, then run '
            f'`retina-plus doctor {quote(str(out))}` again.'
        )
        context.exit(1)
    click.echo(f'\nNext: mim train mmdet {quote(str(out))}')


def refuse_idle(context: click.Context) -> None:
    """Refuse options that would do nothing.

    Raises:
        ValueError: An option needs `--val`, or is replaced by it.
    """
    has_val = context.params['val'] is not None
    for name in DIVIDING if has_val else ['val_images']:
        source = context.get_parameter_source(name)
        if source is not ParameterSource.DEFAULT:
            option = '--' + name.replace('_', '-')
            raise ValueError(
                f'{option} does nothing with --val: leave out one of them'
                if has_val
                else f'{option} does nothing without --val: use both'
            )


def may_write(
    files: Sequence[Path],
    annotations: Path,
    val: Path | None,
    overwrite: bool,
) -> None:
    """Refuse files that exist or are inputs.

    Raises:
        ValueError: With the fix.
    """
    for path in files:
        check_out(path, [x for x in (annotations, val) if x is not None])
        if path.exists() and not overwrite:
            raise ValueError(
                f'{path} exists: name another --out, or use --overwrite'
            )


def fitted(plan: Any) -> Any:
    """Copy of a plan with the anchors that `anchor-fit` suggests."""
    from mmdet_retina_plus.analysis.anchor_report import fit_report
    from mmdet_retina_plus.authoring.plan import MOST_POOR
    from mmdet_retina_plus.authoring.write_config import write

    if not plan.base.has_anchors:
        return plan
    with TemporaryDirectory() as folder:
        draft = plan.moved(Path(folder))
        write(draft, '', '')
        report = fit_report(
            str(draft.out), (), progress_bar('Anchors'), MOST_POOR
        )
    return plan.with_anchors(report)


def command_of(context: click.Context) -> str:
    """The command as it was called, without `--overwrite`."""
    words = ['retina-plus', 'init']
    for parameter in context.command.params:
        name = parameter.name or ''
        given = context.get_parameter_source(name)
        if given is not ParameterSource.COMMANDLINE or name == 'overwrite':
            continue
        if isinstance(parameter, click.Option):
            words.append(parameter.opts[0])
        words.append(str(context.params[name]))
    return join(words)

"""`retina-plus evaluate`: AP, errors and scores of a detector."""

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mmdet_retina_plus.common.numbers import show_threshold
from mmdet_retina_plus.inference.result_files import with_names

from .errors import errors_as_messages
from .options import (
    FiniteRange,
    InputFile,
    ManyValues,
    cfg_options_option,
    device_option,
)
from .progress import progress_bar

OF_CHECKPOINT = ('split', 'device', 'cfg_options')
OF_RESULTS = ('results', 'ann_file', 'images')
FILE = InputFile(Path)


@click.command(cls=ManyValues)
@click.argument('config', required=False, type=InputFile())
@click.argument('checkpoint', required=False)
@click.option(
    '--split',
    type=click.Choice(['val', 'test', 'train']),
    default='val',
    show_default=True,
    help='Data set to evaluate on. Training data are loaded like test data.',
)
@click.option(
    '--results',
    type=FILE,
    help='COCO result file of any detector, instead of CONFIG CHECKPOINT.',
)
@click.option(
    '--ann-file', type=FILE, help='COCO file with the objects of --results.'
)
@click.option(
    '--images',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help='Folder of the images of --results, for the sheet.',
)
@click.option(
    '--out',
    required=True,
    type=click.Path(path_type=Path),
    help='Folder for the page and the files; existing ones are replaced at '
    'the end.',
)
@click.option(
    '--metric',
    'metrics',
    multiple=True,
    type=click.Choice(['bbox', 'segm']),
    help='Boxes or masks; may be repeated.  [default: all that exist]',
)
@click.option(
    '--score-thr',
    type=FiniteRange(0),
    help='Minimum score in the confusion matrix and on the sheet.  [default: '
    'where F1 of all classes together is largest]',
)
@click.option(
    '--max-dets',
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help='Number of best detections to keep per class and image, as in COCO.',
)
@device_option
@cfg_options_option
def main(
    config: str | None,
    checkpoint: str | None,
    out: Path,
    metrics: tuple[str, ...],
    score_thr: float | None,
    max_dets: int,
    **options: Any,
) -> None:
    """Evaluate a CHECKPOINT of CONFIG, or --results of any detector.

    Shows AP by class, size and IoU threshold, precision and recall, the score
    threshold of the largest F1, confusions, kinds of errors and their costs in
    AP, calibration, and the worst images. Masks are evaluated if detections
    and objects have them.

    Writes index.html, evaluation.json, classes.csv, curves.csv, and for boxes
    and masks confusion-*.csv and worst-*.jpg.
    """
    checkpoint_given = check_usage(config, checkpoint, options)
    with errors_as_messages(doctor=True):
        from mmdet_retina_plus.analysis.evaluation.evaluate import (
            evaluate,
            from_checkpoint,
            from_results,
            write,
        )

        if checkpoint_given:
            subject = from_checkpoint(
                str(config),
                str(checkpoint),
                out,
                **{name: options[name] for name in OF_CHECKPOINT},
            )
        else:
            given = {name: options[name] for name in OF_RESULTS}
            subject = from_results(out=out, names=with_names, **given)
        try:
            evaluated = evaluate(
                subject, max_dets, metrics, progress_bar('images')
            )
        except KeyboardInterrupt:
            click.echo('Interrupted, nothing was written', err=True)
            sys.exit(130)
        content, files = write(subject, evaluated, out, score_thr)
    for line in content['notes']:
        click.echo(f'Note: {line}', err=True)
    show(content['metrics'])
    for file in files:
        click.echo(f'{file}')


def check_usage(
    config: str | None, checkpoint: str | None, options: dict[str, Any]
) -> bool:
    """Whether to evaluate a checkpoint, not a result file.

    Raises:
        click.UsageError: Neither or both are given.
    """
    results = options['results'] is not None
    if results == (config is not None):
        raise click.UsageError(
            'Name CONFIG and CHECKPOINT, or --results and --ann-file.'
        )
    if results and options['ann_file'] is None:
        raise click.UsageError('--results needs --ann-file.')
    if not results and checkpoint is None:
        raise click.UsageError('Name CHECKPOINT after CONFIG.')
    if not results and (options['ann_file'] or options['images']):
        raise click.UsageError(
            '--ann-file and --images are for --results: CONFIG names both.'
        )
    if results and any(map(is_given, OF_CHECKPOINT)):
        raise click.UsageError(
            '--split, --device and --cfg-options are for CONFIG CHECKPOINT, '
            'not for --results.'
        )
    return not results


def is_given(name: str) -> bool:
    """Whether an option of the command is on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT


def show(metrics: dict[str, dict]) -> None:
    """Print COCO's numbers, the costs of errors and the best thresholds."""
    from rich.console import Console
    from rich.table import Table

    names = {'bbox': 'boxes', 'segm': 'masks'}
    for key, title in (('summary', ''), ('errors', 'AP50 lost to')):
        table = Table(title=title)
        table.add_column('')
        first = next(iter(metrics.values()))[key]
        for name in first:
            if not name.startswith('AR_'):
                table.add_column(name, justify='right')
        for metric, numbers in metrics.items():
            cells = [
                item['cost'] if isinstance(item, dict) else item
                for name, item in numbers[key].items()
                if not name.startswith('AR_')
            ]
            texts = ['-' if x is None else f'{x:.3f}' for x in cells]
            table.add_row(names[metric], *texts)
        Console().print(table)
    best = [
        f'{show_threshold(numbers["best"]["score"])} for {names[metric]}'
        for metric, numbers in metrics.items()
        if numbers['best']['score'] is not None
    ]
    if best:
        click.echo(f'Best score threshold: {", ".join(best)}')

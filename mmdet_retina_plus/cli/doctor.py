"""`retina-plus doctor`: can training work here, and will this config learn?"""

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click

from mmdet_retina_plus import __version__
from mmdet_retina_plus.common.output_files import check_folder
from mmdet_retina_plus.doctor import environment, facts, findings

from .options import ManyValues, cfg_options_option
from .progress import progress_bar


@click.command(cls=ManyValues)
@click.argument('config', required=False, type=click.Path(path_type=Path))
@cfg_options_option
@click.option(
    '--fast',
    is_flag=True,
    help="Read all images' headers, but decode only a sample of them.",
)
@click.option(
    '--show',
    type=click.Path(file_okay=False, path_type=Path),
    metavar='DIR',
    help='Draw samples as the network gets them into DIR.',
)
@click.option(
    '--json', 'as_json', is_flag=True, help='Print one JSON object instead.'
)
def main(
    config: Path | None,
    cfg_options: tuple[str, ...],
    fast: bool,
    show: Path | None,
    as_json: bool,
) -> None:
    """Check the environment and, where given, CONFIG with its data.

    Data sets, pipelines, loaders, optimizer, hooks, evaluators and model are
    built as a run builds them; a step is taken on the CPU. Every problem is
    shown with its fix, the worst first. The exit code is 0 if training can
    work, 1 if there is an error, also in reading CONFIG or in the value of
    an option of it, and 2 if the command has no such option or cannot write
    into DIR.
    """
    if show is not None:
        try:
            check_folder(show, ())
        except ValueError as error:
            raise click.BadParameter(f'{error}', param_hint='--show') from None
    # A config is a program and may print.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        found = check(config, cfg_options, fast, show, as_json)
    code = int(findings.any_error(found))
    if as_json:
        about = dict(
            version=__version__,
            config=None if config is None else str(config),
            exit_code=code,
        )
        click.echo(findings.as_json(found, **about))
    sys.exit(code)


def check(
    config: Path | None,
    cfg_options: tuple[str, ...],
    fast: bool,
    show: Path | None,
    quiet: bool,
) -> list[findings.Finding]:
    """All findings, shown as they come unless `quiet`."""

    def say(text: str) -> None:
        if not quiet:
            click.echo(text)

    say(f'mmdet_retina_plus {__version__}')
    say(f'Environment of {sys.executable}')
    found = environment.check_environment(facts.gather_facts())
    if not quiet:
        findings.show(found)
    if config is not None and findings.any_error(found):
        say(f'\n{config} is checked when the environment works.')
    elif config is not None:
        # Not before: it needs numpy, which may be missing.
        from mmdet_retina_plus.doctor.config import check_config

        say(f'\nConfig {config}')
        of_config = check_config(
            config, cfg_options, fast, show, progress_bar('Images')
        )
        if not quiet:
            findings.show(of_config)
        found = [*found, *of_config]
    return found

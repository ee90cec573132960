"""`retina-plus doctor`: can training work here, and will this config learn?"""

import sys
from pathlib import Path

import click

from mmdet_retina_plus import __version__
from mmdet_retina_plus.doctor import environment, facts, findings

from .options import ManyValues, cfg_options_option


@click.command(cls=ManyValues)
@click.argument('config', required=False, type=click.Path(path_type=Path))
@cfg_options_option
def main(config: Path | None, cfg_options: tuple[str, ...]) -> None:
    """Check the environment and, where given, CONFIG with its annotations.

    Every problem is shown with its way out. The exit code is 0 if training
    can work and 1 otherwise.
    """
    click.echo(f'mmdet_retina_plus {__version__}')
    click.echo(f'Environment of {sys.executable}')
    found = environment.check_environment(facts.gather_facts())
    findings.show(found)
    if config is not None and findings.any_error(found):
        click.echo(f'\n{config} is checked when the environment works.')
    elif config is not None:
        # Not before: it needs numpy, which may be missing.
        from mmdet_retina_plus.doctor.config import check_config

        click.echo(f'\nConfig {config}')
        found = check_config(config, cfg_options)
        findings.show(found)
    sys.exit(int(findings.any_error(found)))

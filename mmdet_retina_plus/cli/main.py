"""The command `retina-plus`, which imports sub-commands when they run."""

from importlib import import_module

import click

from mmdet_retina_plus import __version__

COMMANDS = (
    'anchor-fit',
    'assignments',
    'build-mmcv',
    'config',
    'doctor',
    'evaluate',
    'export',
    'fuse',
    'init',
    'loss-cdf',
    'loss-curves',
    'make-data',
    'predict',
    'report',
    'sweep',
)
"""`make-data` is the click command `main` of the module `cli.make_data`."""


class LazyGroup(click.Group):
    """Import sub-commands on demand, so that `--help` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(
        self, ctx: click.Context, cmd_name: str
    ) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = cmd_name.replace('-', '_')
        command = import_module(f'mmdet_retina_plus.cli.{module}').main
        # Tools that list commands, such as the docs, read this name.
        command.name = cmd_name
        return command


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name='retina-plus')
def main() -> None:
    """Tools for training and using detectors with mmdet_retina_plus."""

"""`retina-plus build-mmcv`: mmcv's operators for the installed torch."""

from pathlib import Path

import click


@click.command()
@click.option(
    '--cuda',
    is_flag=True,
    help='Compile for GPUs even if torch sees none. If it sees one, this is '
    'the default.',
)
@click.option(
    '--arch',
    'archs',
    multiple=True,
    help='Compute capability to compile for, such as 9.0; may be repeated.  '
    '[default: those of the GPUs present]',
)
@click.option(
    '--wheel-dir',
    type=click.Path(file_okay=False, path_type=Path),
    help='Folder for the wheel, for machines with the same torch and Python. '
    'A matching wheel in it is installed without compiling.',
)
@click.option(
    '--jobs',
    type=click.IntRange(min=1),
    help='Number of parallel compiler jobs.  [default: number of cores]',
)
@click.option(
    '--fork',
    type=click.Choice(['onedl']),
    help='Build onedl-mmcv, for onedl-mmdetection.',
)
@click.option(
    '--no-compiler',
    is_flag=True,
    help='Install mmcv with NMS, soft-NMS and RoIAlign in Python, which is '
    "enough for this package's models and needs no compiler.",
)
def main(
    cuda: bool,
    archs: tuple[str, ...],
    wheel_dir: Path | None,
    jobs: int | None,
    fork: str | None,
    no_compiler: bool,
) -> None:
    """Build mmcv for the torch of this environment, install and check it.

    mmdet 3.3 needs mmcv 2.1.0, which has no wheels for torch > 2.1.
    """
    from mmdet_retina_plus.toolchain.build import build_mmcv
    from mmdet_retina_plus.toolchain.processes import interrupt_on_signals
    from mmdet_retina_plus.toolchain.target import RELEASES, find_target

    if no_compiler and (cuda or archs):
        raise click.UsageError(
            '--no-compiler compiles nothing: remove --cuda and --arch'
        )
    interrupt_on_signals()
    try:
        build_mmcv(
            RELEASES[fork or 'openmmlab'],
            None if no_compiler else find_target(cuda, archs),
            wheel_dir,
            jobs,
            click.echo,
        )
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error

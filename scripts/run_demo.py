"""Train RetinaMask on generated shapes, test it and draw: `make demo`.

Arguments: the distribution by which mim finds mmdet, the config, and a folder
for all output.
"""

import re
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

# By its folder, since importing the package takes seconds for mmdet.
TOOLCHAIN = 'mmdet_retina_plus/toolchain'
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / TOOLCHAIN))
import processes  # noqa: E402

STEP = re.compile(
    r'Iter\((\w+)\) +\[ *(\d+)/(\d+)\]'
    r'(?:.*? eta: ((?:\d+ days?, )?[\d:]+))?'
)
"""A line of mmengine's log: loop, step, number of steps and time left.

The last line of a validation has the metrics instead of the time.
"""
EVERY = 100
"""Steps between two lines if no bar can be drawn."""
console = Console()


def main(mmdet: str, config: str, folder: Path) -> None:
    log = folder / 'demo.log'
    begin = f'Training {config}; the whole log is in {log}.'
    console.print(begin, soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    train = ['mim', 'train', mmdet, config, '--work-dir', folder]
    training = follow(train, log)
    checkpoint = (folder / 'last_checkpoint').read_text()
    test = ['mim', 'test', mmdet, config, '--checkpoint', checkpoint]
    results = ['--work-dir', folder / 'test', '--show-dir', 'predictions']
    testing = follow([*test, *results], log)
    show_report(folder)
    console.print(f'{checkpoint}', soft_wrap=True)
    console.print(
        f'Training took {training:.0f} s, test and pictures {testing:.0f} s.'
    )


def show_report(folder: Path) -> None:
    """Print the metrics as a table, and the paths of the pictures."""
    from mmdet_retina_plus.analysis.training_report import (
        draw_pictures,
        metric_table,
        read_scalars,
    )

    records = read_scalars(folder)
    console.print(metric_table(records))
    for picture in draw_pictures(records, folder):
        console.print(f'{picture}', soft_wrap=True)


def follow(command: list[str | Path], log: Path) -> float:
    """Run a command and show its steps, as a bar on a terminal, else as lines.

    Returns:
        Seconds that the command took.
    """
    begin = time.monotonic()
    columns = (
        TextColumn('{task.description:>5}'),
        BarColumn(),
        TextColumn(
            '{task.completed:.0f}/{task.total:.0f} {task.fields[left]}'
        ),
    )
    drawn = console.is_interactive and not console.is_dumb_terminal
    with Progress(
        *columns, console=console, refresh_per_second=2, disable=not drawn
    ) as progress:
        bars: dict[str, int] = {}
        printed = set()

        def show(line: str) -> None:
            match = STEP.search(line)
            if not match:
                return
            what, step, steps, left = match.groups()
            text = f'{left} left' if left else ''
            chosen = (
                what not in bars or step == steps or int(step) % EVERY == 0
            )
            if not drawn and chosen and (what, step) not in printed:
                printed.add((what, step))
                console.print(f'{what} {step}/{steps} {text}'.rstrip())
            if what not in bars:
                bars[what] = progress.add_task(
                    what, total=int(steps), left=text
                )
            progress.update(bars[what], completed=int(step), left=text)

        processes.run(command, log, show)
    return time.monotonic() - begin


if __name__ == '__main__':
    processes.interrupt_on_signals()
    try:
        main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    except processes.CommandFailed as error:
        sys.exit(f'demo: {error} (whole output: {sys.argv[3]}/demo.log)')
    except (OSError, ValueError) as error:
        sys.exit(f'demo: {error}')
    except KeyboardInterrupt:
        sys.exit('demo: interrupted; `make demo` starts over')

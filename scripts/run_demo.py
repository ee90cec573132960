"""Train RetinaMask on generated shapes, test it, draw: what `make demo` runs.

Arguments: the distribution that mim finds mmdet by, the config, and a folder
for everything that is written.
"""

import re
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mmdet_retina_plus.analysis.training_report import (
    draw_pictures,
    metric_table,
    read_scalars,
)
from mmdet_retina_plus.toolchain import processes

STEP = re.compile(r'Iter\((\w+)\) +\[ *(\d+)/(\d+)\].*? eta: ([\d:]+)')
"""A line of mmengine's log: what it does, step, steps and time left."""
EVERY = 100
"""Steps between two lines where the output is no terminal."""
console = Console()


def main(mmdet: str, config: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / 'demo.log'
    log.unlink(missing_ok=True)
    console.print(f'Training {config}; the whole log is in {log}.')
    train = ['mim', 'train', mmdet, config, '--work-dir', folder]
    training = follow(train, log)
    checkpoint = (folder / 'last_checkpoint').read_text()
    test = ['mim', 'test', mmdet, config, '--checkpoint', checkpoint]
    results = ['--work-dir', folder / 'test', '--show-dir', 'predictions']
    testing = follow([*test, *results], log)
    records = read_scalars(folder)
    console.print(metric_table(records))
    for picture in draw_pictures(records, folder):
        console.print(f'{picture}', soft_wrap=True)
    console.print(f'{checkpoint}', soft_wrap=True)
    console.print(
        f'Training took {training:.0f} s, test and pictures {testing:.0f} s.'
    )


def follow(command: list[str | Path], log: Path) -> float:
    """Run a command with its steps as a bar; returns the seconds it took."""
    begin = time.monotonic()
    columns = (
        TextColumn('{task.description:>5}'),
        BarColumn(),
        TextColumn(
            '{task.completed:.0f}/{task.total:.0f} {task.fields[left]}'
        ),
    )
    with Progress(*columns, console=console, refresh_per_second=2) as progress:
        bars: dict[str, int] = {}

        def show(line: str) -> None:
            match = STEP.search(line)
            if not match:
                return
            what, step, steps, left = match.groups()
            text = f'{left} left'
            if not console.is_terminal and int(step) % EVERY == 0:
                console.print(f'{what} {step}/{steps}, {text}')
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
    except KeyboardInterrupt:
        sys.exit('demo: interrupted; `make demo` begins it anew')

"""Speed of the package against that of an earlier commit.

git worktree add --detach ../before COMMIT
python -m benchmarks.regressions ../before --threads 1

One process runs the package of each folder. Both run the same inputs, in
turn, so that a slow minute hits both.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path

import click
import torch

from benchmarks.harness import describe, print_table

HERE = Path(__file__).parent.parent
SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
import mmdet_retina_plus
sys.path[0] = sys.argv[2]
from benchmarks.regressions import serve
serve(int(sys.argv[3]))
"""


def workloads() -> Iterator[tuple[str, Callable[[], object]]]:
    """The calls that docs/results.md gives times of."""
    # These import the package, which the parent process does not need.
    from benchmarks import assigners, box_clustering, focal_loss, mask_branch

    loss = focal_loss.FusedFocalLoss(
        gamma=focal_loss.GAMMA, alpha=focal_loss.ALPHA
    )
    for anchors, classes in (20_160, 80), (201_600, 80), (201_600, 1):
        inputs = focal_loss.Inputs(anchors, classes, 'cpu')
        name = f'focal loss, {anchors:,} anchors, classes: {classes}'
        yield name, partial(inputs.step, loss)
    for count, covering in (7, False), (500, False), (500, True):
        scene = assigners.Scene(count, covering, 'cpu')
        for name, (_, assigner) in assigners.ASSIGNERS.items():
            name = f'{name}, {count} objects' + ', large' * covering
            yield name, partial(scene.assign, assigner)
    for name, settings in box_clustering.SCENES.items():
        boxes = box_clustering.scene(**settings, device='cpu')
        cluster = partial(box_clustering.weighted_box_clustering, **boxes)
        yield f'weighted box clustering, {name}', cluster
    image, sample, _ = mask_branch.scene('cpu')
    detector = mask_branch.build(with_masks=True, device='cpu')
    for name, call in ('step', mask_branch.step), ('test', mask_branch.test):
        yield (
            f'RetinaMask R-50, {name}',
            partial(call, detector, image, sample),
        )


def serve(threads: int) -> None:
    """Send names, then time a call for each line of stdin until 'next'."""
    # MMEngine prints what it initialises.
    answers, sys.stdout = sys.stdout, StringIO()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    for name, call in workloads():
        print(name, file=answers, flush=True)
        for line in sys.stdin:
            if line == 'next\n':
                break
            begin = time.perf_counter()
            call()
            elapsed = time.perf_counter() - begin
            print(elapsed, file=answers, flush=True)


class Side:
    """A process that has imported the package of a folder."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, '-c', SERVE, folder, HERE, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, question: str) -> str:
        """Send a line, if not empty, and return the answer.

        Returns:
            '' after the last call.

        Raises:
            ClickException: The process failed.
        """
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(question)
        answer = self.process.stdout.readline()
        if not answer and self.process.wait():
            raise click.ClickException('a side stopped with the error above')
        return answer.strip()


def row(name: str, times: list[tuple[float, float]]) -> list[str]:
    """One row of the table."""
    medians = map(statistics.median, zip(*times, strict=True))
    ratios = [new / old for old, new in times]
    return [
        name,
        *(f'{median * 1e3:.1f}' for median in medians),
        f'{statistics.median(ratios):.2f}',
        f'{min(ratios):.2f} to {max(ratios):.2f}',
    ]


@click.command()
@click.argument(
    'before', type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option('--threads', default=1, help='Number of CPU threads.')
@click.option('--repeats', default=11)
@click.option('--only', default='', help='Text in the names of calls.')
def main(before: Path, threads: int, repeats: int, only: str) -> None:
    """Print median times of both, and the median of their ratios."""
    torch.set_num_threads(threads)
    sides = [Side(folder.resolve(), threads) for folder in (before, HERE)]
    rows = []
    names = [side.ask('') for side in sides]
    while name := names[0]:
        times = []
        for turn in range(repeats + 1 if only in name else 0):
            # Each goes first every other time.
            order = (0, 1) if turn % 2 else (1, 0)
            pair = {side: float(sides[side].ask('time\n')) for side in order}
            times.append((pair[0], pair[1]))
        if times:
            rows.append(row(name, times[1:]))
        names = [side.ask('next\n') for side in sides]
    print_table(
        f'This commit against that of {before}, '
        + describe(torch.device('cpu')),
        ('call', 'before, ms', 'now, ms', 'now / before', 'of single pairs'),
        rows,
    )


if __name__ == '__main__':
    main()

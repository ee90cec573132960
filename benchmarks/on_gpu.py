"""All measurements on a GPU, the most valuable first.

Each figure is printed and written at once, one JSON object per line. After a
section that fails, the next one starts. An error of CUDA makes all later ones
fail as well: run those again with ``--only``.

python -m benchmarks.on_gpu --out gpu.jsonl
python -m benchmarks.on_gpu --device cpu --quick --out rehearsal.jsonl
"""

import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import click
import torch
from mmengine.logging import MMLogger

from benchmarks.gpu import kernels, trainings
from benchmarks.gpu.run import Run
from benchmarks.harness import describe
from mmdet_retina_plus.kernels import dispatch

ROOT = Path(__file__).parent.parent
TEST_SECONDS = 240
"""Time limit of the tests, so that time is left for measurements."""


def environment(run: Run) -> None:
    run.write(
        device=describe(run.device),
        cuda=torch.version.cuda,
        triton=dispatch.USES_TRITON,
        python=sys.version.split()[0],
        cpus=os.cpu_count(),
    )


def tests(run: Run) -> None:
    """Run the tests for a GPU in a separate process.

    Raises:
        ValueError: A test failed.
        subprocess.TimeoutExpired: The tests took too long.
    """
    command = [sys.executable, '-m', 'pytest', '-m', 'cuda', '-rf']
    command += ['-p', 'no:cacheprovider', '--durations=5', 'tests/kernels']
    if run.quick:
        command += ['-k', 'nothing_from_nothing']
    left = run.deadline - time.monotonic()
    log = run.out.with_suffix('.tests.txt')
    # Directly to the file, so that output is kept if the time runs out.
    with log.open('w') as file:
        result = subprocess.run(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=min(TEST_SECONDS, max(60, left)),
        )
    output = log.read_text()
    summary = re.findall(r'^.*\b(?:passed|failed|error).*$', output, re.M)
    run.write(
        returncode=result.returncode,
        summary=summary[-1:] if summary else output[-300:],
        failures=re.findall(r'^(?:FAILED|ERROR) .*$', output, re.M),
        errors=re.findall(r'^E  .*$', output, re.M)[:20],
        stderr=result.stderr[-300:],
    )
    if result.returncode:
        raise ValueError(f'pytest ended with {result.returncode}: see {log}')


SECTIONS: dict[str, Callable[[Run], None]] = {
    'environment': environment,
    'tests': tests,
    'loss': kernels.loss,
    'assigners': kernels.assigners,
    # From here on mmcv needs its CUDA operators.
    'loss_of_others': kernels.loss_of_others,
    'steps': trainings.steps,
    'fast_steps': trainings.fast_steps,
    'mask_steps': trainings.mask_steps,
    'predictions': trainings.predictions,
    'settings': trainings.settings,
    'dearest': trainings.dearest,
    'host': trainings.host,
}


def chosen_sections(
    context: click.Context, option: click.Parameter, value: str
) -> list[str]:
    """Refuse unknown sections before any time on a GPU is spent."""
    names = value.split(',')
    unknown = set(names) - set(SECTIONS)
    if unknown:
        raise click.BadParameter(
            f'{", ".join(sorted(unknown))}: choose from {", ".join(SECTIONS)}'
        )
    return names


@click.command()
@click.option('--device', type=click.Choice(['cpu', 'cuda']), default='cuda')
@click.option('--quick', is_flag=True, help='Rehearse: small, few repeats.')
@click.option(
    '--only',
    default=','.join(SECTIONS),
    callback=chosen_sections,
    help='Sections, in this order.',
)
@click.option('--minutes', default=10.0, help='Nothing starts later.')
@click.option('--out', type=click.Path(path_type=Path), default='gpu.jsonl')
def main(
    device: str, quick: bool, only: list[str], minutes: float, out: Path
) -> None:
    """Measure on a GPU.

    Exit with 1 if a section failed, a result differs from its reference, or
    the time was too short.
    """
    # Avoid a log line per parameter of every detector.
    MMLogger.get_current_instance().setLevel('WARNING')
    deadline = time.monotonic() + 60 * minutes
    run = Run(torch.device(device), quick, out, deadline)
    for name in only:
        run.section = name
        if run.late():
            continue
        begin = time.monotonic()
        try:
            SECTIONS[name](run)
        except Exception as error:
            run.write(
                error=f'{type(error).__name__}: {error}'[:500],
                traceback=traceback.format_exc()[-1500:],
            )
        if run.on_gpu:
            torch.cuda.empty_cache()
        run.write(took_s=time.monotonic() - begin)
    sys.exit(run.failed())


if __name__ == '__main__':
    main()

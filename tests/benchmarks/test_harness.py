import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_peak_is_that_of_the_call_even_of_the_first():
    """In a new process, where the profiler has not been used yet."""
    code = (
        'import torch, numpy\n'
        'from benchmarks.harness import peak_bytes\n'
        'cpu = torch.device("cpu")\n'
        'print(peak_bytes(lambda: None, cpu))\n'
        'print(peak_bytes(lambda: torch.zeros(10**6) + 1, cpu))\n'
        'print(peak_bytes(lambda: numpy.zeros(10**6), cpu))\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    nothing, torch_peak, numpy_peak = map(int, result.stdout.split())
    assert nothing < 1e5
    assert 8e6 <= torch_peak < 8.1e6
    assert 8e6 <= numpy_peak < 8.1e6

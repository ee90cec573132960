# Strategies on equal terms: one backbone, neck, head, schedule and data set,
# and every way to choose and weigh positives and negatives of
# `lab/assigner_*`. docs/strategies.md says what each is.
from pathlib import Path as _Path

_lab = _Path(__file__).parent.parent / 'lab'
points = [
    dict(config=f'../lab/{path.name}')
    for path in sorted(_lab.glob('assigner_*.py'))
    if '_a1' not in path.stem  # lab_atss_table.py
]
seeds = [0, 1, 2]

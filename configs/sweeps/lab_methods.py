# Detectors as their papers have them, each with its own head, and neck where
# that is the method, on one backbone, schedule and data set: `lab/method_*`.
# docs/methods.md says what each is.
from pathlib import Path as _Path

_lab = _Path(__file__).parent.parent / 'lab'
points = [
    dict(config=f'../lab/{path.name}')
    for path in sorted(_lab.glob('method_*.py'))
]

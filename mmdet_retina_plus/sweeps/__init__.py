"""Sweeps: trials of a config at many points, and reports of them."""

from importlib.util import find_spec

NEEDS = (
    *('altair', 'jinja2', 'optuna', 'pandas', 'psutil'),
    *('tabulate', 'vl_convert'),
)
if missing := [name for name in NEEDS if find_spec(name) is None]:
    raise ImportError(
        f'Sweeps need {", ".join(missing)}: '
        'pip install "mmdet_retina_plus[sweep]"'
    )

"""No fault of a file gives training a wrong label or takes an object away."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.helpers.annotation_faults import FAULTS, Plan, plans
from tests.helpers.faulty_sets import HARMLESS


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a failure is small, and shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
@given(plans(list(FAULTS)))
def test_doctor_names_what_training_and_scoring_read_wrong(plan: Plan):
    with tempfile.TemporaryDirectory() as folder:
        assert plan.carry_out(Path(folder)) in HARMLESS

"""A planned config and its annotation files, written."""

import json

from mmdet_retina_plus.common.output_files import replace

from .config_text import below, config_text
from .plan import Plan


def write(plan: Plan, made_by: str, command: str) -> None:
    """Write the files of a plan, each whole.

    Args:
        plan: What they say.
        made_by: Program, for the config's first lines.
        command: For the same.

    Raises:
        OSError: One cannot be written.
    """
    text = config_text(plan, made_by, command, below(plan.out.parent))
    for part in plan.new:
        replace(part.path, json.dumps(part.coco))
    replace(plan.out, text)

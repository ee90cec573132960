"""Write a planned config and its annotation files."""

import json

from mmdet_retina_plus.common.output_files import replace

from .config_text import below, config_text
from .plan import Plan


def write(plan: Plan, made_by: str, command: str) -> None:
    """Write the files of a plan, each completely or not at all.

    Args:
        plan: The plan.
        made_by: Name and version of the program, for the header.
        command: Command that makes the config, for the header.

    Raises:
        OSError: A file cannot be written.
    """
    text = config_text(plan, made_by, command, below(plan.out.parent))
    for part in plan.new:
        replace(part.path, json.dumps(part.coco))
    replace(plan.out, text)

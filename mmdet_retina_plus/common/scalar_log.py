"""The scalars that mmengine logs, read from their file."""

import json
from pathlib import Path


def read_records(file: Path) -> list[dict]:
    """One record a line; a run that is at work may have half of its last."""
    lines = file.read_text().splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise ValueError(
                    f'Line {number} of {file} is no JSON: delete the line'
                ) from None
    return records

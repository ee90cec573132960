"""Read the scalars that mmengine logs."""

import json
from pathlib import Path


def read_records(file: Path) -> list[dict]:
    """Read one record per line; an incomplete last line is left out."""
    lines = file.read_text().splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise ValueError(
                    f'Line {number} of {file} is not JSON: delete the line'
                ) from None
    return records

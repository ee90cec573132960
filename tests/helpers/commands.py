"""Commands of `retina-plus`, run in this process."""

import json
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from mmdet_retina_plus.cli.predict import main


def invoke(command: click.Command, *arguments: Any, code: int = 0) -> str:
    """What a command prints; it ends with an exit code."""
    result = CliRunner().invoke(command, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


def predict(*arguments: Any, code: int = 0) -> str:
    """What `predict` prints."""
    return invoke(main, *arguments, code=code)


def read(path: Path) -> Any:
    """What a command wrote as JSON."""
    return json.loads(path.read_text())

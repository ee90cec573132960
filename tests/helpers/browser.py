"""Pages in a real browser, where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
needs_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason='needs a browser on this machine: apt-get install chromium',
)


def browse(page: str, folder: Path) -> tuple[str, list[str]]:
    """The DOM once a browser has run the page, and what its console says."""
    file = folder / 'page.html'
    file.write_text(page)
    flags = """--headless --no-sandbox --disable-gpu --disable-quic
        --no-first-run --disable-background-networking --disable-sync
        --disable-component-update --enable-logging=stderr
        --virtual-time-budget=3000 --dump-dom"""
    done = subprocess.run(
        [
            str(CHROMIUM),
            *flags.split(),
            f'--user-data-dir={folder / "profile"}',
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [x for x in done.stderr.splitlines() if ':CONSOLE' in x]
    return done.stdout, console

"""A study in a real PostgreSQL, on a server that the test starts."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmdet_retina_plus.sweeps import storage
from tests.sweeps.scenes import (
    BASE,
    GAMMAS,
    check_done,
    claim_all,
    kill_at_random,
    make_plan,
    make_study,
    work,
)


def find_server() -> Path | None:
    """Folder of PostgreSQL's programs, which Debian keeps off the PATH."""
    found = shutil.which('initdb')
    places = sorted(Path('/usr/lib/postgresql').glob('*/bin/initdb'))
    found = found or (str(places[-1]) if places else None)
    return Path(found).parent if found else None


BINARIES = find_server()
pytestmark = pytest.mark.skipif(
    BINARIES is None,
    reason='needs PostgreSQL on this machine: apt-get install postgresql',
)


class Server:
    """A database on loopback, of an unprivileged user."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.run('initdb', '-A', 'trust', '-U', 'sweep', '-N')
        self.start()

    def run(self, program: str, *options: str) -> None:
        assert BINARIES is not None
        # It refuses to run as root.
        user = 'postgres' if os.geteuid() == 0 else None
        with (self.folder / 'output.log').open('a') as output:
            subprocess.run(
                [str(BINARIES / program), '-D', 'data', *options],
                check=True,
                cwd=self.folder,
                user=user,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=120,
            )

    def start(self) -> None:
        options = f'-h 127.0.0.1 -p {self.port} -k {self.folder}'
        self.run('pg_ctl', '-w', '-o', options, '-l', 'server.log', 'start')

    def stop(self) -> None:
        self.run('pg_ctl', '-m', 'immediate', 'stop')

    @property
    def url(self) -> str:
        address = f'sweep@127.0.0.1:{self.port}/postgres'
        return f'postgresql+psycopg://{address}'


@pytest.fixture(scope='module')
def server() -> Iterator[Server]:
    # Not pytest's folder: only its owner may enter that.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, 'postgres')
        server = Server(folder)
        yield server
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()


@pytest.fixture(autouse=True)
def impatient(hasty, monkeypatch):
    monkeypatch.setattr(storage, 'PAUSE', 0.1)


def test_workers_killed_at_random_lose_nothing_and_repeat_nothing(
    server, tmp_path
):
    slow = BASE.replace('per_second = 50', 'per_second = 10')
    plan = make_plan(GAMMAS, base=slow)
    study = make_study(server.url, plan, name='killed')
    kill_at_random(study, server.url, tmp_path, kills=2)
    check_done(study, tmp_path)


def test_a_restart_of_the_database_costs_no_training(server, tmp_path):
    slow = BASE.replace('per_second = 50', 'per_second = 5')
    study = make_study(server.url, make_plan(GAMMAS[:2], base=slow), 'restart')

    def restart():
        time.sleep(1.0)
        server.stop()
        time.sleep(1.5)
        server.start()

    thread = threading.Thread(target=restart)
    thread.start()
    events = work(study, tmp_path, jobs=2)
    thread.join()
    check_done(study, tmp_path)
    kinds = [event.kind for event in events]
    assert kinds.count('start') == kinds.count('complete') == 2


def test_two_studies_of_a_database_do_not_meet(server, tmp_path):
    one = make_study(server.url, make_plan(GAMMAS[:1]), 'one')
    two = make_study(server.url, make_plan(GAMMAS[1:3]), 'two')
    assert [claim.point for claim in claim_all(one)] == GAMMAS[:1]
    assert [claim.point for claim in claim_all(two)] == GAMMAS[1:3]

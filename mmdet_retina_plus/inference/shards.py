"""Process large sets in parts, and join the results of all parts.

Every part is a process of the same command. The process that ends last joins
all result files, so that none has to wait for the others.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.cores import cores
from mmdet_retina_plus.common.output_files import (
    RowsFile,
    read_rows,
    replacing,
)
from mmdet_retina_plus.common.text import some

from .results import images_file

WITHOUT_FOLDER = 'import sys; sys.path = [path for path in sys.path if path]; '
"""Leaves out the working folder, as the console script does: a file queue.py
there must not shadow Python's."""
COMMAND = f'{WITHOUT_FOLDER}from retina_plus_command import main; main()'
MOST_OPEN = 500
"""Maximum number of files read in parallel, which keeps the order of images.
More are read one after the other: a process may not be able to open them all.
"""


class Shard(NamedTuple):
    """A part of a set.

    Attributes:
        number: Number of the part, from 1 to `total`.
        total: Number of all parts.
    """

    number: int
    total: int

    def file(self, out: Path) -> Path:
        """Result file of this part."""
        return out.with_suffix(
            f'.shard-{self.number}-of-{self.total}{out.suffix}'
        )

    def remove(self, out: Path) -> None:
        """Remove the files of an earlier run for this part."""
        part = self.file(out)
        for file in (images_file(part), part):
            file.unlink(missing_ok=True)

    def select(self, items: Sequence[Any]) -> list[Any]:
        """Select every `total`-th item, so that parts take similar time."""
        return list(items[self.number - 1 :: self.total])


class Origin(NamedTuple):
    """Origin of a part, so that only parts of one run are joined.

    Attributes:
        run: The `fingerprint` of the run.
        seen: Number of images of this part that were processed or failed.
        total: Number of images of all parts.
    """

    run: str
    seen: int
    total: int


def fingerprint(checkpoints: Sequence[str], *values: Any) -> str:
    """Hash the content of checkpoints and other values.

    Args:
        checkpoints: Files, whose paths do not matter, or URLs.
        values: JSON values, or objects identified by their `repr`.
    """
    digest = hashlib.sha256(
        json.dumps(values, sort_keys=True, default=repr).encode()
    )
    for name in checkpoints:
        file = Path(name)
        content = file.read_bytes() if file.is_file() else name.encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def merge_shards(
    out: Path, count: int, run: str, order: Sequence[Any]
) -> int | None:
    """Join the result files of all parts if all exist, and remove the parts.

    Rows are joined image by image, so that memory holds only the list of
    images. If two parts end at the same time, both may join, which is
    harmless.

    Args:
        out: File of all parts.
        count: Number of parts.
        run: The `fingerprint` of this run.
        order: Ids of all images, in the order of a run without parts.

    Returns:
        Number of boxes; None if a part is missing.

    Raises:
        ValueError: The parts are from different runs, or one was interrupted.
        OSError: A file cannot be read or written.
    """
    parts = [Shard(number, count).file(out) for number in range(1, count + 1)]
    listed = [images_file(part) for part in parts]
    positions = {number: position for position, number in enumerate(order)}
    try:
        sets = [json.loads(file.read_text('utf-8')) for file in listed]
        check_origins(parts, sets, run)
        images = [image for coco in sets for image in coco['images']]
        images.sort(key=lambda image: positions[image['id']])
        rows = [read_rows(part) for part in parts]
        joined: Iterable[tuple[Any, str]] = chain.from_iterable(rows)
        if count <= MOST_OPEN:
            joined = merge(*rows, key=lambda row: positions[image_id(row)])
        with RowsFile(out) as file:
            for _, group in groupby(joined, key=image_id):
                file.extend([text for _, text in group])
            coco = dict(sets[0], images=images)
            del coco['origin']
            with replacing(images_file(out), json.dumps(coco)):
                file.finish(out)
    except FileNotFoundError as error:
        if Path(error.filename) not in (*parts, *listed):
            raise
        return None
    for part in (*parts, *listed):
        part.unlink(missing_ok=True)
    return file.count


def image_id(row: tuple[dict[str, Any], str]) -> Any:
    return row[0]['image_id']


def check_origins(
    parts: Sequence[Path], sets: Sequence[dict[str, Any]], run: str
) -> None:
    """Refuse parts that are from other runs or lack images.

    Args:
        parts: Result files.
        sets: Images, categories and origin of each part.
        run: The `fingerprint` of this run.

    Raises:
        ValueError: Names the parts to repeat.
    """
    others = [
        part.name
        for part, coco in zip(parts, sets, strict=True)
        if coco.get('origin', {}).get('run') != run
    ]
    if others:
        raise ValueError(
            f'{some(others)} from a run with another config, checkpoint, '
            'option or image list: repeat them'
        )
    origins = [Origin(**coco['origin']) for coco in sets]
    seen = sum(origin.seen for origin in origins)
    if seen != origins[0].total:
        raise ValueError(
            f'The parts have {seen} of {origins[0].total} images: repeat the '
            'parts that were interrupted'
        )


def run_jobs(
    arguments: Sequence[str], out: Path, jobs: int, devices: int
) -> int:
    """Run a command in several processes, each on a part of the images.

    SIGTERM is passed on to the processes; Ctrl-C reaches them directly. Parts
    of an earlier run are removed.

    Args:
        arguments: Words after `retina-plus`, without --jobs.
        out: File of all parts.
        jobs: Number of processes.
        devices: Number of GPUs to share among the processes. 0: no GPU, or the
            arguments name the device.

    Returns:
        The largest exit code.
    """
    share = max(1, cores() // jobs)
    threads = os.environ.get('OMP_NUM_THREADS', str(share))
    shards = [Shard(number, jobs) for number in range(1, jobs + 1)]
    for shard in shards:
        shard.remove(out)
    processes: list[subprocess.Popen] = []
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for number in range(jobs):
            device = (
                ['--device', f'cuda:{number % devices}'] if devices else []
            )
            processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, '-c', COMMAND, *arguments, *device),
                        *('--shard', f'{number + 1}/{jobs}'),
                    ],
                    env=dict(os.environ, OMP_NUM_THREADS=threads),
                )
            )
        codes = [abs(wait(process)) for process in processes]
    finally:
        signal.signal(signal.SIGTERM, before)
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return max(codes)


def missing_parts(out: Path, count: int) -> list[Shard]:
    """Parts to repeat if others wait to be joined."""
    parts = [Shard(number, count) for number in range(1, count + 1)]
    missing = [
        part for part in parts if not images_file(part.file(out)).exists()
    ]
    return missing if len(missing) < count else []


def wait(process: subprocess.Popen) -> int:
    """Wait for the exit code of a process, which receives Ctrl-C itself."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue

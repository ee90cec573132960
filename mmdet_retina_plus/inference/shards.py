"""Large sets in parts: which images a part has, and one file of all parts.

Every part is a process of the same command. The one that ends last joins all
result files, so that none has to wait for the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.output_files import (
    RowsFile,
    read_rows,
    replace,
)

from .results import images_file

COMMAND = 'from mmdet_retina_plus.cli.main import main; main()'
MOST_OPEN = 500
"""Files that are read side by side, to keep the order of images; more are
read one after the other, since a process may not open them all."""


class Shard(NamedTuple):
    """A part of a set.

    Attributes:
        number: From 1 to `total`.
        total: Number of all parts.
    """

    number: int
    total: int

    def file(self, out: Path) -> Path:
        """Result file of this part."""
        return out.with_suffix(
            f'.shard-{self.number}-of-{self.total}{out.suffix}'
        )

    def select(self, items: Sequence[Any]) -> list[Any]:
        """Every `total`-th item, so that large and small ones mix."""
        return list(items[self.number - 1 :: self.total])


def merge_shards(out: Path, count: int) -> int | None:
    """Join the result files of all parts, if all are there.

    By image, row by row, so that memory holds the list of images alone. The
    parts are removed afterwards. Two that end at a time may both join
    them, which does no harm.

    Args:
        out: File of all parts.
        count: Number of parts.

    Returns:
        Number of boxes; None where a part is missing.

    Raises:
        ValueError: Two parts have the same image, or are not of one set.
        OSError: A file cannot be read or written.
    """
    parts = [Shard(number, count).file(out) for number in range(1, count + 1)]
    listed = [images_file(part) for part in parts]
    try:
        sets = [json.loads(file.read_text('utf-8')) for file in listed]
        check_sets(out, parts, sets)
        images = [image for coco in sets for image in coco['images']]
        rows = [read_rows(part) for part in parts]
        joined: Iterable[tuple[Any, str]] = chain.from_iterable(rows)
        if all(isinstance(image['id'], int) for image in images):
            images.sort(key=itemgetter('id'))
            if count <= MOST_OPEN:
                joined = merge(*rows, key=image_id)
        with RowsFile(out) as file:
            for _, group in groupby(joined, key=image_id):
                file.extend([text for _, text in group])
            replace(images_file(out), json.dumps(dict(sets[0], images=images)))
            file.finish(out)
    except FileNotFoundError:
        return None
    for part in (*parts, *listed):
        part.unlink(missing_ok=True)
    return file.count


def image_id(row: tuple[dict[str, Any], str]) -> Any:
    return row[0]['image_id']


def check_sets(
    out: Path, parts: Sequence[Path], sets: Sequence[dict[str, Any]]
) -> None:
    """Refuse parts that are not of one set.

    Args:
        out: File of all parts.
        parts: Their result files.
        sets: Images and categories of each.

    Raises:
        ValueError: With the way out.
    """
    for part, coco in zip(parts, sets, strict=True):
        if coco['categories'] != sets[0]['categories']:
            raise ValueError(
                f'{part} has other categories than {parts[0]}: remove the '
                'parts of an earlier run'
            )
    ids = [image['id'] for coco in sets for image in coco['images']]
    if len(set(ids)) < len(ids):
        raise ValueError(
            f'Parts of {out} have the same image: remove those of an earlier '
            'run'
        )


def run_jobs(arguments: Sequence[str], jobs: int, devices: int) -> int:
    """Run a command in several processes, each a part of the images.

    Args:
        arguments: Of `retina-plus`, without --jobs.
        jobs: Number of processes.
        devices: Number of GPUs, which they share. 0: none, or one is named.

    Returns:
        The worst exit code.
    """
    cores = os.cpu_count() or 1
    threads = os.environ.get('OMP_NUM_THREADS', str(max(1, cores // jobs)))
    processes = []
    for number in range(jobs):
        device = ['--device', f'cuda:{number % devices}'] if devices else []
        processes.append(
            subprocess.Popen(
                [
                    *(sys.executable, '-c', COMMAND, *arguments, *device),
                    *('--shard', f'{number + 1}/{jobs}'),
                ],
                env=dict(os.environ, OMP_NUM_THREADS=threads),
            )
        )
    codes = []
    for process in processes:
        while True:
            try:
                codes.append(process.wait())
                break
            except KeyboardInterrupt:  # The processes got it, too.
                continue
    return max(map(abs, codes))

"""Large sets in parts: which images a part has, and one file of all parts.

Every part is a process of the same command. The one that ends last joins all
result files, so that none has to wait for the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_retina_plus.common.output_files import replace

from .results import images_file

COMMAND = 'from mmdet_retina_plus.cli.main import main; main()'


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

    The parts are removed afterwards. Two that end at a time may both join
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
        results = [json.loads(part.read_text('utf-8')) for part in parts]
        sets = [json.loads(file.read_text('utf-8')) for file in listed]
    except FileNotFoundError:
        return None
    first = sets[0]
    for part, coco in zip(parts, sets, strict=True):
        if coco['categories'] != first['categories']:
            raise ValueError(
                f'{part} has other categories than {parts[0]}: remove the '
                'parts of an earlier run'
            )
    images = [image for coco in sets for image in coco['images']]
    if len({image['id'] for image in images}) < len(images):
        raise ValueError(
            f'Parts of {out} have the same image: remove those of an earlier '
            'run'
        )
    boxes = [box for part in results for box in part]
    if all(isinstance(image['id'], int) for image in images):
        images.sort(key=lambda image: image['id'])
        boxes.sort(key=lambda box: box['image_id'])
    replace(images_file(out), json.dumps(dict(first, images=images)))
    replace(out, json.dumps(boxes))
    for file in (*parts, *listed):
        file.unlink(missing_ok=True)
    return len(boxes)


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

"""`predict` is killed where it writes, and run again."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmdet_retina_plus.inference.result_files import with_names
from tests.helpers.commands import predict, read
from tests.helpers.image_files import write_image
from tests.helpers.killed_writes import run_killed


class KilledPredict:
    """A result of two images, and a `predict` of four that replaces it.

    Args:
        folder: For images and results.
        detector: Config and checkpoint.
    """

    def __init__(self, folder: Path, detector: Sequence[str]) -> None:
        self.folder = folder
        self.detector = detector
        for place, count in (('before', 2), ('images', 4)):
            for number in range(count):
                write_image(
                    folder / place / f'{number}.png', (5, 5, 20 + number, 20)
                )
        self.run('before', 'earlier.json')
        self.run('images', 'whole.json')
        self.run('images', 'parts.json', '--shard', '1/2')

    def run(self, images: str, out: str, *options: str) -> None:
        predict(
            *(self.folder / images, *self.detector),
            *('--out', self.folder / out, *options),
        )

    def files(self, out: str) -> list[Any]:
        """Boxes, and the images that they are of."""
        file = self.folder / out
        return [read(file), read(file.with_suffix('.images.json'))]

    def whole(self, **killed: Any) -> tuple[int, Iterator[str]]:
        """Exit code of a run in one process that dies, and its faults.

        Args:
            killed: As ``run_killed``.
        """
        out = self.folder / 'out.json'
        for suffix in ('.json', '.images.json'):
            source = self.folder / f'earlier{suffix}'
            shutil.copy(source, out.with_suffix(suffix))
        code = run_killed(lambda: self.run('images', 'out.json'), **killed)
        return code, self.faults_of_whole(out)

    def faults_of_whole(self, out: Path) -> Iterator[str]:
        boxes = read(out)
        earlier, whole = self.files('earlier.json'), self.files('whole.json')
        if boxes not in (earlier[0], whole[0]):
            yield 'boxes of no run'
        count = len((earlier if boxes == earlier[0] else whole)[1]['images'])
        if len(with_names(out, boxes).images) not in (0, count):
            yield 'boxes beside the names of another run'
        self.run('images', 'out.json')
        if self.files('out.json') != whole:
            yield 'a different result when run again'

    def part(self, **killed: Any) -> tuple[int, Iterator[str]]:
        """As ``whole``, of the part that ends last and joins all."""
        for file in self.folder.glob('joined*'):
            file.unlink()
        for file in self.folder.glob('parts*'):
            name = file.name.replace('parts', 'joined')
            shutil.copy(file, self.folder / name)
        options = 'images', 'joined.json', '--shard'
        code = run_killed(lambda: self.run(*options, '2/2'), **killed)
        return code, self.faults_of_part(options)

    def faults_of_part(self, options: tuple[str, ...]) -> Iterator[str]:
        out = self.folder / 'joined.json'
        whole = self.files('whole.json')
        if out.exists() and read(out) != whole[0]:
            yield 'joined wrongly'
        self.run(*options, '2/2')
        if not out.exists():
            # It died behind the join, where parts are removed.
            self.run(*options, '1/2')
        if self.files('joined.json') != whole:
            yield 'a different result when run again'

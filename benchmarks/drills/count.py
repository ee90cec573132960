"""Count the attempts of a drill, and those that survived."""

from collections import Counter
from collections.abc import Collection

import click


class Count:
    """Counts by kind; prints faults at once."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()

    def add(self, kind: str, faults: Collection[str], where: str = '') -> None:
        """Count an attempt, which survived if it has no faults.

        Args:
            kind: Kind of the attempt.
            faults: Descriptions of its faults.
            where: Suffix of the kind in the printed line.
        """
        self.tried[kind] += 1
        self.survived[kind] += not faults
        if faults:
            click.echo(f'{kind}{where}: {faults}')

    def conclude(self) -> None:
        """Print all counts and exit, with 1 if an attempt did not survive."""
        for kind, tried in self.tried.items():
            click.echo(
                f'{kind}: tried {tried}, survived {self.survived[kind]}'
            )
        total = self.tried.total()
        click.echo(f'tried {total}, survived {self.survived.total()}')
        raise SystemExit(self.tried != self.survived)

"""What a drill tried, and what survived."""

from collections import Counter
from collections.abc import Collection

import click


class Count:
    """Counts by kind, and prints faults as they come."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()

    def add(self, kind: str, faults: Collection[str], where: str = '') -> None:
        """Count an attempt, which survived if it has no faults."""
        self.tried[kind] += 1
        self.survived[kind] += not faults
        if faults:
            click.echo(f'{kind}{where}: {faults}')

    def conclude(self) -> None:
        """Print all counts and exit, with 1 if anything did not survive."""
        for kind, tried in self.tried.items():
            click.echo(
                f'{kind}: tried {tried}, survived {self.survived[kind]}'
            )
        raise SystemExit(self.tried != self.survived)

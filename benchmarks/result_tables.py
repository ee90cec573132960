"""Tables in docs/, made from the runs in docs/results/.

A page marks a table by the file of its runs and the values that select them:

<!-- results retinaunet data=pennfudan -->
<!-- end -->

A row of a file is a run, or several runs if it has a `statistic`. The columns
in `SOURCE` record its source; the table shows the other columns unchanged. In
a file with a column `seed`, the columns before it identify the run, and the
table shows those that differ. The columns after it are scores, shown as mean
and sample standard deviation over seeds.

python -m benchmarks.result_tables
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import split

import pandas as pd

from mmdet_retina_plus.common.output_files import replace

DOCS = Path(__file__).parent.parent / 'docs'
RESULTS = DOCS / 'results'
SOURCE = ['statistic', 'command', 'commit', 'date', 'device', 'versions']


def fill(text: str, marker: str, table: Callable[..., str]) -> str:
    """Fill in the tables of a page.

    Args:
        text: The page.
        marker: First word of the comment before a table.
        table: Makes a table from the other words of the comment.
    """
    block = re.compile(
        rf'(<!-- {marker} ([^\n]+) -->\n).*?(<!-- end -->)', re.DOTALL
    )
    return block.sub(
        lambda found: f'{found[1]}\n{table(*split(found[2]))}\n{found[3]}',
        text,
    )


def results(name: str, *selection: str) -> str:
    """Make a table of runs in the order of their file.

    Args:
        name: File in docs/results, without its suffix.
        selection: ``column=value``. The table leaves out these columns, and
            empty ones.

    Raises:
        ValueError: No run is selected.
    """
    # As strings, to keep the digits of the measurements.
    runs = pd.read_csv(RESULTS / f'{name}.csv', dtype=str, na_filter=False)
    for column, value in (part.split('=') for part in selection):
        runs = runs[runs[column] == value].drop(columns=column)
    if runs.empty:
        raise ValueError(f'{name}.csv has no run with {" ".join(selection)}')
    runs = runs.drop(columns=SOURCE)
    runs = runs.loc[:, (runs != '').any()]
    if 'seed' in runs:
        runs = pd.DataFrame(over_seeds(runs))
    lines = [runs.columns, ['---'] * len(runs.columns), *runs.values]
    return ''.join(f'| {" | ".join(map(grouped, line))} |\n' for line in lines)


def over_seeds(runs: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Rows of means, and single values of the first score."""
    seed = runs.columns.get_loc('seed')
    keys = [key for key in runs.columns[:seed] if runs[key].nunique() > 1]
    scores = runs.columns[seed + 1 :]
    for key, group in runs.groupby(keys, sort=False):
        yield (
            dict(zip(keys, key, strict=True))
            | {score: mean(group[score]) for score in scores}
            | {f'{scores[0]} by seed': ', '.join(group[scores[0]])}
        )


def mean(values: pd.Series) -> str:
    """Mean ± sample standard deviation, with the digits of the values."""
    digits = len(values.iloc[0].partition('.')[2])
    numbers = pd.to_numeric(values)
    if numbers.isna().any():
        return ''
    text = f'{numbers.mean():.{digits}f}'
    if len(numbers) > 1:
        text += f' ± {numbers.std():.{digits}f}'
    return text


def grouped(cell: str) -> str:
    """Group the thousands of a cell that is a whole number."""
    return f'{int(cell):,}' if cell.isdigit() else cell


def main() -> None:
    """Write the tables of all pages."""
    for page in DOCS.glob('*.md'):
        replace(page, fill(page.read_text(), 'results', results))


if __name__ == '__main__':
    main()

"""Numbers as CSV files."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

BACKGROUND = 'background'


def as_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Format rows as CSV; None is an empty cell."""
    file = StringIO()
    csv.writer(file, lineterminator='\n').writerows(rows)
    return file.getvalue()


def classes_csv(numbers: Mapping[str, dict]) -> str:
    """One line per metric and class: AP, best threshold, errors."""
    lines = []
    for metric, item in numbers.items():
        for of_class in item['by_class']:
            best, errors = of_class['best'], of_class['errors']
            line = {'metric': metric, 'class': of_class['name']}
            line |= {
                key: value
                for key, value in of_class.items()
                if key not in ('name', 'best', 'errors')
            }
            line |= {f'best_{key}': value for key, value in best.items()}
            lines.append(line | errors)
    return as_csv([[*lines[0]], *([*line.values()] for line in lines)])


def curves_csv(numbers: Mapping[str, dict]) -> str:
    """Curves of all classes together and of each class, one line per point.

    Curves over recall and over score have 101 points each.
    """
    keys = (
        *('precision_50', 'precision_75', 'precision_mean'),
        *('precision', 'recall', 'F1'),
    )
    head = ['metric', 'class', 'at_recall', *keys[:3], 'at_score', *keys[3:]]
    rows: list[Sequence[Any]] = [head]
    for metric, item in numbers.items():
        curves = item['curves']
        for curve in curves['of']:
            first, last = (
                zip(*(curve[key] for key in part), strict=True)
                for part in (keys[:3], keys[3:])
            )
            rows += [
                [metric, curve['name'] or 'all', recall, *left, score, *right]
                for recall, left, score, right in zip(
                    curves['recall'],
                    first,
                    curves['score'],
                    last,
                    strict=True,
                )
            ]
    return as_csv(rows)


def confusion_csv(matrix: Sequence[Sequence[int]], classes: list[str]) -> str:
    """Confusion matrix, one row per class of objects."""
    names = [*classes, BACKGROUND]
    rows = [[name, *row] for name, row in zip(names, matrix, strict=True)]
    return as_csv([['object', *names], *rows])

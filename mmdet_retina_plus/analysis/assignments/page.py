"""The page of a comparison: sheet, tables and plots, in one HTML file."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mmdet_retina_plus.common.anchor_iou import AREAS
from mmdet_retina_plus.common.html_page import page, picture
from mmdet_retina_plus.common.text import quantity

from .strategies import Strategy

STYLE = """<style>
main { max-width: none; } img { max-width: 100%; }
.sheet { overflow-x: auto; } .sheet img { max-width: none; }
</style>"""


def page_html(
    strategies: Sequence[Strategy],
    numbers: Mapping[str, dict],
    pictures: Mapping[str, Any],
    failures: Sequence[str],
    source: str,
) -> str:
    """The whole page.

    Args:
        strategies: In the order of the columns.
        numbers: `statistics` of each, by name.
        pictures: PNGs: `sheet`, `sizes`, `negatives` or None, and `maps`, by
            the name of the strategy.
        failures: What could not be shown, one line each.
        source: What the images are.
    """
    sections = [
        STYLE,
        '<h1>Assignments</h1>',
        f'<p>{escape(source)}. The pipelines run without their random steps; '
        'a random size is its middle one.</p>',
        failures_html(failures),
        '<h2>Sheet</h2>',
        '<p class="note">Filled dots are positives, in the colour of their '
        'level, with the outlines of their anchors; pale ones have a small '
        'centreness. Ignored priors, which the classification loss leaves '
        'out, are crosses; where they are the majority, because a sampler or '
        'mining chooses negatives, these are drawn instead. '
        'All other priors are not drawn.</p>',
        f'<div class="sheet">{picture(pictures["sheet"], "sheet")}</div>',
        '<h2>Positives per object</h2>',
        sizes_html(numbers),
        picture(pictures['sizes'], 'positives over object size'),
        '<h2>By class</h2>',
        classes_html(numbers),
        maps_html(pictures['maps']),
        negatives_html(strategies, pictures['negatives']),
        '<h2>Strategies</h2>',
        strategies_html(strategies),
    ]
    return page('Assignments', '\n'.join(sections))


def failures_html(failures: Sequence[str]) -> str:
    if not failures:
        return ''
    items = ''.join(f'<li>{escape(line)}</li>' for line in failures)
    return f'<p><b>Left out:</b></p><ul>{items}</ul>'


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first hold numbers."""
    cells = [
        ''.join(
            f'<{tag}{"" if first else number}>{escape(text)}</{tag}>'
            for first, text in zip([True] + [False] * len(row), row)
        )
        for tag, row in [('th', head), *(('td', row) for row in rows)]
        for number in [' class="number"']
    ]
    lines = '\n'.join(f'<tr>{line}</tr>' for line in cells)
    return f'<div class="wide"><table>{lines}</table></div>'


def sizes_html(numbers: Mapping[str, dict]) -> str:
    """Positives per object and objects without any, by size."""
    groups = ('all', *AREAS)
    first = next(iter(numbers.values()))['by_size']
    head = [
        'strategy',
        *(
            f'{name} ({quantity(first[name]["objects"], "object")})'
            for name in groups
        ),
        'without any',
        *(f'{name}' for name in AREAS),
        'ignored per image',
        'negatives per positive',
    ]
    rows = []
    for name, item in numbers.items():
        sizes = item['by_size']
        rows.append(
            [
                name,
                *(number(sizes[x]['positives_per_object']) for x in groups),
                *(f'{sizes[x]["without"]}' for x in groups),
                number(item['ignored'] / item['images']),
                number(item['negatives_per_positive']),
            ]
        )
    note = (
        "Mean number of positives for an object, by COCO's sizes in the "
        'original image; then the objects without any, all and by size.'
    )
    return f'{table_html(head, rows)}<p class="note">{note}</p>'


def classes_html(numbers: Mapping[str, dict]) -> str:
    """Positives per object by class, objects without any in brackets."""
    first = next(iter(numbers.values()))['by_class']
    rows = [
        [
            name,
            f'{item["objects"]}',
            *(
                with_missing(of['by_class'].get(name))
                for of in numbers.values()
            ),
        ]
        for name, item in first.items()
    ]
    note = 'Mean positives for an object; in brackets the objects without any.'
    table = table_html(['class', 'objects', *numbers], rows)
    return f'{table}<p class="note">{note}</p>'


def with_missing(item: dict | None) -> str:
    if item is None:
        return '–'
    missing = f' ({item["without"]})' if item['without'] else ''
    return number(item['positives_per_object']) + missing


def number(value: float | None) -> str:
    """Three digits, or a dash for a mean of nothing."""
    if value is None:
        return '–'
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def maps_html(maps: Mapping[str, bytes]) -> str:
    parts = [
        f'<h3>{escape(name)}</h3>{picture(png, f"soft maps of {name}")}'
        for name, png in maps.items()
    ]
    return '\n'.join(['<h2>Soft quantities</h2>', *parts]) if parts else ''


def negatives_html(strategies: Sequence[Strategy], png: bytes | None) -> str:
    if png is None:
        return ''
    note = (
        'Of the negatives that train, 256 an image: drawn at random, and those '
        'of the highest foreground score. Point heads have no boxes and are '
        'left out.'
    )
    if not all(strategy.checkpoint for strategy in strategies):
        note += (
            ' The hardest are shown where a checkpoint is given: scores of an '
            'untrained model order nothing.'
        )
    return (
        f'<h2>Overlaps of negatives</h2><p class="note">{note}</p>'
        f'{picture(png, "IoU of negatives")}'
    )


def strategies_html(strategies: Sequence[Strategy]) -> str:
    rows = [
        f'<li><b>{escape(item.name)}</b>: '
        f'{escape(item.checkpoint or "initial weights, nothing trained")}'
        + (
            f'; without {escape(", ".join(item.left_out))}'
            if item.left_out
            else ''
        )
        + '</li>'
        for item in strategies
    ]
    return (
        f'<ul>{"".join(rows)}</ul><p class="note">Where an assigner, a mining '
        'policy or guided anchors look at predictions, initial weights show '
        'the first step of a training. Boxes of RetinaPlusHead are trained on '
        'all positives of the assigner, whatever mining leaves out of the '
        'classification.</p>'
    )

"""Page of a comparison: sheet, tables and plots in one HTML file."""

from collections.abc import Mapping, Sequence
from html import escape
from operator import itemgetter
from typing import Any

from mmdet_retina_plus.common.html_page import (
    page,
    picture,
    table_html,
    zoomed,
)
from mmdet_retina_plus.common.text import quantity

from .strategies import Strategy

STYLE = '<style>main { max-width: none; }</style>'


def page_html(
    strategies: Sequence[Strategy],
    numbers: Mapping[str, dict],
    pictures: Mapping[str, Any],
    failures: Sequence[str],
    source: str,
) -> str:
    """Make the page.

    Args:
        strategies: Strategies in the order of the columns.
        numbers: `statistics` of each strategy, by name.
        pictures: PNGs: `sheet`, `sizes`, `negatives` or None, and `maps`, by
            the name of the strategy.
        failures: Images that failed, one line each.
        source: Description of the images.
    """
    sections = [
        STYLE,
        '<h1>Assignments</h1>',
        f'<p>{escape(source)}. The pipelines run without their random steps; '
        'a random size is replaced by the middle one.</p>',
        failures_html(failures),
        '<h2>Sheet</h2>',
        '<p class="note">Filled dots are positives, in the colour of their '
        'level, with the outlines of their anchors; pale ones have a small '
        'soft weight (centreness, SAPD). Ignored priors, which the '
        'classification loss leaves out, are crosses; where they are the '
        'majority, because a sampler or mining chooses negatives, these are '
        'drawn instead. '
        'All other priors are not drawn. Click to enlarge.</p>',
        zoomed(pictures['sheet'], 'sheet'),
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


def sizes_html(numbers: Mapping[str, dict]) -> str:
    """Positives per object and objects without any, by size."""
    first = next(iter(numbers.values()))['by_size']
    head = [
        'strategy',
        *(
            f'{name} ({quantity(group["objects"], "object")})'
            for name, group in first.items()
        ),
        'positives by stride',
        'ignored per image',
        'negatives per positive',
    ]
    rows = [
        [
            name,
            *map(with_missing, item['by_size'].values()),
            by_stride(item),
            number(item['ignored'] / item['images']),
            number(item['negatives_per_positive']),
        ]
        for name, item in numbers.items()
    ]
    note = (
        "Mean number of positives per object, by COCO's size of its box in "
        'the original image; in brackets the number of objects without any.'
    )
    return f'{table_html(head, rows)}<p class="note">{note}</p>'


def by_stride(item: Mapping[str, Any]) -> str:
    """Positives by stride: '8: 40 %, 16: 60 %'."""
    total = item['positives']
    shares = [
        f'{level["stride"]:g}: {level["positives"] / total:.0%}'
        for level in sorted(item['by_level'], key=itemgetter('stride'))
        if level['positives']
    ]
    return ', '.join(shares) or '-'


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
    return table_html(['class', 'objects', *numbers], rows)


def with_missing(item: dict | None) -> str:
    if item is None:
        return '-'
    missing = f' ({item["without"]})' if item['without'] else ''
    return number(item['positives_per_object']) + missing


def number(value: float | None) -> str:
    """Three digits, or a dash for None."""
    if value is None:
        return '-'
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def maps_html(maps: Mapping[str, bytes]) -> str:
    parts = [
        f'<h3>{escape(name)}</h3>{zoomed(png, f"soft maps of {name}")}'
        for name, png in maps.items()
    ]
    if not parts:
        return ''
    note = (
        'Values from 0 to 1, one column per level and one block of rows per '
        'image; of many images, the first. Targets and the weights with which '
        'ASFF mixes levels; with a checkpoint also predictions and the '
        'weights of SAPD. In location targets of guided anchors, '
        '.5 marks the ignored ring.'
    )
    return '\n'.join(
        ['<h2>Soft quantities</h2>', f'<p class="note">{note}</p>', *parts]
    )


def negatives_html(strategies: Sequence[Strategy], png: bytes | None) -> str:
    if png is None:
        return ''
    note = (
        '256 of the trained negatives per image: drawn at random, and those '
        'with the highest foreground scores. Point heads have no boxes and '
        'are left out.'
    )
    if not all(strategy.checkpoint for strategy in strategies):
        note += (
            ' The hardest are shown for checkpoints only: scores of an '
            'untrained model are meaningless.'
        )
    return (
        f'<h2>Overlaps of negatives</h2><p class="note">{note}</p>'
        f'{picture(png, "IoU of negatives")}'
    )


def strategies_html(strategies: Sequence[Strategy]) -> str:
    rows = [
        f'<li><b>{escape(item.name)}</b>: '
        f'{escape(item.checkpoint or "initial weights, untrained")}'
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
        'policy or guided anchors use predictions, initial weights show the '
        'first training step. Boxes of RetinaPlusHead are trained on '
        'all positives of the assigner, whatever mining leaves out of the '
        'classification.'
        + (
            ' Columns named "(RPN)" show the first of two stages; the second '
            'one, with its assigner, sampler and losses, is not shown.'
            if any(hasattr(item.model, 'rpn_head') for item in strategies)
            else ''
        )
        + '</p>'
    )

"""What the sheet marks, read from the marks that it draws."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmdet_retina_plus.analysis.assignments import drawing
from mmdet_retina_plus.analysis.assignments.assignment import Assignment
from mmdet_retina_plus.analysis.assignments.drawing import (
    GREY,
    RED,
    colour_of,
    draw_scene,
    wrapped,
)
from mmdet_retina_plus.analysis.assignments.negatives import (
    negative_overlaps,
)
from mmdet_retina_plus.analysis.assignments.soft_maps import SoftMap
from mmdet_retina_plus.analysis.assignments.statistics import (
    counts_of,
    statistics,
)
from mmdet_retina_plus.analysis.assignments.strategies import Scene


def scene(states, weights=(1.0,), boxes=True) -> Scene:
    """Four anchors on two levels, the first a positive of object 1."""
    anchors = np.array(
        [[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [0, 0, 16, 16]], float
    )
    assignment = Assignment(
        strides=[8, 16],
        levels=np.array([0, 0, 0, 1]),
        centres=(anchors[:, :2] + anchors[:, 2:]) / 2,
        boxes=anchors if boxes else None,
        states=np.array(states),
        priors=np.array([0]),
        objects=np.array([1]),
        weights=np.array(weights),
        scores=np.array([0.9, 0.1, 0.2, 0.8]),
    )
    return Scene(
        pixels=np.full((16, 16, 3), 100, np.uint8),
        boxes=np.array([[9, 9, 15, 15], [0, 0, 8, 7]], float),
        sides=np.array([12.0, 100]),
        labels=np.array([0, 2]),
        assignment=assignment,
        maps=[],
    )


def drawn(example: Scene):
    axes = Figure().add_subplot()
    draw_scene(axes, example)
    return axes


def dots(axes) -> dict:
    """Places of every colour."""
    return {
        tuple(np.round(points.get_facecolor()[0][:3], 3)): (
            points.get_offsets().tolist()
        )
        for points in axes.collections
        if len(points.get_facecolor())
    }


def colour(name) -> tuple:
    return tuple(np.round(to_rgba(name)[:3], 3))


def test_an_object_without_positives_is_marked():
    axes = drawn(scene([1, 0, -1, 0]))
    outlines = [x for x in axes.patches if isinstance(x, Rectangle)]
    edges = {x.get_xy(): x.get_edgecolor() for x in outlines}
    assert edges[9, 9] == to_rgba(RED)
    assert edges[0, 0] == to_rgba('k')
    (text,) = axes.texts
    assert text.get_text() == 'none'
    assert text.get_position() == (9, 9)


def test_positives_have_the_colour_of_their_level_and_ignored_are_grey():
    axes = drawn(scene([1, 0, -1, 0]))
    assert dots(axes) == {
        colour(GREY): [[4, 12]],
        colour(colour_of(8)): [[4, 4]],
    }
    assert axes.get_xlabel() == '1 positive, 1 ignored, 2 negative'


def test_where_most_is_ignored_the_negatives_are_drawn():
    axes = drawn(scene([1, 0, -1, -1]))
    assert dots(axes)[colour('k')] == [[12, 4]]
    assert colour(GREY) not in dots(axes)


def test_a_small_weight_is_pale():
    pale, full = (
        drawn(scene([1, 0, 0, 0], [weight])).collections[-2].get_facecolor()
        for weight in (0.1, 1.0)
    )
    assert pale[0, 3] == pytest.approx(0.28)
    assert full[0, 3] == 1


def texts_of(images, strategies) -> list:
    """Titles and labels of every line of a sheet."""
    names = [f'strategy {place}' for place in range(strategies)]
    example = [scene([1, 0, 0, 0])] * strategies
    rows = [(f'{place}.png', example) for place in range(images)]
    return [
        [(cell.label, cell.title) for cell in line]
        for line in drawing.lines_of(rows, names)
    ]


def test_strategies_are_columns_and_images_rows():
    assert texts_of(2, 2) == [
        [('0.png', 'strategy 0'), ('', 'strategy 1')],
        [('1.png', ''), ('', '')],
    ]


def test_many_strategies_take_several_lines_with_titles():
    lines = texts_of(2, 8)
    assert list(map(len, lines)) == [4] * 4
    assert [line[0] for line in lines] == [
        ('0.png', 'strategy 0'),
        ('', 'strategy 4'),
        ('1.png', 'strategy 0'),
        ('', 'strategy 4'),
    ]


def test_images_of_one_strategy_lie_side_by_side():
    lines = texts_of(8, 1)
    assert list(map(len, lines)) == [4, 4]
    assert lines[1][0] == ('', '4.png')


def test_soft_maps_are_rows_of_levels_of_as_many_images_as_fit(monkeypatch):
    figures = []
    monkeypatch.setattr(drawing, 'encoded', figures.append)
    soft = SoftMap('weight', np.zeros((2, 2)))
    maps = [[soft] * 2, [soft]]
    example = scene([1, 0, 0, 0])._replace(maps=maps)
    monkeypatch.setattr(drawing, 'ROWS', 5)
    drawing.draw_maps([(f'{number}.png', example) for number in range(4)])
    *grid, _ = figures[0].axes
    labels = [axes.get_ylabel() for axes in grid]
    assert labels == ['0.png', '', '', '', '1.png', '', '', '']
    assert [axes.get_visible() for axes in grid] == [
        True,
        True,
        True,
        False,
    ] * 2


@pytest.mark.parametrize(
    ('number', 'most', 'columns'),
    [(10, 9, 5), (9, 9, 9), (10, 5, 5), (11, 5, 4), (1, 3, 1)],
)
def test_rows_of_the_legend_are_filled_evenly(number, most, columns):
    assert drawing.even(number, most) == columns


def test_statistics_count_by_size_class_and_level():
    numbers = statistics(
        [counts_of(scene([1, 0, -1, 0])), counts_of(scene([1, 0, 0, 0]))],
        ('a', 'b'),
    )
    sizes = numbers['by_size']
    assert sizes['all'] == dict(objects=4, positives_per_object=0.5, without=2)
    assert sizes['small'] == dict(objects=2, positives_per_object=0, without=2)
    assert sizes['medium'] == dict(
        objects=0, positives_per_object=None, without=0
    )
    assert sizes['large'] == dict(objects=2, positives_per_object=1, without=0)
    assert numbers['by_class']['a']['without'] == 2
    assert numbers['by_class']['label 2']['without'] == 0
    assert numbers['negatives_per_positive'] == 2.5
    assert numbers['by_level'] == [
        dict(stride=8, positives=2, ignored=1, negatives=3),
        dict(stride=16, positives=0, ignored=0, negatives=2),
    ]


def test_the_hardest_negatives_have_the_highest_scores():
    example = scene([1, 0, 0, 0])
    found = negative_overlaps(example, trained=True)
    # Scores .8, .2, .1; the anchor of the coarse level covers an object.
    np.testing.assert_allclose(found.hardest, [56 / 256, 0, 0])
    assert sorted(found.random) == sorted(found.hardest)
    assert negative_overlaps(example, trained=False).hardest is None
    points = scene([1, 0, 0, 0], boxes=False)
    assert negative_overlaps(points, trained=True) is None


def test_long_names_break_behind_their_parts():
    name = 'retinanet_r50-caffe_fpn_something_1x_coco'
    lines = wrapped(name, 16).split('\n')
    assert ''.join(lines) == name
    assert max(map(len, lines)) <= 16

"""Figures of an evaluation."""

import numpy as np
import pytest

from mmdet_retina_plus.analysis.evaluation.figures import (
    confusion_figure,
    recall_figure,
)

KEYS = ('precision_50', 'precision_75', 'precision_mean')


@pytest.mark.parametrize('classes', [1, 2])
def test_a_single_class_does_not_hide_the_line_of_all(classes):
    names = [*map(str, range(classes)), None]
    curves = [dict(name=name) | dict.fromkeys(KEYS, (1, 0)) for name in names]
    figure = recall_figure(dict(curves=dict(recall=[0, 1], of=curves)))
    found = [line.name for line in figure.data if line.name.isdigit()]
    assert found == (['0', '1'] if classes == 2 else [])


def test_a_confusion_matrix_of_many_classes_has_numbers_only():
    """A text for each cell of 1,200 classes would take 70 MB."""
    counts = np.random.default_rng(0).integers(0, 999, (300, 300))
    names = [f'class {number}' for number in range(299)]
    figure = confusion_figure(dict(confusion=counts.tolist()), names)
    assert len(figure.to_json()) < 15 * counts.size

"""Maps that the semantic head gets."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from mmdet_retina_plus.doctor.semantic_maps import check_maps
from mmdet_retina_plus.heads import UNetSemanticHead


def found(values, class_specific=True, paints=False):
    """Findings about a map with these values, of two classes."""
    sample = DetDataSample(gt_instances=InstanceData(labels=torch.zeros(1)))
    if values:
        sample.gt_sem_seg = PixelData(sem_seg=torch.tensor([[values]]))
    head = UNetSemanticHead(2, 4, class_specific)
    model = SimpleNamespace(semantic_head=head)
    return check_maps(model, [{'data_samples': sample}], paints)


@pytest.mark.parametrize(
    ('values', 'class_specific', 'level', 'part'),
    [
        ([], True, 'error', 'gets no map'),
        ([0, 63, 252], True, 'error', 'values 0, 63, 252'),
        ([0, 63, 252], False, 'warning', '0 to 2, and 255 for no label'),
        ([0, 255], False, 'error', '255 is ignored'),
        ([0, 0], True, 'error', 'all pixels are background'),
    ],
)
def test_maps_that_the_head_cannot_learn(values, class_specific, level, part):
    (finding,) = found(values, class_specific)
    assert finding.level == level
    assert part in finding.message


@pytest.mark.parametrize('values', [[0, 1, 2, 255], [1, 1]])
def test_maps_of_any_source_are_fine(values):
    assert found(values) == []


def test_objects_are_painted_from_masks():
    (finding,) = found([255, 255], paints=True)
    assert finding.message.startswith('PaintInstances gets no masks')
    assert 'with_mask=True' in finding.fix
    assert found([0, 1, 255], paints=True) == []


def test_a_model_without_a_semantic_head_needs_no_map():
    assert check_maps(SimpleNamespace(), [{'data_samples': None}]) == []

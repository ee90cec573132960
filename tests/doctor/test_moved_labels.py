"""Maps and masks that are not moved with their image."""

import pytest

from tests.helpers.case_files import Case

PIPELINE = """
train_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PaintInstances', keep_masks=False),
    {},
    dict(type='PackDetInputs')]
"""


@pytest.mark.parametrize(
    ('step', 'moves'),
    [
        ("dict(type='RandomAffine', max_rotate_degree=5.0)", False),
        ("dict(type='RandomFlip', prob=1.0)", True),
        ("dict(type='RandomCrop', crop_size=(64, 64))", True),
    ],
)
def test_a_map_moves_with_its_image(tmp_path, step, moves):
    case = Case(tmp_path)
    case.add(PIPELINE.format(step))
    found = [x for x in case.problems() if 'not their maps' in x.message]
    assert [x.subject for x in found] == [
        'train_dataloader.dataset.pipeline[3] (RandomAffine)'
    ] * (not moves)

"""Labels are categories by their names, in whatever order a file has them."""

import itertools
import json
import re

import pytest
import torch
from mmengine.config import Config

from mmdet_retina_plus.common import label_names as module
from mmdet_retina_plus.common.label_names import (
    category_ids,
    label_names,
    read_categories,
    unknown_categories,
)
from tests.helpers.commands import predict, read
from tests.helpers.detector_files import CLASSES
from tests.helpers.image_files import annotations, write_image

FOUND = 'green'
"""Label 1, the only one that the detector of these tests gives."""


@pytest.fixture
def run(tmp_path, seeing):
    """Predict in an image with categories of these names, 10, 20, ..."""
    write_image(tmp_path / 'a.png', (5, 5, 25, 20))

    def run(names, code=0, beside=()):
        ann_file = annotations(
            tmp_path / 'ann.json', (7, 'a.png'), names=names
        )
        arguments = (tmp_path, *seeing, '--ann-file', ann_file, *beside)
        out = tmp_path / 'out.json'
        said = predict(*arguments, '--out', out, code=code)
        if code:
            assert not out.exists()
            return None, ' '.join(said.split())
        (box,) = read(out)
        return box['category_id'], said

    return run


@pytest.mark.parametrize('names', [*itertools.permutations(CLASSES)])
def test_a_class_is_the_category_of_its_name(run, names):
    category, said = run(names)
    assert category == 10 * (1 + names.index(FOUND))
    assert 'Note' not in said


@pytest.mark.parametrize(
    'names', [('any', *CLASSES), ('green', 'any', 'blue', 'red')]
)
def test_categories_that_the_detector_lacks_are_named(run, names):
    category, said = run(names)
    assert category == 10 * (1 + names.index(FOUND))
    assert 'Note: the detector has no class any' in said


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (
            ('red', 'green'),
            r'no category blue, which the detector has; they have',
        ),
        (('Red', 'green', 'blue'), r'no category red.*did you mean Red\?'),
        (
            ('red', 'green ', 'blue'),
            r"no category green.*'green '.*did you mean green",
        ),
        (
            ('cat', 'dog'),
            r"no category red, green, blue.*they have 'cat', 'dog'",
        ),
        (
            ('red', 'green', 'blue', 'green'),
            'category green with the ids 20, 40',
        ),
    ],
)
def test_names_that_do_not_fit_are_refused(run, names, message):
    _, said = run(names, code=1)
    assert re.search(message, said)


def test_two_categories_of_a_name_that_no_class_has_do_no_harm(run):
    assert run(('x', 'x', *CLASSES))[0] == 40


def test_the_checkpoint_names_the_labels(run, seeing):
    """And not the config, which may be another one by now."""
    meta = dict(dataset_meta=dict(classes=('green', 'blue', 'red')))
    torch.save(dict(state_dict={}, meta=meta), seeing[1])
    category, said = run(CLASSES)
    assert category == 30  # Its label 1 is blue.
    assert (
        'Note: the classes of the config (red, green, blue) differ from those '
        'of the checkpoint (green, blue, red), which are used'
    ) in said


def test_a_checkpoint_without_names_is_named(run, seeing):
    torch.save(dict(state_dict={}), seeing[1])
    _, said = run(CLASSES)
    assert (
        f'Note: {seeing[1]} names no classes, so labels get the names of the '
        'config (red, green, blue)'
    ) in said


def train_on(config: str, *files) -> None:
    """Let a config train on COCO files."""
    cfg = Config.fromfile(config)
    datasets = [dict(type='CocoDataset', ann_file=str(file)) for file in files]
    dataset = dict(type='ConcatDataset', datasets=datasets)
    cfg.train_dataloader = dict(dataset=dataset)
    cfg.dump(config)


def test_a_config_of_other_classes_does_not_order_those_of_the_checkpoint(
    run, seeing, tmp_path
):
    meta = dict(dataset_meta=dict(classes=('green', 'blue', 'red')))
    torch.save(dict(state_dict={}, meta=meta), seeing[1])
    train = annotations(tmp_path / 't.json', names=('red', 'blue', 'green'))
    train_on(seeing[0], train)
    category, said = run(CLASSES)
    assert category == 30  # Label 1 of the checkpoint is blue.
    assert said.count('Note: ') == 1
    assert 'the checkpoint (green, blue, red), which are used' in said


def test_labels_of_a_training_file_in_another_order_follow_it(
    run, seeing, tmp_path
):
    """As mmdet numbers them, whose metric then agrees, and its names not."""
    train = annotations(tmp_path / 't.json', names=('green', 'blue', 'red'))
    train_on(seeing[0], train)
    category, said = run(('red', 'green', 'blue'))
    assert category == 30  # Label 1 was trained as blue.
    assert 'Note: mmdet numbered the labels' in said
    assert 'green, blue, red' in said


@pytest.mark.parametrize(
    'orders',
    [
        [('green', 'red', 'blue'), CLASSES],
        [('green', 'red', 'blue'), ('blue', 'red', 'green')],
        [('green', 'blue')],
    ],
)
def test_training_files_that_leave_it_open_are_named(
    run, seeing, tmp_path, orders
):
    files = [
        annotations(tmp_path / f'{number}.json', names=names)
        for number, names in enumerate(orders)
    ]
    train_on(seeing[0], *files)
    category, said = run(CLASSES)
    assert category == 20
    assert 'names are wrong if the detector was trained on this' in said


@pytest.mark.parametrize(
    'names', [CLASSES, ('any', *CLASSES), ('cat', 'dog'), ()]
)
def test_training_files_that_agree_or_are_others_are_not_mentioned(
    run, seeing, tmp_path, names
):
    train_on(seeing[0], annotations(tmp_path / 't.json', names=names))
    assert 'Note' not in run(CLASSES)[1]


@pytest.mark.parametrize('content', [None, '', '[', '{}', '[]'])
def test_training_files_that_cannot_be_read_are_not_needed(
    run, seeing, tmp_path, content
):
    if content is not None:
        (tmp_path / 't.json').write_text(content)
    train_on(seeing[0], tmp_path / 't.json')
    assert 'Note' not in run(CLASSES)[1]


def test_a_config_without_training_data_leaves_the_classes_as_they_are():
    assert label_names(Config(dict()), CLASSES) == (list(CLASSES), '')


@pytest.mark.parametrize('first', [True, False])
def test_categories_are_read_wherever_they_stand(tmp_path, first):
    coco = dict(images=[dict(a='[', b=']')], categories=[dict(name='ä')])
    if first:
        coco = dict(reversed(coco.items()))
    coco = dict(info=dict(categories=[1, 2]), **coco) if first else coco
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(coco, ensure_ascii=False), encoding='utf-8')
    assert read_categories(path) == [dict(name='ä')]


def test_a_large_file_is_not_read_as_a_whole(tmp_path, monkeypatch):
    path = annotations(tmp_path / 'a.json')
    monkeypatch.setattr(module.json, 'loads', pytest.fail)
    assert [item['name'] for item in read_categories(path)] == list(CLASSES)


def test_only_categories_with_objects_are_missed_where_there_are_objects():
    coco = dict(
        categories=[dict(id=0, name='root'), dict(id=1, name='cat')],
        annotations=[dict(category_id=1)],
    )
    assert unknown_categories(coco, ['cat']) == []
    assert unknown_categories(coco, ['dog']) == ['cat']
    assert unknown_categories(coco | dict(annotations=[]), ['cat']) == ['root']


def test_ids_may_be_texts_and_have_gaps():
    coco = dict(categories=[dict(id='b', name='b'), dict(id=7, name='a')])
    assert category_ids(coco, ['a', 'b']) == [7, 'b']

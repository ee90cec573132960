"""Which annotation files `init` takes, and what it says of others."""

import json

import cv2
import numpy as np
import pytest

from mmdet_retina_plus.authoring.annotation_set import read_set
from tests.helpers.case_files import coco_set, write_set


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp('set')).parent


def change_all(key, **values):
    def change(coco):
        for item in coco[key]:
            item.update(values)

    return change


def rename(pattern):
    """Write another file name, of the present one's stem."""

    def change(coco):
        for image in coco['images']:
            stem = image['file_name'].removesuffix('.png')
            image['file_name'] = pattern.format(stem)

    return change


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (change_all('annotations', iscrowd=1), '12 marked "iscrowd"'),
        (change_all('annotations', category_id='1'), 'use one type in both'),
        (change_all('annotations', image_id='1'), 'use one type in both'),
        (change_all('annotations', bbox=[5, 5, 0, 9]), 'without area'),
        (change_all('categories', name='cat'), "called 'cat', ids 1, 2: give"),
        (change_all('annotations', category_id=0), 'add 1 to every "categ'),
        (change_all('annotations', image_id=99), 'write the ids of images th'),
        (change_all('images', id=1), 'ids in images .* unique: 1: give every'),
        (lambda coco: coco.update(images=[]), 'lists no images'),
        (lambda coco: coco.update(annotations=[]), 'lists no annotations'),
        (lambda coco: coco.pop('categories'), "has no list 'categories'"),
        (
            lambda coco: coco['images'][2].pop('width'),
            r'images\[2\] has no width: write "width" and "height"',
        ),
        (rename('images/{}.png'), 'as images/0.png: give .*set'),
        (rename('far\\{}.png'), 'but 0.png is: write file_name without'),
        (rename('{}.PNG'), r'as 0.PNG; did you mean \d*.png'),
    ],
)
def test_a_file_that_cannot_train_is_refused_in_one_line(
    folder, tmp_path, change, said
):
    coco = coco_set()
    change(coco)
    path = tmp_path / 'bad.json'
    path.write_text(json.dumps(coco))
    with pytest.raises(ValueError, match=said) as error:
        read_set(path, folder / 'images')
    assert '\n' not in f'{error.value}'


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (None, 'there is no file'),
        ('', 'is empty'),
        ('{"images": [', 'truncated'),
        ('[1, 2]', 'not in COCO format'),
        ('3', 'not in COCO format'),
        ('true', 'not in COCO format'),
        ('[' * 100_000, 'nested too deeply'),
        ('[{"image_id": 1, "bbox": [], "score": 1}]', 'ground truth'),
        ('{"shapes": [], "imagePath": "0.png"}', 'labelme2coco.convert'),
        (
            '{"0.png12": {"filename": "0.png", "regions": []}}',
            'globox.AnnotationSet.from_via_json',
        ),
        ('[{"data": {}, "annotations": []}]', 'Label Studio'),
    ],
)
def test_json_of_another_kind_is_refused(folder, tmp_path, content, said):
    path = tmp_path / 'bad.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said) as error:
        read_set(path, folder / 'images')
    assert '\n' not in f'{error.value}'


@pytest.mark.parametrize(
    ('name', 'content', 'said'),
    [
        ('a.xml', '<annotation/>', 'supervision.*from_pascal_voc'),
        ('a.xml', '<annotations/>', 'globox.*from_cvat'),
        ('a.xml', '<annota', 'truncated'),
        (
            'a.xml',
            '<?xml version="1.0" encoding="no"?><a/>',
            'unknown encoding',
        ),
        ('a.txt', '0 .5 .5 .1 .1', 'supervision.*from_yolo'),
        ('data.yaml', 'names: [cat]', 'supervision.*from_yolo'),
        ('a.csv', 'x,y', 'globox.*from_openimage'),
        ('a.zip', '', 'unpack'),
    ],
)
def test_other_formats_are_named_with_their_conversion(
    folder, tmp_path, name, content, said
):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=said):
        read_set(path, folder / 'images')


@pytest.mark.parametrize(
    ('names', 'content', 'said'),
    [
        (['0.xml', '1.xml'], '<annotation/>', 'from_pascal_voc'),
        (['0.XML', '1.XML'], '<annotation/>', 'from_pascal_voc'),
        (['0.txt', '1.txt'], '', 'from_yolo'),
        (
            ['0.json', '1.json', '2.json', '3.json'],
            '{"shapes": [], "imagePath": "0.png"}',
            'labelme',
        ),
        (['a.json'], '{}', 'name the JSON file, such as .*a.json'),
        (['0.png'], '', 'a folder without annotation files'),
    ],
)
def test_folders_are_told_by_their_files(
    folder, tmp_path, names, content, said
):
    for name in names:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        read_set(tmp_path, folder / 'images')


def test_a_photograph_is_no_json_and_is_not_to_be_rewritten(folder, tmp_path):
    path = tmp_path / 'boxes.json'
    _, photo = cv2.imencode('.jpg', np.zeros((8, 8, 3), np.uint8))
    path.write_bytes(photo.tobytes())
    with pytest.raises(ValueError, match='is a JPEG, not JSON') as caught:
        read_set(path, folder / 'images')
    assert 'write_text' not in str(caught.value)


def test_swapped_arguments_are_named(folder):
    with pytest.raises(ValueError, match='give the annotation file first'):
        read_set(folder / 'images', folder / 'train.json')


def test_parts_have_all_images_and_objects_once_and_no_id_of_zero(folder):
    found = read_set(folder / 'train.json', folder / 'images')
    found.annotations[0]['id'] = 0
    chosen = np.arange(len(found.images)) % 2 == 0
    parts = [found.part(x, folder / 'new.json') for x in (chosen, ~chosen)]
    names = [image['file_name'] for part in parts for image in part.images]
    assert sorted(names) == sorted(x['file_name'] for x in found.images)
    assert sum(part.objects for part in parts) == found.objects == 12
    assert all(x['id'] for part in parts for x in part.annotations)

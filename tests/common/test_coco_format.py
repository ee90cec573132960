"""What is COCO's format, and how a fault is named."""

import copy

import pytest

from mmdet_retina_plus.common.coco_format import format_errors

COCO = {
    'images': [
        {'id': 1, 'file_name': 'a.png', 'width': 64, 'height': 48},
        {'id': 2, 'file_name': 'b.png', 'width': 64, 'height': 48},
    ],
    'annotations': [
        {'id': 1, 'image_id': 1, 'category_id': 3, 'area': 200},
        {'id': 2, 'image_id': 2, 'category_id': 7, 'area': 200},
    ],
    'categories': [{'id': 3, 'name': 'cat'}, {'id': 7, 'name': 'dog'}],
}


def test_a_correct_file_has_no_fault():
    assert format_errors(COCO) == ''


@pytest.mark.parametrize('value', [None, [1], {}, '', float('nan')])
@pytest.mark.parametrize(
    ('key', 'field'),
    [
        ('images', 'id'),
        ('images', 'file_name'),
        ('images', 'width'),
        ('annotations', 'id'),
        ('annotations', 'image_id'),
        ('annotations', 'category_id'),
        ('annotations', 'area'),
        ('categories', 'id'),
        ('categories', 'name'),
    ],
)
def test_a_value_of_another_kind_is_named(key, field, value):
    coco = copy.deepcopy(COCO)
    coco[key][1][field] = value
    assert format_errors(coco).startswith(f'{key}[1] has {field} {value!r}')


@pytest.mark.parametrize(
    ('key', 'field', 'value'),
    [
        ('annotations', 'area', '200'),
        ('images', 'height', '48'),
        ('images', 'height', 0),
        ('images', 'file_name', 7),
    ],
)
def test_text_is_no_number_nor_a_number_text(key, field, value):
    coco = copy.deepcopy(COCO)
    coco[key][0][field] = value
    assert f'has {field} {value!r}' in format_errors(coco)


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_null_is_no_entry(key):
    coco = copy.deepcopy(COCO)
    coco[key].append(None)
    assert 'is None, not an object' in format_errors(coco)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda coco: coco.pop('images'), "no list 'images'"),
        (lambda coco: coco['images'][1].pop('width'), 'images[1] has no wid'),
        (lambda coco: coco['annotations'][0].pop('area'), 'has no area'),
        (lambda coco: coco['categories'][0].update(id=7), 'not unique: 7'),
    ],
)
def test_what_is_not_coco_format(change, words):
    coco = copy.deepcopy(COCO)
    change(coco)
    assert words in format_errors(coco)


def test_a_list_is_not_coco_format():
    assert 'images, annotations' in format_errors([])


@pytest.mark.parametrize(
    ('content', 'tool'),
    [
        ({'shapes': [], 'imagePath': '0.png', 'version': '5.0'}, 'LabelMe'),
        ({'0.png12': {'filename': '0.png', 'regions': []}}, 'VIA'),
        ({'_via_settings': {}, '_via_img_metadata': {}}, 'VIA'),
        ({'tags': [], 'size': {}, 'objects': []}, 'Supervisely'),
        ({'samples': [{'filepath': '0.png'}]}, 'FiftyOne'),
        ([{'image': '0.png', 'annotations': []}], 'CreateML'),
        ([{'id': 1, 'data': {}, 'annotations': []}], 'Label Studio'),
    ],
)
def test_files_of_other_tools_are_named(content, tool):
    assert f'it is from {tool}; export it as COCO' in format_errors(content)

"""Which images are seen, and the ids that they get."""

import re

import pytest
from pycocotools.coco import COCO

from mmdet_retina_plus.inference.image_list import find_images
from tests.helpers.commands import predict, read
from tests.helpers.detector_files import CLASSES
from tests.helpers.image_files import annotations, write_image


def test_ids_are_numbers_in_the_order_of_names(tmp_path, seeing):
    names = ['b.png', 'a/c.png', 'a.png']
    for width, name in enumerate(names, 10):
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, (5, 5, 5 + width, 20))
    (tmp_path / 'images' / 'notes.txt').write_text('no image')
    out = tmp_path / 'out.json'
    predict(tmp_path / 'images', *seeing, '--out', out)
    coco = COCO(tmp_path / 'out.images.json')
    coco.createIndex()
    images = [coco.imgs[item['image_id']] for item in read(out)]
    assert [image['id'] for image in images] == [1, 2, 3]
    assert [image['file_name'] for image in images] == sorted(names)
    assert {(x['height'], x['width']) for x in images} == {(90, 120)}
    widths = [item['bbox'][2] for item in read(out)]
    assert widths == [12, 11, 10]
    assert [coco.cats[i]['name'] for i in (1, 2, 3)] == list(CLASSES)
    assert len(coco.loadRes(str(out)).anns) == 3


def test_images_may_be_a_pattern_or_have_a_pattern_for_a_name(
    tmp_path, seeing
):
    for name in ('a[1].png', 'a1.png', 'b.png'):
        write_image(tmp_path / 'images' / name)
    out = tmp_path / 'out.json'
    beside = tmp_path / 'out.images.json'
    for images, names in (
        ('a[1].png', ['a[1].png']),
        ('a*.png', ['a1.png', 'a[1].png']),
        ('**/b.*', ['b.png']),
    ):
        predict(tmp_path / 'images' / images, *seeing, '--out', out)
        listed = [image['file_name'] for image in read(beside)['images']]
        assert listed == names


def test_an_annotation_file_gives_images_ids_and_categories(tmp_path, seeing):
    for name in ('a.png', 'b.png', 'unlisted.png'):
        write_image(tmp_path / 'images' / name, (5, 5, 25, 20))
    names = ('any', *CLASSES)
    ann_file = annotations(
        tmp_path / 'ann.json', (9, 'b.png'), (4, 'a.png'), names=names
    )
    out = tmp_path / 'out.json'
    images = tmp_path / 'images'
    predict(images, *seeing, '--out', out, '--ann-file', ann_file)
    found = [(item['image_id'], item['category_id']) for item in read(out)]
    assert found == [(9, 30), (4, 30)]
    assert not (tmp_path / 'out.images.json').exists()


@pytest.mark.parametrize(
    ('images', 'said'),
    [
        ('imgs', 'no file or folder imgs; did you mean image?'),
        ('image', '.webp; image holds a.jp'),
        (
            'image/*.jpg',
            'No file matches the pattern image/*.jpg: write it in',
        ),
    ],
)
def test_a_place_without_images_says_what_is_there(
    tmp_path, monkeypatch, images, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'image').mkdir()
    (tmp_path / 'image' / 'a.jp').touch()
    (tmp_path / 'seeing.py').touch()
    with pytest.raises(ValueError, match=re.escape(said)):
        find_images(images)


BAD_ANNOTATIONS = {
    'no json': ('[', 'not JSON, or is truncated'),
    'nothing': ('', 'is empty'),
    'no text': ('\xff\xd8\xff', 'is a JPEG, not JSON'),
    'a list': ('[]', 'not in COCO format'),
    'no category': (dict(names=('red', 'green')), 'no category blue'),
    'no image there': (dict(name='absent.png'), 'No image'),
    'a name that leads out': (dict(name='../a.png'), 'leads out'),
}


@pytest.mark.parametrize('case', BAD_ANNOTATIONS)
def test_bad_annotation_files_are_refused(tmp_path, seeing, case):
    images = tmp_path / 'images'
    write_image(images / 'a.png')
    write_image(tmp_path / 'a.png')
    content, message = BAD_ANNOTATIONS[case]
    ann_file = tmp_path / 'ann.json'
    if isinstance(content, str):
        ann_file.write_text(content, 'latin-1')
    else:
        image = (1, content.get('name', 'a.png'))
        names = content.get('names', CLASSES)
        annotations(ann_file, image, names=names)
    out = tmp_path / 'out.json'
    output = predict(
        *(images, *seeing, '--out', out, '--ann-file', ann_file),
        *('--show-dir', tmp_path / 'pictures'),
        code=1,
    )
    assert message in output
    assert not out.exists()

"""Image files against annotation files, in one and in several processes."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdet_retina_plus.doctor import image_files
from mmdet_retina_plus.doctor.images import (
    check_brightness,
    check_pages,
    check_twice,
    look_at_images,
)
from mmdet_retina_plus.doctor.missing_images import Listing, near_match
from mmdet_retina_plus.doctor.shared_images import check_shared
from mmdet_retina_plus.doctor.split import Split
from mmdet_retina_plus.doctor.tints import check_tints
from tests.helpers.labelled_sets import labelled

LOAD = [{'type': 'LoadImageFromFile'}]


@pytest.fixture
def split(tmp_path):
    images = []
    for number in range(8):
        name = f'{number}.png'
        image = np.full((20 + number, 30, 3), number, np.uint8)
        image[:9] = number ^ 1
        cv2.imwrite(str(tmp_path / name), image)
        images.append(
            {
                'id': number,
                'file_name': name,
                'width': 30,
                'height': 20 + number,
            }
        )
    coco = {'images': images, 'annotations': [], 'categories': []}
    pipeline = [{'type': 'LoadImageFromFile'}]
    return Split('train', coco, tmp_path, (), pipeline=pipeline)


def test_processes_see_what_one_sees(split, monkeypatch):
    alone = look_at_images([split], fast=False)
    monkeypatch.setattr(image_files, 'FEW', 0)
    monkeypatch.setattr(image_files, 'CHUNK', 3)
    shown = []
    together = look_at_images(
        [split], fast=False, track=lambda x: shown.append(len(x)) or x
    )
    assert together == alone
    assert shown == [3]
    assert [x.shape for x in alone.values()] == [
        (20 + number, 30, 3) for number in range(8)
    ]


def test_fast_reads_all_headers_and_decodes_a_sample(split, monkeypatch):
    from mmdet_retina_plus.doctor import images

    monkeypatch.setattr(images, 'SAMPLE', 1)
    looks = look_at_images([split], fast=True).values()
    assert [x.size for x in looks] == [(30, 20 + n) for n in range(8)]
    # One at random, and three of each format.
    assert 3 <= sum(x.shape != () for x in looks) <= 4


def test_a_damaged_file_of_a_rare_format_is_found_fast(split, tmp_path):
    (tmp_path / 'rare.bmp').write_bytes(b'BM' + bytes(60))
    split.images.append(
        {'id': 9, 'file_name': 'rare.bmp', 'width': 5, 'height': 5}
    )
    looks = look_at_images([split], fast=True)
    assert looks[str(tmp_path / 'rare.bmp')].error


def in_part(split, name, first, last):
    images = split.images[first:last]
    return replace(split, name=name, coco=split.coco | {'images': images})


def test_label_maps_in_place_of_photographs(split, tmp_path):
    # Equal bytes, as is common for label maps of one class.
    (tmp_path / '1.png').write_bytes((tmp_path / '0.png').read_bytes())
    looks = look_at_images([split], fast=False)
    (finding,) = check_brightness(split, looks)
    assert '8 of 8 decoded images have values of 0 to 7' in finding.message
    parts = [in_part(split, 'train', 0, 1), in_part(split, 'val', 1, 2)]
    assert check_shared(parts, looks) == []


def test_one_bright_pixel_makes_a_photograph(split, tmp_path):
    for number in range(8):
        image = np.zeros((20 + number, 30, 3), np.uint8)
        image[3, 4] = 200
        cv2.imwrite(str(tmp_path / f'{number}.png'), image)
    looks = look_at_images([split], fast=False)
    assert check_brightness(split, looks) == []


def with_copies(split, folder, number):
    """Files of one image, each with another number of objects."""
    image = np.full((20, 30, 3), 200, np.uint8)
    image[3, 4] = 0
    annotations = []
    for name in range(number):
        cv2.imwrite(str(folder / f'{name}.png'), image)
        annotations += [
            {
                'id': len(annotations) + at,
                'image_id': name,
                'category_id': 1,
                'bbox': [2, 2, 9, 9],
                'area': 81,
                'iscrowd': 0,
            }
            for at in range(name)
        ]
    coco = {
        'images': split.images[:number],
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'x'}],
    }
    return replace(split, coco=coco, classes=('x',))


def test_many_files_of_one_image_are_one_finding(split, tmp_path):
    train = with_copies(split, tmp_path, 5)
    looks = look_at_images([train], fast=False)
    for name in ('train', 'val'):
        (finding,) = check_shared([replace(train, name=name)], looks)
        assert '5 image files have the bytes of one image' in finding.message
        assert '.png' not in finding.fix


def test_copies_of_all_of_training_have_a_fix_that_leaves_images(
    split, tmp_path
):
    train = with_copies(split, tmp_path, 1)
    val = replace(train, name='val', key='val_dataloader.dataset')
    looks = look_at_images([train], fast=False)
    (finding,) = check_shared([train, val], looks)
    assert finding.fix.startswith('val_dataloader.dataset.ann_file=')


def scene(seed, size=(120, 90)):
    """A smooth random picture."""
    cells = np.random.default_rng(seed).integers(255, size=(7, 9, 3))
    return cv2.resize(cells.astype('B'), size, interpolation=cv2.INTER_CUBIC)


def of_pictures(folder, name, pictures, first_box=0):
    """A data set with one object per picture, saved as JPEG if not train."""
    (folder / name).mkdir()
    images, annotations = [], []
    for at, picture in enumerate(pictures):
        file = f'{name}{at}.{"png" if name == "train" else "jpg"}'
        cv2.imwrite(str(folder / name / file), picture)
        height, width = picture.shape[:2]
        images.append(
            {'id': at, 'file_name': file, 'width': width, 'height': height}
        )
        annotations.append(
            {
                'id': at + 1,
                'image_id': at,
                'category_id': 1,
                'bbox': [first_box + at, 2, 9, 9],
                'area': 81,
                'iscrowd': 0,
            }
        )
    coco = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'x'}],
    }
    steps = [{'type': 'LoadImageFromFile'}]
    return Split(name, coco, folder / name, ('x',), pipeline=steps)


SEEN = [scene(seed) for seed in range(8)]
OTHER = [scene(seed) for seed in range(20, 28)]


@pytest.mark.parametrize(
    ('copies', 'told'),
    [
        (SEEN[:2] + OTHER, 2),
        ([cv2.resize(x, (80, 60)) for x in SEEN], 8),
        ([x[:, ::-1] for x in SEEN], 8),
        ([cv2.convertScaleAbs(x, alpha=0.7, beta=20) for x in SEEN], 8),
        (OTHER, 0),
        # Scenes of one colour scheme, as slices of scans are.
        ([cv2.addWeighted(x, 0.4, SEEN[0], 0.6, 0) for x in OTHER], 0),
    ],
)
def test_training_images_saved_anew_are_told_by_their_pixels(
    tmp_path, copies, told
):
    splits = [
        of_pictures(tmp_path, 'train', SEEN),
        of_pictures(tmp_path, 'val', copies),
    ]
    found = check_shared(splits, look_at_images(splits, fast=False))
    start = f'{told} of {len(copies)} images look like a training image'
    assert [x.message.startswith(start) for x in found] == [True] * bool(told)


@pytest.mark.parametrize(
    ('training', 'validation', 'told'),
    [
        ((60, 80, 110), (60, 80, 110), 0),
        ((60, 80, 110), (110, 80, 60), 1),
        # Another light, or hardly any colour.
        ((60, 80, 110), (200, 80, 60), 0),
        ((78, 80, 82), (82, 80, 78), 0),
    ],
)
def test_files_with_red_and_blue_exchanged(
    tmp_path, training, validation, told
):
    def tinted(colour, first):
        return [
            cv2.addWeighted(
                scene(seed), 0.2, np.full((90, 120, 3), colour, 'B'), 0.8, 0
            )
            for seed in range(first, first + 20)
        ]

    splits = [
        of_pictures(tmp_path, 'train', tinted(training, 0)),
        of_pictures(tmp_path, 'val', tinted(validation, 30)),
    ]
    looks = look_at_images(splits, fast=False)
    found = check_tints(splits, looks)
    assert ['red and blue' in x.message for x in found] == [True] * told


@pytest.mark.parametrize(
    ('colours', 'told'),
    [
        ([(40, 40, 200), (200, 40, 40)], 0),
        ([(200, 40, 40), (40, 40, 200)], 1),
        # One class has another colour, as under another light.
        ([(200, 40, 40), (200, 40, 40)], 0),
        ([(90, 90, 90), (90, 90, 90)], 0),
    ],
)
def test_classes_with_red_and_blue_exchanged(tmp_path, colours, told):
    splits = [
        of_colours(tmp_path, 'train', [(40, 40, 200), (200, 40, 40)]),
        of_colours(tmp_path, 'val', colours),
    ]
    found = check_tints(splits, {})
    assert [x.subject for x in found] == ['val data'] * told
    # Files that number the classes otherwise exchange the classes.
    coco = splits[1].coco | {'categories': splits[1].coco['categories'][::-1]}
    assert check_tints([splits[0], replace(splits[1], coco=coco)], {}) == []


def of_colours(folder, name, colours):
    """A data set with an image of one colour per object, of a class each."""
    (folder / name).mkdir()
    random = np.random.default_rng(0)
    labels = [at % len(colours) for at in range(30)]
    for at, label in enumerate(labels):
        noise = random.integers(-9, 9, size=(99, 99, 3))
        image = (noise + colours[label]).astype('B')
        cv2.imwrite(str(folder / name / f'{at}.png'), image)
    return labelled(
        name,
        [[label] for label in labels],
        image_dir=folder / name,
        pipeline=[{'type': 'LoadImageFromFile'}],
    )


GREYS = [(60, 60, 60), (160, 160, 160)]


@pytest.mark.parametrize(
    ('colours', 'told'),
    [
        (GREYS, 0),
        (GREYS[::-1], 1),
        # Another light, and a class of another colour.
        ([(20, 20, 20), (70, 70, 70)], 0),
        (GREYS[:1] * 2, 0),
    ],
)
def test_labels_exchanged_between_classes(tmp_path, colours, told):
    splits = [
        of_colours(tmp_path, 'train', GREYS),
        of_colours(tmp_path, 'val', colours),
    ]
    found = check_tints(splits, {})
    words = 'cat like dog, dog like cat'
    assert [words in x.message for x in found] == [True] * told


def test_all_pictures_of_one_fixed_camera_look_alike(tmp_path):
    def shot(number):
        picture = SEEN[0].copy()
        picture[10 + number : 14 + number, 20:24] = 255
        return picture

    splits = [
        of_pictures(tmp_path, 'train', map(shot, range(0, 40, 2))),
        of_pictures(tmp_path, 'val', map(shot, range(1, 40, 2)), 30),
    ]
    assert check_shared(splits, look_at_images(splits, fast=False)) == []


def test_specimens_under_one_microscope_are_not_copies(tmp_path):
    rows, columns = np.mgrid[:128, :128] / 64 - 1

    def specimen(seed):
        random = np.random.default_rng(seed)
        light = 200 - 70 * (rows**2 + columns**2) + 10 * columns
        for y, x in random.uniform(-0.8, 0.8, (3, 2)):
            light -= 40 * np.exp(-200 * ((rows - y) ** 2 + (columns - x) ** 2))
        light += random.normal(0, 3, light.shape)
        return light.clip(0, 255).astype('B')

    splits = [
        of_pictures(tmp_path, 'train', map(specimen, range(80))),
        of_pictures(tmp_path, 'val', map(specimen, range(80, 100)), 30),
    ]
    assert check_shared(splits, look_at_images(splits, fast=False)) == []


@pytest.mark.parametrize(('stem', 'told'), [('shot', 1), ('other', 0)])
def test_versions_of_one_image_in_both_sets(tmp_path, stem, told):
    splits = [
        of_pictures(tmp_path, 'train', SEEN),
        of_pictures(tmp_path, 'val', OTHER),
    ]
    names = ['shot{}_png.rf.1a2b3c.jpg', stem + '{}_png.rf.4d5e6f.jpg']
    for split, name in zip(splits, names, strict=True):
        for at, image in enumerate(split.images):
            path = split.image_dir / image['file_name']
            image['file_name'] = name.format(at)
            path.rename(split.image_dir / image['file_name'])
    found = check_shared(splits, look_at_images(splits, fast=False))
    assert ['8 images are versions' in x.message for x in found] == (
        [True] * told
    )


def test_fast_finds_copies_by_their_boxes(tmp_path, monkeypatch):
    from mmdet_retina_plus.doctor import images

    splits = [
        of_pictures(tmp_path, 'train', SEEN),
        of_pictures(tmp_path, 'val', SEEN),
    ]
    for split in splits:
        for one in list(split.coco['annotations']):
            box = [one['bbox'][0] + 1, 30, 9, 9]
            split.coco['annotations'].append(
                one | {'id': 50 + one['id'], 'bbox': box}
            )
    monkeypatch.setattr(images, 'SAMPLE', 0)
    (finding,) = check_shared(splits, look_at_images(splits, fast=True))
    assert finding.message.startswith('8 of 8 images look like a training')


@pytest.mark.parametrize(('sizes', 'warned'), [((20, 20), 1), ((20, 10), 0)])
def test_pages_that_are_not_read(tmp_path, sizes, warned):
    pages = [Image.new('L', (30, size), size) for size in sizes]
    pages[0].save(tmp_path / '0.tif', save_all=True, append_images=pages[1:])
    images = [{'id': 1, 'file_name': '0.tif', 'width': 30, 'height': 20}]
    coco = {'images': images, 'annotations': [], 'categories': []}
    steps = [{'type': 'LoadImageFromFile'}]
    split = Split('train', coco, tmp_path, (), pipeline=steps)
    looks = look_at_images([split], fast=False)
    found = check_pages(split, looks)
    assert [x.message.split(',')[0] for x in found] == [
        '1 file has up to 2 pages'
    ] * warned


@pytest.mark.parametrize(
    ('wanted', 'there'),
    [
        ('1a2b3c4d-cat.png', 'cat.png'),
        ('cat.png', '1a2b3c4d-cat.png'),
        ('cat_7.png', 'cat_000007.png'),
        ('cafe\u0301.png', 'caf\u00e9.png'),
    ],
)
def test_a_file_under_a_name_that_a_tool_changed(tmp_path, wanted, there):
    (tmp_path / there).touch()
    found, fix = near_match(wanted, tmp_path, Listing())
    assert found == there
    assert fix.isascii()


def test_pages_of_one_file_have_one_finding(tmp_path):
    pages = [Image.new('L', (30, 20), 99 + at) for at in range(3)]
    pages[0].save(
        tmp_path / 'scan.tif', save_all=True, append_images=pages[1:]
    )
    images = [
        {'id': at, 'file_name': 'scan.tif', 'width': 30, 'height': 20}
        for at in range(3)
    ]
    coco = {'images': images, 'annotations': [], 'categories': []}
    split = Split('train', coco, tmp_path, (), pipeline=LOAD)
    looks = look_at_images([split], fast=False)
    (finding,) = check_pages(split, looks)
    assert finding.message.startswith('1 file has up to 3 pages')
    assert '3 entries share them' in finding.message
    assert check_twice(split, looks) == []


@pytest.mark.parametrize(('dark', 'number'), [(4, 0), (6, 1), (10, 1)])
def test_nearly_black_images_among_others(tmp_path, dark, number):
    images = []
    for at in range(10):
        pixels = np.arange(600, dtype=np.uint8).reshape(20, 30)
        values = pixels % 16 if at < dark else pixels
        Image.fromarray(values).save(tmp_path / f'{at}.png')
        images.append(
            {'id': at, 'file_name': f'{at}.png', 'width': 30, 'height': 20}
        )
    coco = {'images': images, 'annotations': [], 'categories': []}
    split = Split('train', coco, tmp_path, (), pipeline=LOAD)
    found = check_brightness(split, look_at_images([split], fast=False))
    assert len(found) == number
    assert all(x.message.startswith(f'{dark} of 10') for x in found)

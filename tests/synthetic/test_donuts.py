"""The toy tasks of Retina U-Net: exact discs, and nothing else to see."""

import inspect
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from mmdet_retina_plus.synthetic.donuts import disc, draw_donut, make_donuts
from mmdet_retina_plus.synthetic.presets import DONUT_PRESETS

LARGEST_NOISE = 255 / 1.2
"""What noise of 1 is in an image whose white is 1.2."""


@pytest.fixture(params=list(DONUT_PRESETS))
def preset(request):
    return request.param


def draw(number, preset='donuts'):
    rng = np.random.default_rng([11, number])
    image, masks, labels = draw_donut(rng, DONUT_PRESETS[preset])
    assert len(masks) == len(labels) == 1
    return image, masks[0], labels[0]


def masks_by_label(preset):
    """The masks of one disc of each class, cut out by their boxes."""
    masks = {}
    for number in range(10):
        _, mask, label = draw(number, preset)
        masks[label] = mask[mask.any(axis=1)][:, mask.any(axis=0)]
    return masks[0], masks[1]


@given(st.integers(3, 64))
def test_a_disc_is_exactly_as_wide_as_its_diameter(diameter):
    mask = disc(diameter, diameter)
    assert mask.any(axis=0).all() and mask.any(axis=1).all()
    assert abs(mask.sum() - np.pi * diameter**2 / 4) < diameter


def test_boxes_are_as_wide_as_the_preset_says(preset):
    for mask, side in zip(
        masks_by_label(preset), DONUT_PRESETS[preset].diameters, strict=True
    ):
        assert mask.shape == (side, side)


@pytest.mark.parametrize(
    ('preset', 'pixels'), [('donuts', 12), ('donuts-2x', 52)]
)
def test_a_donut_lacks_its_hole_in_the_middle(preset, pixels):
    whole, holed = masks_by_label(preset)
    hole = whole & ~holed
    assert hole.sum() == whole.sum() - holed.sum() == pixels
    np.testing.assert_array_equal(hole, hole[::-1, ::-1])
    assert hole.any(axis=0).sum() == len(whole) // 5


@pytest.mark.parametrize('preset', ['pattern', 'pattern-2x'])
def test_a_pattern_shows_in_the_image_only(preset):
    np.testing.assert_array_equal(*masks_by_label(preset))


def test_donuts_and_pattern_have_the_same_images(tmp_path):
    for preset in ('donuts', 'pattern'):
        make_donuts(tmp_path / preset, num=5, num_val=5, preset=preset)
    for image in (tmp_path / 'donuts' / 'images').iterdir():
        twin = tmp_path / 'pattern' / 'images' / image.name
        assert image.read_bytes() == twin.read_bytes()


def test_objects_are_a_fifth_of_the_noise_brighter():
    """In the hole there is none of it, and at no end is it clipped."""
    inside, outside, holes = [], [], []
    whole, holed = masks_by_label('donuts')
    for number in range(300):
        image, mask, label = draw(number)
        inside.append(image[mask])
        outside.append(image[~mask])
        if label == 1:
            ys, xs = np.nonzero(mask)
            window = image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
            holes.append(window[whole & ~holed])
    inside, outside = np.concatenate(inside), np.concatenate(outside)
    holes = np.concatenate(holes)
    assert inside.mean() - outside.mean() == pytest.approx(
        0.2 * LARGEST_NOISE, abs=1
    )
    assert (outside.min(), outside.max()) == (0, round(LARGEST_NOISE))
    assert inside.min() == pytest.approx(0.2 * LARGEST_NOISE, abs=1)
    assert inside.max() == 255
    # About 1800 pixels of standard deviation 61.
    assert holes.mean() == pytest.approx(LARGEST_NOISE / 2, abs=6)
    assert holes.max() <= round(LARGEST_NOISE)


def test_the_noise_is_uniform_and_independent():
    image, mask, _ = draw(0)
    shares = np.histogram(image[~mask], bins=10, range=(0, LARGEST_NOISE))[0]
    assert np.abs(shares / (~mask).sum() - 0.1).max() < 0.01
    flat = image.astype(float) - image.mean()
    neighbours = (flat[:, 1:] * flat[:, :-1]).mean() / flat.var()
    assert abs(neighbours) < 0.02


def test_classes_are_balanced_and_discs_are_anywhere(preset):
    samples = [draw(number, preset) for number in range(400)]
    assert abs(np.mean([label for *_, label in samples]) - 0.5) < 0.1
    corners = np.array(
        [np.argwhere(mask).min(axis=0) for _, mask, _ in samples]
    )
    room = 320 - max(DONUT_PRESETS[preset].diameters)
    assert (corners.min(axis=0) < 0.02 * room).all()
    assert (corners.max(axis=0) > 0.98 * room).all()


def test_the_only_disc_of_the_smallest_image_fills_it(tmp_path):
    make_donuts(tmp_path / 'set', num=4, num_val=1, size=20)
    coco = COCO(str(tmp_path / 'set' / 'instances_train.json'))
    assert all(x['bbox'] == [0, 0, 20, 20] for x in coco.anns.values())


def test_annotations_are_valid_coco(tmp_path, preset):
    make_donuts(tmp_path / 'set', num=6, num_val=3, preset=preset)
    for split, num in (('train', 6), ('val', 3)):
        coco = COCO(str(tmp_path / 'set' / f'instances_{split}.json'))
        assert len(coco.imgs) == len(coco.anns) == num
        names = [x['name'] for x in coco.loadCats(coco.getCatIds())]
        assert tuple(names) == DONUT_PRESETS[preset].classes
        for image in coco.imgs.values():
            path = tmp_path / 'set' / 'images' / image['file_name']
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert pixels.dtype == np.uint8
            assert pixels.shape == (image['height'], image['width'])
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation)
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert annotation['bbox'] == box
            assert annotation['area'] == mask.sum()


def test_the_annotations_are_of_their_images(tmp_path):
    """A mask is where the image is brighter than the noise can be."""
    make_donuts(tmp_path / 'set', num=20, num_val=1)
    coco = COCO(str(tmp_path / 'set' / 'instances_train.json'))
    for annotation in coco.anns.values():
        name = coco.imgs[annotation['image_id']]['file_name']
        image = cv2.imread(str(tmp_path / 'set/images' / name), 0)
        mask = coco.annToMask(annotation).astype(bool)
        bright = image > round(LARGEST_NOISE)
        assert bright.any() and not (bright & ~mask).any()


def test_same_seed_same_bytes_and_a_larger_set_begins_with_the_smaller(
    tmp_path, preset
):
    for name, num in (('a', 3), ('b', 3), ('large', 5)):
        make_donuts(tmp_path / name, num, num_val=2, seed=7, preset=preset)
    a, b, large = (
        {
            path.name: path.read_bytes()
            for path in (tmp_path / name).rglob('*.*')
        }
        for name in ('a', 'b', 'large')
    )
    assert a == b
    assert len(a) == len(set(a.values())) == 3 + 2 + 2
    del a['instances_train.json']
    assert a.items() <= large.items()


def test_the_set_knows_how_it_was_made(tmp_path):
    make_donuts(tmp_path / 'set', 1, num_val=1, seed=3, size=64)
    info = json.loads((tmp_path / 'set/instances_val.json').read_text())[
        'info'
    ]
    assert info['seed'] == 3 and info['split'] == 'val'
    assert info['diameters'] == [20, 20] and info['holes'] == [0, 4]
    assert info['size'] == 64


def test_its_size_is_the_papers():
    defaults = inspect.signature(make_donuts).parameters
    assert defaults['num'].default == 1000
    assert defaults['num_val'].default == 500
    assert {style.size for style in DONUT_PRESETS.values()} == {320}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'preset': 'easy'}, 'of donuts, choose one of .*scale'),
        ({'num': 0}, 'at least one'),
        ({'num_val': 0}, 'at least one'),
        ({'seed': -1}, 'seed of at least 0'),
        ({'size': 19}, '20 pixels wide: .* not 19'),
    ],
)
def test_bad_input_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_donuts(tmp_path / 'set', **options)
    assert not list(tmp_path.iterdir())


def test_refuses_to_overwrite(tmp_path):
    (tmp_path / 'mine').touch()
    with pytest.raises(FileExistsError, match='delete it or name another'):
        make_donuts(tmp_path, num=1)

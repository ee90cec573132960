"""Faults of annotation files and images, as exports and scripts make them."""

import codecs
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_api

from tests.helpers.case_files import polygon
from tests.helpers.faulty_sets import (
    Split,
    layouts,
    verdict,
    write_split,
)

Fault = Callable[[Split, Random], None]


def any_object(split: Split, draws: Random) -> dict[str, Any]:
    return draws.choice(split.coco['annotations'])


def any_image(split: Split, draws: Random) -> dict[str, Any]:
    return draws.choice(split.coco['images'])


def set_one(key: str, values: Any, split: Split, draws: Random) -> None:
    """Give an object another value of a key."""
    any_object(split, draws)[key] = draws.choice(values)


def set_all(key: str, values: Any, split: Split, draws: Random) -> None:
    value = draws.choice(values)
    for thing in split.coco['annotations']:
        thing[key] = value


def drop(name: str, key: str, split: Split, draws: Random) -> None:
    """Leave a key out of an entry of a list, or of all of its entries."""
    entries = split.coco[name]
    for entry in draws.choice([entries, entries[:1]]):
        entry.pop(key)


def change_boxes(
    change: Callable[[list, dict], list], split: Split, draws: Random
) -> None:
    """Write all boxes in another way."""
    sizes = {image['id']: image for image in split.coco['images']}
    for thing in split.coco['annotations']:
        thing['bbox'] = change(thing['bbox'], sizes[thing['image_id']])


def change_box(
    change: Callable[[list, dict], list], split: Split, draws: Random
) -> None:
    """Write one box in another way."""
    thing = any_object(split, draws)
    sizes = {image['id']: image for image in split.coco['images']}
    thing['bbox'] = change(thing['bbox'], sizes[thing['image_id']])


def corners(box: list, image: dict) -> list:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def centres(box: list, image: dict) -> list:
    return [box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3]]


def rows_first(box: list, image: dict) -> list:
    return [box[1], box[0], box[3], box[2]]


def fractions(box: list, image: dict) -> list:
    width, height = image['width'], image['height']
    return [
        box[0] / width,
        box[1] / height,
        box[2] / width,
        box[3] / height,
    ]


def backwards(box: list, image: dict) -> list:
    return [box[0] + box[2], box[1] + box[3], -box[2], -box[3]]


def far_away(box: list, image: dict) -> list:
    return [box[0] + 5000, *box[1:]]


def twice_as_large(box: list, image: dict) -> list:
    return [2 * value for value in box]


def shift_ids(name: str, key: str, split: Split, draws: Random) -> None:
    """Count ids from 0 in a list, or in the objects, but not in both."""
    if draws.random() < 0.5:
        for entry in split.coco[name]:
            entry['id'] -= 1
    else:
        for thing in split.coco['annotations']:
            thing[key] -= 1


def as_texts(name: str, key: str, split: Split, draws: Random) -> None:
    """Write ids as texts: in the list, in the objects, or in both."""
    where = draws.choice(['list', 'objects', 'both'])
    if where != 'objects':
        for entry in split.coco[name]:
            entry['id'] = str(entry['id'])
    if where != 'list':
        for thing in split.coco['annotations']:
            thing[key] = str(thing[key])


def as_floats(split: Split, draws: Random) -> None:
    for thing in split.coco['annotations']:
        thing['category_id'] = float(thing['category_id'])
        thing['image_id'] = float(thing['image_id'])


def same_id(name: str, split: Split, draws: Random) -> None:
    entries = split.coco[name]
    entries[-1]['id'] = entries[0]['id']


def rename(change: Callable[[str], str], split: Split, draws: Random) -> None:
    """Spell a category otherwise."""
    category = draws.choice(split.coco['categories'])
    category['name'] = change(category['name'])


def same_names(split: Split, draws: Random) -> None:
    for category in split.coco['categories']:
        category['name'] = 'cat'


def reversed_categories(split: Split, draws: Random) -> None:
    split.coco['categories'].reverse()


def one_category_more(split: Split, draws: Random) -> None:
    """With objects of it, which are nothing that is painted."""
    split.coco['categories'].append(dict(id=9, name='owl'))
    if draws.random() < 0.5:
        any_object(split, draws)['category_id'] = 9


def one_category_less(split: Split, draws: Random) -> None:
    split.coco['categories'].pop(draws.randrange(2))


def empty(name: str, split: Split, draws: Random) -> None:
    if draws.random() < 0.5:
        split.coco[name] = []
    else:
        del split.coco[name]


def without_image(split: Split, draws: Random) -> None:
    """An image is missing in the list, its objects are not."""
    split.coco['images'].remove(any_image(split, draws))


def twice(split: Split, draws: Random) -> None:
    """An object is listed again, as another."""
    things = split.coco['annotations']
    things.append(dict(any_object(split, draws), id=len(things) + 1))


def image_twice(split: Split, draws: Random) -> None:
    """A file has two entries, and its objects are shared by these."""
    image = any_image(split, draws)
    split.coco['images'].append(dict(image, id=99))
    for thing in split.coco['annotations']:
        if thing['image_id'] == image['id'] and draws.random() < 0.5:
            thing['image_id'] = 99


def other_segmentation(
    change: Callable[[dict, dict], Any], split: Split, draws: Random
) -> None:
    """Write masks otherwise: of one object, or of all."""
    sizes = {image['id']: image for image in split.coco['images']}
    one = any_object(split, draws)
    for thing in draws.choice([[one], split.coco['annotations']]):
        thing['segmentation'] = change(thing, sizes[thing['image_id']])


def run_lengths(thing: dict, image: dict) -> dict:
    parts = mask_api.frPyObjects(
        thing['segmentation'], image['height'], image['width']
    )
    coded = mask_api.merge(parts)
    return dict(size=coded['size'], counts=coded['counts'].decode())


def turned_run_lengths(thing: dict, image: dict) -> dict:
    """Run lengths of a mask whose height and width are swapped."""
    coded = run_lengths(thing, image)
    return dict(coded, size=coded['size'][::-1])


def polygon_rows_first(thing: dict, image: dict) -> list:
    return [
        # Another fault may have left an odd number.
        [x for pair in zip(part[1::2], part[::2], strict=False) for x in pair]
        for part in thing['segmentation']
    ]


def nested_points(thing: dict, image: dict) -> list:
    return [
        np.reshape(part, (-1, 2)).tolist() for part in thing['segmentation']
    ]


def two_points(thing: dict, image: dict) -> list:
    return [part[:4] for part in thing['segmentation']]


def flat(thing: dict, image: dict) -> list:
    return thing['segmentation'][0]


def line(thing: dict, image: dict) -> list:
    """Three corners without an area."""
    x, y = thing['bbox'][:2]
    return [[x, y, x + 10, y + 10, x + 20, y + 20]]


def far_part(thing: dict, image: dict) -> list:
    """A part in the opposite corner of the image."""
    right, bottom = image['width'], image['height']
    if thing['bbox'][0] > right / 2:
        right = 12
    if thing['bbox'][1] > bottom / 2:
        bottom = 12
    return [*thing['segmentation'], *polygon(right - 12, bottom - 12, 11, 11)]


def odd_numbers(thing: dict, image: dict) -> list:
    return [part[:-1] for part in thing['segmentation']]


def texts(thing: dict, image: dict) -> list:
    return [[str(x) for x in part] for part in thing['segmentation']]


def short_counts(thing: dict, image: dict) -> dict:
    """Run lengths that end before the image does."""
    return dict(size=[image['height'], image['width']], counts=[5, 10])


def no_pixel(thing: dict, image: dict) -> dict:
    height, width = image['height'], image['width']
    return dict(size=[height, width], counts=[height * width])


def shuffled(split: Split, draws: Random) -> None:
    for name in ('images', 'annotations'):
        draws.shuffle(split.coco[name])


def half_outside(box: list, image: dict) -> list:
    return [image['width'] - 5, *box[1:]]


def nothing(thing: dict, image: dict) -> None:
    return None


def no_parts(thing: dict, image: dict) -> list:
    return []


def exchange_masks(split: Split, draws: Random) -> None:
    first, second = (draws.choice(split.coco['annotations']) for _ in '12')
    first['segmentation'], second['segmentation'] = (
        second['segmentation'],
        first['segmentation'],
    )


def exchange_sides(split: Split, draws: Random) -> None:
    for image in split.coco['images']:
        image['width'], image['height'] = image['height'], image['width']


def set_size(values: Any, split: Split, draws: Random) -> None:
    image = any_image(split, draws)
    image[draws.choice(['width', 'height'])] = draws.choice(values)


def rename_file(
    change: Callable[[str], str], split: Split, draws: Random
) -> None:
    image = any_image(split, draws)
    image['file_name'] = change(image['file_name'])


def encode(
    change: Callable[[str], bytes], split: Split, draws: Random
) -> None:
    split.encoding = change


def change_image(
    change: Callable[[Image.Image, Any], None], split: Split, draws: Random
) -> None:
    """Write an image otherwise."""
    path = split.path(draws.choice(sorted(split.truth)))
    with Image.open(path) as image:
        image.load()
    change(image, path)


def jpeg(image: Image.Image, path: Any) -> None:
    image.save(path, 'JPEG', quality=95)


def turned(orientation: int, image: Image.Image, path: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, 'JPEG', quality=95, exif=exif)


def truncated(image: Image.Image, path: Any) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])


def emptied(image: Image.Image, path: Any) -> None:
    path.write_bytes(b'')


def pointer(image: Image.Image, path: Any) -> None:
    path.write_text(
        'version https://git-lfs.github.com/spec/v1\n'
        f'oid sha256:{"0" * 64}\nsize 12345\n'
    )


def removed(image: Image.Image, path: Any) -> None:
    path.unlink()


def halved(image: Image.Image, path: Any) -> None:
    image.reduce(2).save(path)


def grey(image: Image.Image, path: Any) -> None:
    image.convert('L').save(path)


def with_alpha(image: Image.Image, path: Any) -> None:
    image.convert('RGBA').save(path)


def palette(image: Image.Image, path: Any) -> None:
    image.convert('P').save(path)


def ink(image: Image.Image, path: Any) -> None:
    image.convert('CMYK').save(path, 'JPEG', quality=95)


def deep(image: Image.Image, path: Any) -> None:
    values = np.asarray(image.convert('L')).astype(np.uint16) * 16
    Image.fromarray(values).save(path)


# Labels and boxes that are wrong and well formed, with masks that agree, are
# not among them: no check can see these.
FAULTS: dict[str, Fault] = {
    'crowd': partial(set_one, 'iscrowd', [1]),
    'all crowds': partial(set_all, 'iscrowd', [1]),
    'iscrowd of another type': partial(
        set_one, 'iscrowd', ['0', '1', None, True, False, 'false', 2, 1.0]
    ),
    'no iscrowd': partial(drop, 'annotations', 'iscrowd'),
    'ignore': partial(set_one, 'ignore', [1, True, 'yes', 0, False]),
    'unknown category': partial(set_one, 'category_id', [0, 3, -1, 99]),
    'category of another type': partial(
        set_one, 'category_id', ['1', '2', 1.5, None, 'cat', True]
    ),
    'ids as floats': as_floats,
    'category ids as texts': partial(as_texts, 'categories', 'category_id'),
    'image ids as texts': partial(as_texts, 'images', 'image_id'),
    'category ids shifted': partial(shift_ids, 'categories', 'category_id'),
    'image ids shifted': partial(shift_ids, 'images', 'image_id'),
    'unknown image': partial(set_one, 'image_id', [0, 999, '1', None]),
    'no image': without_image,
    'corners': partial(change_boxes, corners),
    'a box of corners': partial(change_box, corners),
    'centres': partial(change_boxes, centres),
    'rows first': partial(change_boxes, rows_first),
    'fractions': partial(change_boxes, fractions),
    'boxes of twice the size': partial(change_boxes, twice_as_large),
    'a box of rows first': partial(change_box, rows_first),
    'a box of its centre': partial(change_box, centres),
    'half outside': partial(change_box, half_outside),
    'negative size': partial(change_box, backwards),
    'outside': partial(change_box, far_away),
    'no such box': partial(
        set_one,
        'bbox',
        [
            None,
            [],
            [1, 2, 3],
            [1, 2, 30, 40, 0.9],
            ['1', '2', '30', '40'],
            [1, 2, float('nan'), 40],
            [1, 2, float('inf'), 40],
            [5, 5, 0, 30],
            [5, 5, 0.5, 30],
            '5,5,30,30',
            [[5, 5], [30, 30]],
        ],
    ),
    'no box': partial(drop, 'annotations', 'bbox'),
    'no area': partial(drop, 'annotations', 'area'),
    'area': partial(
        set_one, 'area', [0, -5, float('nan'), None, '300', 1e-9, 1e9]
    ),
    'no segmentation': partial(drop, 'annotations', 'segmentation'),
    'segmentation null': partial(other_segmentation, nothing),
    'segmentation empty': partial(other_segmentation, no_parts),
    'two points': partial(other_segmentation, two_points),
    'flat polygon': partial(other_segmentation, flat),
    'nested points': partial(other_segmentation, nested_points),
    'polygon rows first': partial(other_segmentation, polygon_rows_first),
    'run lengths': partial(other_segmentation, run_lengths),
    'turned run lengths': partial(other_segmentation, turned_run_lengths),
    'line as polygon': partial(other_segmentation, line),
    'far part': partial(other_segmentation, far_part),
    'odd numbers': partial(other_segmentation, odd_numbers),
    'numbers as texts': partial(other_segmentation, texts),
    'short counts': partial(other_segmentation, short_counts),
    'no pixel': partial(other_segmentation, no_pixel),
    'masks exchanged': exchange_masks,
    'object ids twice': partial(same_id, 'annotations'),
    'image ids twice': partial(same_id, 'images'),
    'category ids twice': partial(same_id, 'categories'),
    'no object id': partial(drop, 'annotations', 'id'),
    'no image size': partial(drop, 'images', 'width'),
    'no file name': partial(drop, 'images', 'file_name'),
    'no category name': partial(drop, 'categories', 'name'),
    'blank after a name': partial(rename, '{} '.format),
    'capitals': partial(rename, str.upper),
    'another name': partial(rename, 'the {}'.format),
    'names twice': same_names,
    'categories reversed': reversed_categories,
    'a category more': one_category_more,
    'a category less': one_category_less,
    'shuffled': shuffled,
    'no images': partial(empty, 'images'),
    'no annotations': partial(empty, 'annotations'),
    'no categories': partial(empty, 'categories'),
    'object twice': twice,
    'image twice': image_twice,
    'sides exchanged': exchange_sides,
    'another size': partial(
        set_size, [0, -1, None, '96', 40, 1000, 96.0, float('nan')]
    ),
    'backslash': partial(rename_file, 'images\\{}'.format),
    'prefix twice': partial(rename_file, 'images/{}'.format),
    'leading dot': partial(rename_file, './{}'.format),
    'capital file': partial(rename_file, str.upper),
    'blank in name': partial(rename_file, ' {}'.format),
    'another ending': partial(
        rename_file, lambda name: name.replace('.png', '.jpg')
    ),
    'byte order mark': partial(
        encode, lambda text: codecs.BOM_UTF8 + text.encode()
    ),
    'UTF-16': partial(encode, lambda text: text.encode('utf-16')),
    'cut off': partial(encode, lambda text: text[: len(text) // 2].encode()),
    'lines of JSON': partial(
        encode, lambda text: f'{text}\n{json.dumps({})}'.encode()
    ),
    'JPEG named PNG': partial(change_image, jpeg),
    'EXIF quarter turn': partial(change_image, partial(turned, 6)),
    'EXIF half turn': partial(change_image, partial(turned, 3)),
    'EXIF mirror': partial(change_image, partial(turned, 2)),
    'EXIF upright': partial(change_image, partial(turned, 1)),
    'image truncated': partial(change_image, truncated),
    'image empty': partial(change_image, emptied),
    'LFS pointer': partial(change_image, pointer),
    'image removed': partial(change_image, removed),
    'image of half the size': partial(change_image, halved),
    'grey image': partial(change_image, grey),
    'alpha': partial(change_image, with_alpha),
    'palette': partial(change_image, palette),
    'CMYK': partial(change_image, ink),
    '16 bits': partial(change_image, deep),
}
"""What spoils a split, by name."""


@dataclass(frozen=True)
class Plan:
    """A set, and how it is corrupted.

    Attributes:
        layouts: Layouts of the training and the validation set.
        faults: Names of faults, each with the name of its split.
        draws: Random numbers of the faults.
    """

    layouts: Sequence[Sequence]
    faults: Sequence[tuple[str, str]]
    draws: Random

    def carry_out(self, folder: Path) -> str:
        """The verdict about the set, which is written into a folder."""
        splits = {
            name: write_split(folder, name, layout)
            for name, layout in zip(
                ('train', 'val'), self.layouts, strict=True
            )
        }
        for fault, name in self.faults:
            FAULTS[fault](splits[name], self.draws)
        for split in splits.values():
            split.write()
        return verdict(folder, splits['train'], splits['val'])


def plans(names: Sequence[str], most: int = 1) -> st.SearchStrategy[Plan]:
    """Sets with one to `most` of the faults of these names."""
    fault = st.tuples(
        st.sampled_from(list(names)), st.sampled_from(['train', 'val'])
    )
    return st.builds(
        Plan,
        st.tuples(layouts(), layouts()),
        st.lists(fault, min_size=1, max_size=most),
        st.randoms(use_true_random=False),
    )

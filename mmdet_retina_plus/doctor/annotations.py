"""What may be wrong in an annotation file and its images."""

import os

import numpy as np

from mmdet_retina_plus.common.coco_format import has_box
from mmdet_retina_plus.common.text import some

from .findings import Finding
from .split import Split

END_OF_FILE = {'.jpg': b'\xff\xd9', '.jpeg': b'\xff\xd9', '.png': b'IEND'}
"""What the last bytes of a complete image hold."""


def check_classes(split: Split) -> list[Finding]:
    """Labels are positions in the file, of the categories that are classes."""
    listed = ', '.join(map(repr, split.categories[:80]))
    way_out = f'set metainfo=dict(classes=({listed},)) in this dataset'
    if isinstance(split.classes, str):
        return split.fail(
            f'classes is the string {split.classes!r}, not a tuple',
            f'put a comma: metainfo=dict(classes=({split.classes!r},))',
        )
    absent = [x for x in split.classes if x not in split.categories]
    if len(absent) == len(split.classes):
        return split.fail(
            f'none of its {len(absent)} classes ({some(absent)}) is a '
            'category of the annotation file, so AP stays 0',
            way_out,
        )
    if absent:
        return split.fail(
            f'no category of the annotation file is called {some(absent)}, '
            'which moves the labels of the classes behind',
            way_out + ', or add the category to the file',
        )
    used = [name for name in split.categories if name in split.classes]
    if used != list(split.classes):
        return split.warn(
            'labels follow the order of the annotation file, names in '
            'pictures the order of classes, and these differ',
            way_out,
        )
    unused = [x for x in split.categories if x not in split.classes]
    if unused:
        return split.warn(
            f'objects of the categories {some(unused)} are ignored, they '
            'are not among the classes',
            way_out + ' and num_classes, unless that is meant',
        )
    return [
        Finding('ok', split.subject, f'{len(used)} classes as in its file')
    ]


def check_references(split: Split) -> list[Finding]:
    ids = {category['id'] for category in split.coco['categories']}
    annotations = split.coco['annotations']
    findings = []
    for key, known in (('image', split.image_sizes), ('category', ids)):
        lost = [x['id'] for x in annotations if x[f'{key}_id'] not in known]
        if lost:
            findings += split.warn(
                f'{len(lost)} annotations have an unknown {key}_id and are '
                f'ignored: ids {some(lost)}',
                f'mend the {key}_id in the annotation file or delete them',
            )
    return findings


def check_boxes(split: Split) -> list[Finding]:
    findings = []
    broken = [x['id'] for x in split.coco['annotations'] if not has_box(x)]
    if broken:
        findings += split.fail(
            f'{len(broken)} annotations have no bbox of four finite '
            f'numbers: ids {some(broken)}',
            'write bbox as [left, top, width, height] in pixels',
        )
    ids = np.array([x['id'] for x in split.objects])
    lost = ids[~split.usable].tolist()
    if lost:
        findings += split.warn(
            f'{len(lost)} boxes have no area, are thinner than a pixel or '
            f'lie outside of the image, and are ignored: ids {some(lost)}',
            'mend bbox = [left, top, width, height] and area, or delete them',
        )
    far = np.tile(split.sizes_of_objects_images, 2) + 1
    leaves = ((split.boxes < -1) | (split.boxes > far)).any(axis=1)
    out = ids[leaves & split.usable].tolist()
    if out:
        findings += split.warn(
            f'{len(out)} boxes leave their image by more than a pixel: '
            f'ids {some(out)}',
            'see whether bbox is [left, top, width, height], not the right '
            'and bottom edges, and whether width and height of the image '
            'are exchanged',
        )
    return findings


def check_scoring(split: Split) -> list[Finding]:
    """What training does not read, but pycocotools does."""
    annotations = split.coco['annotations'] if split.scored else []
    bare = [
        annotation['id']
        for annotation in annotations
        if not isinstance(annotation.get('iscrowd'), int)
    ]
    findings = []
    if bare:
        findings += split.fail(
            f'{len(bare)} annotations have no iscrowd of 0 or 1, which '
            f'pycocotools fails on: ids {some(bare)}',
            'add "iscrowd": 0 to every annotation',
        )
    ids = [annotation['id'] for annotation in annotations]
    texts = [number for number in ids if isinstance(number, str)]
    if texts:
        findings += split.fail(
            f'pycocotools fails on annotation ids that are no numbers: '
            f'{some(list(map(repr, texts)))}',
            'number the annotations, ids from 1 on',
        )
    if 0 in ids:
        findings += split.warn(
            'pycocotools takes an annotation of id 0 for unmatched, so AP '
            'is too low',
            'number the annotations, ids from 1 on',
        )
    return findings


def check_empty_images(split: Split) -> list[Finding]:
    number = len(split.image_sizes)
    taken = {
        annotation['image_id']
        for annotation, usable in zip(split.objects, split.usable, strict=True)
        if usable
    }
    objects = int(split.usable.sum())
    if not taken and not split.name.startswith('test'):
        return split.fail(
            f'all of its {number} images are empty',
            'give it an annotation file with objects',
        )
    fate = 'left out (filter_empty_gt)' if split.filter_empty else 'used'
    message = f'{objects} objects in {number} images'
    if number > len(taken):
        message += f'; {number - len(taken)} are empty and {fate}'
    return [Finding('ok', split.subject, message)]


def check_files(split: Split) -> list[Finding]:
    """Images exist and end as images do."""
    missing, truncated = [], []
    for image in split.coco['images']:
        name = image['file_name']
        path = split.image_dir / name
        try:
            with path.open('rb') as file:
                end = END_OF_FILE.get(path.suffix.lower(), b'')
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - 64, 0))
                if not size or end not in file.read():
                    truncated.append(name)
        except OSError:
            missing.append(name)
    findings = []
    if missing:
        findings += split.fail(
            f'{len(missing)} of {len(split.coco["images"])} image files '
            f'cannot be opened: {some(missing)}',
            f'put them into {split.image_dir}, or set data_root and '
            'data_prefix=dict(img=…) in this dataset',
        )
    if truncated:
        findings += split.warn(
            f'{len(truncated)} image files are empty or truncated: '
            f' {some(truncated)}',
            'copy them again, or delete them from the annotation file',
        )
    return findings


CHECKS = (
    check_classes,
    check_references,
    check_boxes,
    check_scoring,
    check_empty_images,
    check_files,
)

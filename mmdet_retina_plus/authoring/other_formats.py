"""Detect other annotation formats, and name the call that converts them.

Each call was run with supervision 0.31, labelme2coco 0.2 and globox 2.9.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmdet_retina_plus.common.annotation_files import (
    UnreadableError,
    read_json,
)
from mmdet_retina_plus.common.coco_format import EXPORTS, writer_of

SUPERVISION = (
    'pip install supervision; in Python: import supervision; '
    'supervision.DetectionDataset.{}.as_coco(annotations_path="coco.json")'
)
GLOBOX = (
    'pip install globox; in Python: import globox; '
    'globox.AnnotationSet.{}.save_coco("coco.json", auto_ids=True)'
)
LABELME = (
    'pip install labelme2coco; in Python: import labelme2coco; '
    'labelme2coco.convert("{}", "coco")'
)
SUFFIXES = {
    '.yml': '.yaml',
    '.names': '.txt',
    '.data': '.yaml',
    '.tsv': '.csv',
}
"""Suffix to another suffix of the same format."""


def conversion(path: Path, images: Path) -> str:
    """Find the format of files other than COCO JSON, and how to convert them.

    Args:
        path: File or folder.
        images: Folder of the images, for the call.

    Returns:
        'FORMAT: HOW'; '' if neither name nor content shows a format.
    """
    if path.is_dir():
        return of_folder(path, images)
    suffix = SUFFIXES.get(path.suffix.lower(), path.suffix.lower())
    if suffix == '.xml':
        return of_xml(path, images)
    if suffix in ('.txt', '.yaml'):
        return yolo(path.parent, images)
    if suffix == '.csv':
        call = f'from_openimage("{path}", image_folder="{images}")'
        return (
            'a table: '
            + GLOBOX.format(call)
            + ' reads the columns ImageID (the file name), LabelName, XMin, '
            'XMax, YMin, YMax; rename your columns accordingly'
        )
    if suffix in ('.tfrecord', '.parquet', '.mat'):
        return f'a {suffix} file: export it as COCO where it was made'
    if suffix in ('.zip', '.tar', '.gz', '.7z'):
        return 'an archive: unpack it and name the JSON file in it'
    return ''


def of_folder(path: Path, images: Path) -> str:
    """Do what `conversion` does for a folder, by the files in it."""
    files = [x for x in sorted(path.iterdir()) if x.is_file()]
    kinds = {x.suffix.lower() for x in files}
    if '.xml' in kinds:
        file = next(x for x in files if x.suffix.lower() == '.xml')
        return of_xml(file, images)
    if '.txt' in kinds:
        return yolo(path, images)
    found = [x for x in files if x.suffix.lower() == '.json']
    if len(found) > 3:
        try:
            content = read_json(str(found[0]))
        except UnreadableError:
            content = None
        told = of_json(content, found[0], images)
        if told:
            return told
    if found:
        names = ', '.join(str(x) for x in found[:3])
        return f'a folder: name the JSON file, such as {names}'
    return 'a folder without annotation files: name a COCO JSON file'


def of_xml(path: Path, images: Path) -> str:
    """Do what `conversion` does for XML of Pascal VOC or CVAT."""
    try:
        root = ElementTree.parse(path).getroot().tag
    except (ElementTree.ParseError, LookupError, ValueError):
        # The last two mean an unknown encoding.
        return (
            'XML that is truncated, broken or in an unknown encoding: write '
            'or copy it again'
        )
    if root == 'annotations':
        return 'CVAT XML: ' + GLOBOX.format(f'from_cvat("{path}")')
    call = f'from_pascal_voc("{images}", "{path.parent}")'
    return 'Pascal VOC XML: ' + SUPERVISION.format(call)


def yolo(folder: Path, images: Path) -> str:
    call = f'from_yolo("{images}", "{folder}", "data.yaml")'
    return (
        'YOLO text: '
        + SUPERVISION.format(call)
        + '; data.yaml has the names of the classes'
    )


def of_json(content: Any, path: Path, images: Path) -> str:
    """Do what `conversion` does for parsed JSON."""
    tool = writer_of(content)
    if tool == 'LabelMe':
        how = LABELME.format(path.parent)
    elif tool == 'VIA':
        call = f'from_via_json("{path}", image_folder="{images}")'
        how = GLOBOX.format(call)
    else:
        how = EXPORTS.get(tool, '')
    return tool and f'{tool} JSON: {how}'

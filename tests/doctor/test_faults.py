"""Common faults, each put into a valid config.

One fault gives one finding, whose fix can be pasted.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import BaseDetDataset, CocoDataset
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import default_collate
from pycocotools import mask as api

from mmdet_retina_plus.doctor.annotations import check_kept
from mmdet_retina_plus.doctor.assignment_settings import (
    check_low_quality,
    check_ranges,
)
from mmdet_retina_plus.doctor.balance import check_balance
from mmdet_retina_plus.doctor.box_formats import check_whole_images
from mmdet_retina_plus.doctor.config import check_config
from mmdet_retina_plus.doctor.consistency import (
    check_exchanged,
    check_shifted_ids,
)
from mmdet_retina_plus.doctor.mask_settings import check_mask_loading
from mmdet_retina_plus.doctor.run_parts import check_batch
from mmdet_retina_plus.doctor.split import Split
from tests.helpers.case_files import HEIGHT, WIDTH, Case, coco_set, polygon


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def expect(case, lines, message, fix):
    """These lines give one finding, with these words."""
    case.add(lines)
    problem = case.problem()
    assert message in problem.message
    assert fix in problem.fix


SAVE_BEST = (
    "default_hooks = dict(checkpoint=dict(type='CheckpointHook', "
    "save_best='coco/bbox_mAP'))\n"
)
EVALUATORS = {
    'a threshold that is no list': (
        "val_evaluator['iou_thrs'] = 0.5",
        'iou_thrs is 0.5',
        'val_evaluator.iou_thrs=None',
    ),
    'thresholds that scoring stops at': (
        "val_evaluator['iou_thrs'] = [0.5, 0.75]",
        'iou_thrs is [0.5, 0.75]',
        'val_evaluator.iou_thrs=None',
    ),
    'one number of proposals': (
        "val_evaluator['proposal_nums'] = 100",
        'proposal_nums is 100',
        'val_evaluator.proposal_nums=(100, 300, 1000)',
    ),
    'an item that is no list': (
        "val_evaluator['metric_items'] = 'mAP'",
        "metric_items is 'mAP'",
        "val_evaluator.metric_items=['mAP']",
    ),
    'an item that is none': (
        "val_evaluator['metric_items'] = ['map', 'map_50']",
        'metric_items is',
        "val_evaluator.metric_items=['mAP', 'mAP_50']",
    ),
    "another library's metric": (
        "val_evaluator['metric'] = 'mAP'",
        "metric is 'mAP'",
        "val_evaluator.metric='bbox'",
    ),
    'a metric in a list of evaluators': (
        "val_evaluator = [dict(val_evaluator, metric='box')]",
        "metric is 'box'",
        "val_evaluator[0].metric='bbox'",
    ),
    'results without a file': (
        "val_evaluator['format_only'] = True",
        'needs a file name',
        "val_evaluator.outfile_prefix='results'",
    ),
    'the best of no scores': (
        SAVE_BEST + 'val_evaluator.update(format_only=True, '
        "outfile_prefix=folder + '/results')\n"
        'test_evaluator = val_evaluator',
        'format_only=True scores nothing',
        'val_evaluator.format_only=False',
    ),
    'validation without scores': (
        'val_evaluator.update(format_only=True, '
        "outfile_prefix=folder + '/results')\n"
        "test_evaluator = dict(type='CocoMetric', "
        "ann_file=folder + '/val.json')",
        'format_only=True: validation reports no AP',
        'val_evaluator.format_only=False',
    ),
    'the best without validation': (
        SAVE_BEST + 'val_dataloader = val_cfg = val_evaluator = None',
        'there is no validation',
        'save_best=None',
    ),
    'the worst as the best': (
        SAVE_BEST + "default_hooks['checkpoint']['rule'] = 'less'",
        'keeps the lowest',
        "rule='greater'",
    ),
    'the worst of the first metric as the best': (
        SAVE_BEST.replace('coco/bbox_mAP', 'auto')
        + "default_hooks['checkpoint']['rule'] = 'less'",
        'keeps the lowest coco/bbox_mAP',
        "rule='greater'",
    ),
    'the worst of several metrics': (
        SAVE_BEST
        + "default_hooks['checkpoint'].update(rule=['greater', 'less'], "
        "save_best=['coco/bbox_mAP', 'coco/bbox_mAP_50'])",
        'keeps the lowest coco/bbox_mAP_50',
        "rule=['greater', 'greater']",
    ),
    'the best of no object': (
        SAVE_BEST.replace('mAP', 'mAP_l'),
        'coco/bbox_mAP_l is -1',
        "default_hooks.checkpoint.save_best='coco/bbox_mAP'",
    ),
    'a rate that falls as AP rises': (
        "param_scheduler = [dict(type='ReduceOnPlateauLR', "
        "monitor='coco/bbox_mAP', patience=1)]",
        "rule='less', the default",
        "param_scheduler.0.rule='greater'",
    ),
    'no objects to score against': (
        "val_evaluator = test_evaluator = dict(type='CocoMetric')",
        'without ann_file',
        "/val.json'",
    ),
    'two metrics of one name': (
        'val_evaluator = test_evaluator = [val_evaluator, val_evaluator]',
        'two of its metrics are called coco/bbox_mAP',
        "val_evaluator.1.prefix='other'",
    ),
    'no number that AP is of': (
        'val_evaluator.update(proposal_nums=(1, 10, 50))\n'
        'test_evaluator = val_evaluator',
        '100 among them',
        'proposal_nums=(100, 300, 1000)',
    ),
    'a schedule that waits for no metric': (
        "param_scheduler = [dict(type='ReduceOnPlateauLR', patience=1, "
        "monitor='bbox_mAP')]",
        'no metric is called bbox_mAP',
        "monitor='coco/bbox_mAP'",
    ),
}


@pytest.mark.parametrize('name', EVALUATORS)
def test_a_fault_of_an_evaluator(case, name):
    expect(case, *EVALUATORS[name])


def test_objects_that_the_samples_hold_need_no_file(case):
    case.add("""
test_pipeline[-1]['meta_keys'] = (
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
    'instances')
val_dataloader['dataset']['pipeline'] = test_pipeline
val_evaluator = test_evaluator = dict(type='CocoMetric')""")
    assert case.problems() == []


def test_an_evaluator_of_voc_reads_the_boxes_of_the_pipeline(case):
    case.add("val_evaluator = test_evaluator = dict(type='VOCMetric')")
    assert case.problems() == []
    case.add("""
test_pipeline[1]['scale'] = (192, 160)
test_pipeline[1:3] = test_pipeline[2:0:-1]
val_dataloader['dataset']['pipeline'] = test_pipeline""")
    (problem,) = (x for x in case.problems() if 'pascal_voc' in x.message)
    assert 'after Resize in val_dataloader' in problem.fix


LOAD_MASKS = """
train_pipeline[1]['with_mask'] = True
train_dataloader['dataset']['pipeline'] = train_pipeline
"""
RELOADED = """
train_dataloader['dataset']['pipeline'] = train_pipeline
val_dataloader['dataset']['pipeline'] = test_pipeline
"""
TRAIN, VAL = 'train_dataloader.dataset', 'val_dataloader.dataset'


def without_objects(coco):
    coco['annotations'] = coco['annotations'][4:]


def test_images_that_validation_leaves_out(case):
    case.change('val', without_objects)
    case.add(
        "val_dataloader['dataset'].update(test_mode=False, "
        'filter_cfg=dict(filter_empty_gt=True))'
    )
    problem = case.problem()
    assert '2 of 6 images are left out' in problem.message
    assert problem.fix == f'{VAL}.test_mode=True'


def test_filters_that_training_does_not_apply(case):
    problem = case.problem(f'{TRAIN}.test_mode=True')
    assert problem.fix == f'{TRAIN}.test_mode=False'


def test_indices_of_training(case):
    problem = case.problem(f'{TRAIN}.indices=4')
    assert problem.level == 'warning'
    assert 'indices selects 4 of 6 images' in problem.message
    assert problem.fix.startswith(f'{TRAIN}.indices=None')


def test_indices_of_validation(case):
    case.add("val_dataloader['dataset']['indices'] = [0, 1, 2]")
    problem = case.problem()
    assert f'{VAL}.indices leaves images out' in problem.message
    assert problem.fix.startswith(f'{VAL}.indices=None')


def test_indices_of_all_images_are_fine(case):
    assert case.problems(f'{TRAIN}.indices=6') == []


@pytest.mark.parametrize('step', [-1, 1])
@pytest.mark.parametrize('key', ['category_id', 'image_id'])
def test_ids_that_are_off_by_one(case, key, step):
    def move(coco):
        for annotation in coco['annotations']:
            annotation[key] += step
        if key == 'image_id' and step == 1:
            for entry in [*coco['images'], *coco['annotations']]:
                entry['id' if 'file_name' in entry else key] -= 1

    case.change('train', move)
    problem = case.problem()
    assert f'{key} is off by one' in problem.message
    assert problem.fix.startswith(f'add {-step} to every "{key}"')


def test_boxes_are_not_compared_with_the_images_of_ids_off_by_one(case):
    """They would seem to belong to larger images, masks to other sizes."""

    def shift(coco):
        as_run_lengths(coco)
        for annotation in coco['annotations']:
            annotation['image_id'] -= 1
        for image in coco['images'][::2]:
            image.update(width=WIDTH // 2, height=HEIGHT // 2)

    case.change('train', shift)
    case.add(LOAD_MASKS)
    messages = [x.message for x in case.problems() if x.level == 'error']
    assert any('image_id is off by one' in x for x in messages)
    assert not any('box' in x or 'run-length' in x for x in messages)


def test_a_list_of_no_images(case):
    case.change('train', lambda coco: coco['images'].clear())
    assert 'the list of images is empty' in case.problem().message


ENCODED = {
    'utf-8-sig': 'UTF-8 with a byte order mark',
    'utf-16': 'UTF-16',
    'latin-1': 'not UTF-8',
}


@pytest.mark.parametrize('codec', ENCODED)
def test_a_file_in_another_encoding(case, codec):
    case.change('train', lambda coco: coco.update(info='B\u00e4r'))
    path = case.folder / 'train.json'
    content = json.dumps(json.loads(path.read_text()), ensure_ascii=False)
    path.write_text(content, codec)
    problem = case.problem()
    assert ENCODED[codec] in problem.message
    command = problem.fix.partition('"')[2].rstrip('"')
    exec(command, {})
    assert case.problems() == []


@pytest.mark.parametrize('content', ['', '{"images": [{"id"'])
def test_a_file_that_is_cut_off(case, content):
    (case.folder / 'train.json').write_text(content)
    assert 'copy it again' in case.problem().fix


MISSING = {
    'a typo': (f'{TRAIN}.ann_file=trian.json', 'train.json', '…/train.json'),
    'a folder too many': (
        f'{TRAIN}.ann_file=annotations/train.json',
        'there is no folder',
        'train.json',
    ),
    'images of another folder': (
        f'{TRAIN}.data_prefix.img=pictures',
        'has 0.png',
        "images')",
    ),
}


@pytest.mark.parametrize('name', MISSING)
def test_what_is_not_there_is_looked_for(case, name):
    option, message, fix = MISSING[name]
    problem = case.problem(option)
    assert message in problem.message
    assert fix in problem.fix


def test_a_folder_of_other_images_is_listed(case):
    def rename(coco):
        for image in coco['images']:
            image['file_name'] = f'scan{image["id"]}.tiff'

    case.change('train', rename)
    assert 'images holds 0.png' in case.problem().message


def centred(box):
    left, top, width, height = box
    return [left + width / 2, top + height / 2, width, height]


BOXES = {
    'centre': (centred, 'centre x', 'x - width / 2'),
    'corners': (
        lambda x: [x[0], x[1], x[0] + x[2], x[1] + x[3]],
        '[left, top, right, bottom]',
        'x2 - x1',
    ),
    'rows first': (
        lambda x: [x[1], x[0], x[3], x[2]],
        '[top, left, height, width]',
        '[left, top, width, height]',
    ),
    'height first': (
        lambda x: [x[0], x[1], x[3], x[2]],
        '[left, top, height, width]',
        '[left, top, width, height]',
    ),
    'from the bottom': (
        lambda x: [x[0], HEIGHT - x[1] - x[3], x[2], x[3]],
        'y from the bottom',
        'height - y - h',
    ),
    'another size': (
        lambda x: [2 * value for value in x],
        'to an image of another size',
        'by 0.5',
    ),
}


@pytest.mark.parametrize('name', BOXES)
@pytest.mark.parametrize('masks', ['', LOAD_MASKS])
def test_boxes_of_another_format_than_their_polygons(case, name, masks):
    write, message, fix = BOXES[name]

    def change(coco):
        for annotation in coco['annotations']:
            annotation['bbox'] = write(annotation['bbox'])

    case.change('train', change)
    case.add(masks)
    problem = case.problem()
    assert problem.level == 'error'
    assert message in problem.message
    assert fix in problem.fix


def rows_first(coco):
    for annotation in coco['annotations']:
        (corners,) = annotation['segmentation']
        corners[0::2], corners[1::2] = corners[1::2], corners[0::2]


@pytest.mark.parametrize('masks', ['', LOAD_MASKS])
def test_polygons_or_boxes_rows_first_where_no_side_tells(case, masks):
    def change(coco):
        rows_first(coco)
        for number in range(6):
            coco['annotations'][2 * number + 1].update(
                bbox=[20, 30, 36, 40], segmentation=polygon(30, 20, 40, 36)
            )

    case.change('train', change)
    case.add(masks)
    problem = case.problem()
    assert problem.level == 'error'
    assert 'either bbox or the polygons are rows first' in problem.message
    assert '--show' in problem.fix
    assert 'find_contours' in problem.fix


def test_polygons_rows_first_that_leave_their_image(case):
    def change(coco):
        for annotation in coco['annotations']:
            box = [50, *annotation['bbox'][1:]]
            annotation.update(bbox=box, segmentation=polygon(*box))
        rows_first(coco)

    case.change('train', change)
    case.add(LOAD_MASKS)
    problem = case.problem()
    assert 'polygons are rows first' in problem.message
    assert 'row, column' in problem.fix


def overlapping(coco):
    for number, annotation in enumerate(coco['annotations']):
        box = [10, 10, 60, 50] if number % 2 else [5, 5, 50, 60]
        annotation.update(
            bbox=box, area=box[2] * box[3], segmentation=polygon(*box)
        )


def as_run_lengths(coco):
    for annotation in coco['annotations']:
        runs = api.merge(
            api.frPyObjects(annotation['segmentation'], HEIGHT, WIDTH)
        )
        runs['counts'] = runs['counts'].decode()
        annotation['segmentation'] = runs


@pytest.mark.parametrize('runs', [False, True])
@pytest.mark.parametrize('pairs', [1, 6])
def test_masks_of_overlapping_objects_exchanged(case, pairs, runs):
    def exchange(coco):
        overlapping(coco)
        if runs:
            as_run_lengths(coco)
        for number in range(pairs):
            first, second = coco['annotations'][2 * number : 2 * number + 2]
            first['segmentation'], second['segmentation'] = (
                second['segmentation'],
                first['segmentation'],
            )

    case.change('train', exchange)
    case.add(LOAD_MASKS)
    problem = case.problem()
    assert problem.level == 'error'
    assert f'{2 * pairs} masks fit the box of another' in problem.message


def test_masks_of_overlapping_objects_are_fine(case):
    case.change('train', overlapping)
    case.add(LOAD_MASKS)
    assert case.problems() == []


NAMES = {
    'a blank': ('cat ', "called 'cat '", "classes=('cat ', 'dog',)"),
    'a capital': ('Cat', "called 'Cat'", "classes=('Cat', 'dog',)"),
}


@pytest.mark.parametrize('name', NAMES)
def test_a_name_that_is_almost_that_of_the_class(case, name):
    category, message, fix = NAMES[name]
    for file in ('train', 'val'):
        case.change(
            file, lambda coco: coco['categories'][0].update(name=category)
        )
    problem = case.problem()
    assert message in problem.message
    assert fix in problem.fix


def test_two_names_that_are_almost_one(case):
    def add(coco):
        coco['categories'].append({'id': 3, 'name': 'Cat'})
        coco['annotations'][0]['category_id'] = 3

    case.change('train', add)
    case.change('val', add)
    problem = case.problem()
    assert problem.level == 'error'
    assert "'cat', 'Cat' (ids 1, 3)" in problem.message


CLASSES = {
    'a string': (
        "train_dataloader['dataset']['metainfo'] = dict(classes='cat')",
        "classes is the string 'cat'",
        "classes=('cat',)",
    ),
    'names without a comma': (
        'for loader in (train_dataloader, val_dataloader):\n'
        "    loader['dataset']['metainfo'] = dict(classes=('cat' 'dog',))",
        'catdog',
        "classes=('cat', 'dog',)",
    ),
    'capitals as in mmdet 2': (
        "train_dataloader['dataset']['metainfo'] = "
        "dict(CLASSES=('cat', 'dog'))",
        'metainfo has CLASSES',
        "classes=('cat', 'dog',)",
    ),
    'no names': (
        "train_dataloader['dataset'].pop('metainfo')",
        'metainfo names no classes',
        "classes=('cat', 'dog',)",
    ),
    'the background as a class': (
        "model['bbox_head']['num_classes'] = 3",
        'does not count the background',
        'model.bbox_head.num_classes=2',
    ),
}


@pytest.mark.parametrize('name', CLASSES)
def test_classes_that_do_not_fit(case, name):
    expect(case, *CLASSES[name])


def test_areas_that_are_fractions_of_the_image(case):
    def shrink(coco):
        for annotation in coco['annotations']:
            annotation['area'] /= WIDTH * HEIGHT

    case.change('train', shrink)
    assert 'area is less than 1% of the box' in case.problem().message


PIPELINES = {
    'a flip after the packing': (
        "train_pipeline.append(dict(type='RandomFlip', prob=0.5))",
        'RandomFlip comes after PackDetInputs',
        'to the end of train_dataloader.dataset.pipeline',
    ),
    'packing before resizing': (
        'test_pipeline.insert(1, test_pipeline.pop())',
        'comes after PackDetInputs',
        'to the end of val_dataloader.dataset.pipeline',
    ),
    'packed twice': (
        "train_pipeline.append(dict(type='PackDetInputs'))",
        'PackDetInputs comes after PackDetInputs',
        'use it once',
    ),
    'no way back to the original size': (
        "test_pipeline[3]['meta_keys'] = ('img_id', 'ori_shape', 'img_shape')",
        'no scale_factor',
        "'scale_factor'",
    ),
    'no size of the input': (
        "train_pipeline[3]['meta_keys'] = ('img_id', 'ori_shape')",
        'no img_shape',
        "'img_shape'",
    ),
    'a filter that drops all': (
        "train_pipeline.insert(3, dict(type='FilterAnnotations', "
        'min_gt_bbox_wh=(500, 500)))',
        'drops every object of 6 samples',
        'leave train_dataloader.dataset.pipeline[3] (FilterAnnotations) out',
    ),
    'a filter that drops all and keeps the images': (
        "train_pipeline.insert(3, dict(type='FilterAnnotations', "
        'min_gt_bbox_wh=(500, 500), keep_empty=False))',
        'drops every object of 6 samples',
        'leave train_dataloader.dataset.pipeline[3] (FilterAnnotations) out',
    ),
    'a filter that drops a class': (
        "train_pipeline.insert(3, dict(type='FilterAnnotations', "
        'min_gt_bbox_wh=(35, 35)))',
        'drops 6 of 12 objects',
        'leave train_dataloader.dataset.pipeline[3] (FilterAnnotations) out',
    ),
    'a crop to next to nothing': (
        "train_pipeline.insert(3, dict(type='RandomCrop', crop_size=(2, 2)))",
        'images have 2 x 2 pixels',
        'crop_size',
    ),
    'colours by chance in validation': (
        "test_pipeline.insert(3, dict(type='YOLOXHSVRandomAug'))",
        'at random',
        'leave it out of the val pipeline',
    ),
    'holes by chance in validation': (
        "test_pipeline.insert(3, dict(type='CutOut', n_holes=3, "
        'cutout_shape=(5, 5)))',
        'at random',
        'leave it out of the val pipeline',
    ),
    'validation in a mirror': (
        "test_pipeline.insert(3, dict(type='RandomFlip', prob=1.0))",
        'are not moved back',
        'leave it out of the val pipeline',
    ),
}


@pytest.mark.parametrize('name', PIPELINES)
def test_a_fault_of_a_pipeline(case, name):
    expect(case, *PIPELINES[name])


@pytest.mark.parametrize(
    'step',
    [
        "dict(type='RandomFlip', prob=0.0)",
        "dict(type='RandomChoiceResize', scales=[(96, 80)], keep_ratio=True)",
        "dict(type='Pad', size_divisor=32)",
    ],
)
def test_steps_of_validation_that_never_act_by_chance(case, step):
    case.add(f'test_pipeline.insert(2, {step})')
    assert case.problems() == []


def test_a_data_set_of_the_user_has_filters_of_its_own(case, monkeypatch):
    class OwnDataset(CocoDataset):
        def filter_data(self):
            return self.data_list[: self.filter_cfg['first']]

    monkeypatch.setitem(DATASETS.module_dict, 'OwnDataset', OwnDataset)
    case.add(
        "train_dataloader['dataset'].update(type='OwnDataset', "
        'filter_cfg=dict(first=6))'
    )
    assert case.problems() == []


def test_a_data_set_of_the_user_in_another_format(case, monkeypatch):
    class RowsDataset(BaseDetDataset):
        METAINFO = dict(classes=('cat', 'dog'))

        def load_data_list(self):
            return [
                dict(
                    img_id=number,
                    img_path=str(case.folder / f'images/{number}.png'),
                    height=HEIGHT,
                    width=WIDTH,
                    instances=[
                        dict(
                            bbox=[8, 12, 38, 46],
                            bbox_label=number % 2,
                            ignore_flag=0,
                        )
                    ],
                )
                for number in range(6)
            ]

    monkeypatch.setitem(DATASETS.module_dict, 'RowsDataset', RowsDataset)
    case.add(
        "train_dataloader['dataset'] = dict(type='RowsDataset', "
        'pipeline=train_pipeline)'
    )
    assert case.problems() == []


MASKED = (
    LOAD_MASKS
    + """
model['roi_head'] = dict(
    type='MaskRoIHead',
    mask_roi_extractor=dict(
        type='SingleRoIExtractor',
        roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
        out_channels=8, featmap_strides=[8, 16, 32, 64]),
    mask_head=dict(
        type='FCNMaskHead', num_convs=1, in_channels=8, conv_out_channels=8,
        num_classes=2))
model['data_preprocessor']['pad_mask'] = True
val_evaluator['metric'] = ['bbox', 'segm']
"""
)
EXTRACTOR = "model['roi_head']['mask_roi_extractor']"
MISFITS = {
    'channels of the backbone': (
        "model['neck']['in_channels'] = [256, 512, 1024, 2048]",
        'the backbone gives [8, 16, 32, 64] channels',
        'model.neck.in_channels=[8, 16, 32, 64]',
    ),
    'depth': (
        "model['backbone']['depth'] = 50",
        'the backbone gives [32, 64, 128, 256] channels',
        'model.neck.in_channels=[32, 64, 128, 256]',
    ),
    'outputs of the backbone': (
        "model['backbone']['out_indices'] = (1, 2, 3)",
        'by out_indices=(1, 2, 3)',
        'model.backbone.out_indices=(0, 1, 2, 3)',
    ),
    'first level': (
        "model['neck']['start_level'] = 0",
        'the features have strides [4, 8, 16, 32, 64]',
        'anchor_generator.strides=[4, 8, 16, 32, 64]',
    ),
    'number of levels': (
        "model['neck']['num_outs'] = 4",
        'the features have strides [8, 16, 32, 64]',
        'model.neck.num_outs=5',
    ),
    'fewer levels than it is given': (
        "model['neck']['num_outs'] = 2",
        'num_outs=2 of the neck is less than the 3 levels',
        'model.neck.num_outs=5',
    ),
    'channels of the head': (
        "model['bbox_head']['in_channels'] = 256",
        'in_channels=256, but the neck gives 8 channels',
        'model.bbox_head.in_channels=8',
    ),
    'channels to pool': (
        f"{MASKED}{EXTRACTOR}['out_channels'] = 16",
        'mask_roi_extractor.out_channels=16, but the neck gives 8',
        'mask_roi_extractor.out_channels=8',
    ),
    'channels of the mask head': (
        f"{MASKED}model['roi_head']['mask_head']['in_channels'] = 256",
        'in_channels=256, but mask_roi_extractor gives 8',
        'model.roi_head.mask_head.in_channels=8',
    ),
    'strides to pool': (
        f"{MASKED}{EXTRACTOR}['featmap_strides'] = [4, 8, 16, 32]",
        'featmap_strides are [4, 8, 16, 32]',
        'featmap_strides=[8, 16, 32, 64]',
    ),
    'stages': (
        "model['backbone']['frozen_stages'] = 5",
        'layer5',
        'model.backbone.frozen_stages=1',
    ),
}


@pytest.mark.parametrize('name', MISFITS)
def test_parts_of_a_model_that_do_not_fit(case, name):
    expect(case, *MISFITS[name])


def test_a_model_with_masks_that_fits(case):
    case.add(MASKED)
    assert case.problems() == []


def test_rates_that_are_all_0(case):
    case.add(
        "optim_wrapper['paramwise_cfg'] = dict(custom_keys={"
        "'': dict(lr_mult=0.0)})"
    )
    assert 'every parameter is 0' in case.problem().message


CODER = 'model.bbox_head.bbox_coder'
LOSS = 'model.bbox_head.loss_cls'
OPTIONS = {
    f'{CODER}.target_stds=[0.1,0.1,0,0.2]': f'{CODER}.target_stds=[1.0',
    f'{CODER}.target_stds=[0.1,0.1,-0.2,0.2]': f'{CODER}.target_stds=[1.0',
    f'{CODER}.target_stds=[0.1,0.2]': f'{CODER}.target_stds=[1.0',
    f'{CODER}.target_stds=[10,10,5,5]': f'{CODER}.target_stds=[0.1, 0.1, 0.2',
    f'{CODER}.target_means=[0.0,0.0]': f'{CODER}.target_means=[0.0',
    f'{LOSS}.alpha=25': f'{LOSS}.alpha=0.25',
    f'{LOSS}.gamma=-2': f'{LOSS}.gamma=2.0',
    f'{LOSS}.loss_weight=0': f'{LOSS}.loss_weight=1.0',
}


@pytest.mark.parametrize('option', OPTIONS)
def test_an_option_of_a_head_out_of_range(case, option):
    assert case.problem(option).fix.startswith(OPTIONS[option])


POINTS = """
model['type'] = 'FCOS'
model['bbox_head'] = dict(
    type='FCOSHead', num_classes=2, in_channels=8, feat_channels=8,
    stacked_convs=1, strides=[8, 16, 32, 64, 128], norm_cfg=None,
    loss_cls=dict(type='FocalLoss'))
model['train_cfg'] = None
"""


def test_a_focal_loss_without_sigmoid_on_points(case):
    case.add(POINTS)
    assert 'use_sigmoid=True' in case.problem().fix


def test_a_loss_step_of_a_detector_without_an_assigner_is_taken(case):
    ranges = 'regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 1e8))'
    case.add(POINTS.replace("'FocalLoss'", "'FocalLoss', use_sigmoid=True"))
    case.add(f"model['bbox_head'].update({ranges})")
    problem = case.problem()
    assert problem.subject == 'loss step'
    assert problem.fix.startswith('model.bbox_head.regress_ranges')


def test_a_stride_of_0(case):
    case.add(POINTS.replace("'FocalLoss'", "'FocalLoss', use_sigmoid=True"))
    assert case.problems() == []
    case.add("model['bbox_head']['strides'][0] = 0")
    fix = 'model.bbox_head.strides=[8, 16, 32, 64, 128]'
    assert case.problem().fix == fix


@pytest.mark.parametrize(
    ('ranges', 'gap', 'closed'),
    [
        (((-1, 24), (64, 1e8)), '24 to 64', '((-1, 24), (24, 100000000.0))'),
        (((32, 64), (64, 1e8)), '-1 to 32', '((-1, 64), (64, 100000000.0))'),
        (((-1, 64), (64, 128)), '128 to 1e+08', '((-1, 64), (64, 1'),
    ],
)
def test_distances_that_no_level_takes(ranges, gap, closed):
    head = dict(regress_ranges=ranges)
    (finding,) = check_ranges(dict(model=dict(bbox_head=head)))
    assert f'{gap} px' in finding.message
    assert finding.fix.startswith(f'model.bbox_head.regress_ranges={closed}')
    head['regress_ranges'] = ((-1, 64), (64, 128), (96, 1e8))
    assert check_ranges(dict(model=dict(bbox_head=head))) == []


def test_categories_numbered_otherwise_than_the_objects():
    def split_of(first, used):
        coco = dict(
            images=[],
            categories=[
                dict(id=first + i, name=x) for i, x in enumerate(['a', 'b'])
            ],
            annotations=[dict(id=1, image_id=1, category_id=x) for x in used],
        )
        return Split('val', coco, Path(), ('a', 'b'), path='val.json')

    train = split_of(1, [1, 2])
    (finding,) = check_shifted_ids([train, split_of(0, [1])])
    assert finding.level == 'warning'
    assert 'val.json' in finding.fix
    # A file with its own numbering, or with that of the other.
    assert check_shifted_ids([train, split_of(0, [0, 1])]) == []
    assert check_shifted_ids([train, split_of(1, [1])]) == []


PREPROCESSOR = "model['data_preprocessor'].update({})"
IMAGENET = '[123.675, 116.28, 103.53]'
IMAGES = {
    'of 0 to 1': (
        'mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]',
        'for values from 0 to 1',
        IMAGENET,
    ),
    'none': ('mean=None, std=None', 'no mean and std', IMAGENET),
    'a deviation of 0': ('std=[0.0] * 3', 'not above 0', 'std=[58.395'),
    'exchanged': (
        f'mean=[58.395, 57.12, 57.375], std={IMAGENET}',
        'exchanged',
        f'mean={IMAGENET}',
    ),
    'red first': (f'mean={IMAGENET}', 'red, green, blue', 'bgr_to_rgb=True'),
    'blue first': (
        'mean=[103.53, 116.28, 123.675], bgr_to_rgb=True',
        'is that of blue, green, red',
        'mean=[123.675, 116.28, 103.53] for weights of red, green, blue, or '
        'model.data_preprocessor.bgr_to_rgb=False',
    ),
    'both orders': (
        'bgr_to_rgb=True, rgb_to_bgr=True',
        'at the same time',
        'rgb_to_bgr=False',
    ),
}


@pytest.mark.parametrize('name', IMAGES)
def test_mean_and_deviation_that_spoil_images(case, name):
    settings, message, fix = IMAGES[name]
    case.add(PREPROCESSOR.format(settings))
    problem = case.problem()
    assert message in problem.message
    assert fix in problem.fix


RUNS = {
    'a text for a number of classes': (
        "model['bbox_head']['num_classes'] = '2'",
        'model.bbox_head.num_classes=2',
    ),
    'a text for epochs': (
        "train_cfg['max_epochs'] = '12'",
        'train_cfg.max_epochs=12',
    ),
    'a text for a seed': ("randomness = dict(seed='a')", 'seed=0'),
    'no sampler': (
        "train_dataloader.pop('sampler')",
        "sampler=dict(type='DefaultSampler', shuffle=True)",
    ),
    'ratios below 0': (
        "model['bbox_head']['anchor_generator']['ratios'] = [-1.0, 1.0]",
        'anchor_generator.ratios=[0.5, 1.0, 2.0]',
    ),
    "COCO's file in VOC's set": (
        "train_dataloader['dataset']['type'] = 'VOCDataset'",
        "type='CocoDataset'",
    ),
    'a probability of 5': (
        "train_pipeline.insert(3, dict(type='RandomFlip', prob=5.0))",
        'prob=0.5',
    ),
    'a scale as a text': (
        "train_pipeline[2]['scale'] = '96,80'",
        'scale=(1333, 800)',
    ),
    'no settings for tests': (
        "model.pop('test_cfg')",
        'model.test_cfg=dict(nms_pre=1000',
    ),
    'a set repeated 0 times': (
        "train_dataloader['dataset'] = dict(type='RepeatDataset', times=0, "
        "dataset=train_dataloader['dataset'])",
        'times=1',
    ),
    'a typo in clip_grad': (
        "optim_wrapper['clip_grad'] = dict(max_norm=35, norm_typ=2)",
        'norm_type=2',
    ),
    'another scope': ("default_scope = 'mmdetection'", "scope='mmdet'"),
    'no scope': ('default_scope = None', "scope='mmdet'"),
    'a typo in custom_imports': (
        "custom_imports = dict(imports=['mmdet_retina_pluss'])",
        'custom_imports',
    ),
    'no such depth': (
        "model['backbone']['depth'] = 19",
        'model.backbone.depth=50',
    ),
    'a typo in mixed precision': (
        "optim_wrapper['type'] = 'AmpOptimWraper'",
        "type='AmpOptimWrapper'",
    ),
    'validation every 0 epochs': (
        "train_cfg['val_interval'] = 0",
        'train_cfg.val_interval=1',
    ),
    'precision as in mmdet 2': (
        'fp16 = dict(loss_scale=512.0)',
        "type='AmpOptimWrapper'",
    ),
    'empty masks': (
        f"{MASKED}model['roi_head']['test_cfg'] = dict(mask_thr_binary=5)",
        'mask_thr_binary=0.5',
    ),
    'validation of much larger images': (
        "test_pipeline[1]['scale'] = (960, 800)",
        'val_dataloader.dataset.pipeline.1.scale=(96, 80)',
    ),
    'NMS that is none': (
        "model['test_cfg']['nms']['type'] = 'nsm'",
        "model.test_cfg.nms.type='nms'",
    ),
    'no NMS': (
        "model['test_cfg'].pop('nms')",
        "model.test_cfg.nms=dict(type='nms'",
    ),
    'no box': (
        "model['test_cfg']['max_per_img'] = 0",
        'model.test_cfg.max_per_img=100',
    ),
    'an IoU of 5': (
        "model['train_cfg']['assigner']['pos_iou_thr'] = 5",
        'assigner.pos_iou_thr=0.5',
    ),
    'workers as a text': (
        "train_dataloader['num_workers'] = '2'",
        'train_dataloader.num_workers=2',
    ),
    'a checkpoint to resume as in mmdet 2': (
        "resume = 'epoch_3.pth'",
        "load_from='epoch_3.pth', resume=True",
    ),
    'another ratio of the sides in validation': (
        "test_pipeline[1]['keep_ratio'] = False",
        'keep_ratio=True',
    ),
}


@pytest.mark.parametrize('name', RUNS)
def test_a_setting_that_spoils_a_run(case, name):
    lines, fix = RUNS[name]
    case.add(lines)
    assert fix in case.problem().fix


def test_resuming_needs_all_weights(case):
    model = MODELS.build(Config.fromfile(case.config).model)
    weights = model.state_dict()
    weights.pop('bbox_head.retina_cls.weight')
    path = case.folder / 'weights.pth'
    torch.save({'state_dict': weights}, path)
    assert case.problems(f'load_from={path}') == []
    (problem,) = case.problems(f'load_from={path}', 'resume=True')
    assert 'new are bbox_head.retina_cls.weight' in problem.message
    assert problem.fix.startswith('resume=False')


def test_an_option_that_training_reads_otherwise(case):
    names = "('cat', 'stop sign')"
    found = case.problems(f'{TRAIN}.metainfo.classes={names}')
    (problem,) = [x for x in found if x.subject == '--cfg-options']
    assert problem.level == 'warning'
    assert "reads ('cat', 'stopsign')" in problem.message
    assert f'{TRAIN}.metainfo.classes={names}' in problem.fix


def test_boxes_that_are_all_the_whole_image(case):
    def widen(coco):
        for annotation in coco['annotations']:
            annotation.update(
                bbox=[0, 0, WIDTH, HEIGHT],
                area=WIDTH * HEIGHT,
                segmentation=[],
            )

    case.change('train', widen)
    problem = case.problem()
    assert problem.level == 'error'
    assert 'bbox of 12 objects is the whole image' in problem.message


def objects_of(labels, boxes, name='train'):
    """A file of ten images with the same objects in each."""
    coco = coco_set(number=10)
    coco['annotations'] = [
        {
            'id': 1 + number,
            'image_id': 1 + number // len(boxes),
            'category_id': labels[number % len(labels)],
            'bbox': boxes[number % len(boxes)],
            'area': 100.0,
            'iscrowd': 0,
        }
        for number in range(10 * len(boxes))
    ]
    return Split(name, coco, Path(), ('cat', 'dog'))


def test_a_class_of_whole_images_is_the_background():
    boxes = [[0, 0, WIDTH, HEIGHT], [8, 12, 10, 10], [30, 12, 10, 10]]
    (finding,) = check_whole_images(objects_of((2, 1, 1), boxes))
    assert 'all 10 boxes of dog are the whole image' in finding.message
    assert check_whole_images(objects_of((1, 2), boxes)) == []


def test_validation_of_one_class_of_three():
    boxes = [[8, 12, 10, 10], [30, 12, 10, 10]]
    splits = [objects_of((1, 2), boxes), objects_of((1,), boxes, 'val')]
    assert check_balance(splits) == []
    trained = replace(splits[0], classes=('cat', 'dog', 'cow'))
    trained.coco['categories'].append({'id': 3, 'name': 'cow'})
    trained.coco['annotations'][0]['category_id'] = 3
    (finding,) = check_balance([trained, splits[1]])
    assert 'belong to 1 of the 3 training classes' in finding.message


def test_images_that_nobody_marked():
    split = objects_of((1,), [[8, 12, 10, 10]])
    assert check_kept(split)[0].level == 'ok'
    del split.coco['annotations'][3:]
    (finding,) = check_kept(replace(split))
    assert 'filter_empty_gt=True' in finding.fix


def test_images_of_validation_that_come_twice(case):
    case.add("""
val_dataloader['dataset'] = dict(
    type='RepeatDataset', times=2, dataset=val_dataloader['dataset'])""")
    assert 'without RepeatDataset' in case.problem().fix


def test_polygons_that_are_wrong_leave_the_boxes_right(case):
    def shrink(coco):
        for annotation in coco['annotations']:
            (corners,) = annotation['segmentation']
            corners[:] = [value / WIDTH for value in corners]

    case.change('train', shrink)
    assert case.problems() == []
    case.add(LOAD_MASKS)
    assert 'polygons are fractions' in case.problem().message


def test_a_list_of_no_categories(case):
    case.change('train', lambda coco: coco['categories'].clear())
    assert 'the list of categories is empty' in case.problem().message


@pytest.mark.parametrize('suffix', ['png', 'tiff'])
@pytest.mark.parametrize('grey', [False, True])
def test_twelve_bits_in_files_of_sixteen(case, grey, suffix):
    def rename(coco):
        for image in coco['images']:
            old = case.folder / 'images' / image['file_name']
            image['file_name'] = f'{old.stem}.16.{suffix}'
            pixels = cv2.imread(str(old)).astype('uint16') * 16
            new = case.folder / 'images' / image['file_name']
            cv2.imwrite(str(new), pixels[..., 0] if grey else pixels)

    case.change('train', rename)
    case.change('val', rename)
    problem = case.problem()
    assert '6 images have more than 8 bits' in problem.message
    # OpenCV rounds the colours of TIFF, and cuts those of PNG.
    rounds = suffix == 'tiff' and not grey
    highest, last = (16, 8191) if rounds else (15, 4095)
    assert f'values of 0 to {highest}, not 255' in problem.message
    assert f'windows=[(0, {last})] * 3' in problem.fix
    loading = problem.fix.partition(' in every')[0]
    case.add(
        f'for step in train_pipeline, test_pipeline: step[:1] = {loading}'
    )
    case.add(RELOADED)
    assert case.problems() == []


@pytest.mark.parametrize('classes', ["('cat', '')", "('cat', 2)", "''"])
def test_a_class_without_a_name(case, classes):
    case.add(
        'for loader in (train_dataloader, val_dataloader):\n'
        f"    loader['dataset']['metainfo'] = dict(classes={classes})"
    )
    problem = case.problem()
    assert problem.fix == "metainfo=dict(classes=('cat', 'dog',))"


OLD_OPTIMIZER = """
# optimizer
optimizer = dict(type='Adam', lr=0.001)
optimizer_config = dict(grad_clip=dict(max_norm=35, norm_type=2))
"""


def test_an_optimizer_of_mmdet_2_with_its_clipping(case):
    case.add(OLD_OPTIMIZER)
    problem = case.problem()
    assert 'optimizer and optimizer_config are from mmdet 2' in problem.message
    assert problem.fix == (
        "optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.001), "
        'clip_grad=dict(max_norm=35, norm_type=2))'
    )
    case.add(f'{problem.fix}\ndel optimizer, optimizer_config')
    assert case.problems() == []


def test_an_optimizer_may_be_a_variable(case):
    case.add(
        "optimizer = dict(type='SGD', lr=0.02, momentum=0.9)\n"
        'optim_wrapper = dict(optimizer=optimizer)'
    )
    assert case.problems('optim_wrapper.optimizer.lr=0.01') == []


LR_CONFIG = """
lr_config = dict(
    policy='step', warmup='linear', warmup_iters=20, warmup_ratio=0.001,
    step=[8, 11])
"""
BY_ITERATION = """
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1200, val_interval=100)
param_scheduler = []
"""


@pytest.mark.parametrize(
    ('loop', 'steps'),
    [
        ('', 'by_epoch=True, milestones=[8, 11]'),
        (BY_ITERATION, 'by_epoch=False, milestones=[800, 1100]'),
    ],
)
def test_a_schedule_of_mmdet_2_keeps_its_warm_up(case, loop, steps):
    case.add(loop + LR_CONFIG)
    problem = case.problem()
    assert 'lr_config is from mmdet 2' in problem.message
    assert "dict(type='LinearLR', start_factor=0.001" in problem.fix
    assert steps in problem.fix
    case.add(f'{problem.fix}\ndel lr_config')
    assert case.problems() == []


def test_a_value_of_a_base_that_is_still_a_text(case):
    child = case.folder / 'child.py'
    child.write_text(
        "_base_ = 'config.py'\n"
        'train_pipeline = {{ _base_.train_pipeline }}\n'
        "train_pipeline.insert(1, dict(type='RandomFlip', prob=0.5))\n"
    )
    (problem,) = check_config(child)
    assert f'{child}, line 3: train_pipeline.insert' in problem.message
    assert '{{_base_.train_pipeline}} is a string' in problem.message
    assert problem.fix == 'train_pipeline = _base_.train_pipeline'


def test_a_config_that_fails_names_its_line(case):
    case.add('1 / 0')
    problem = case.problem()
    assert 'ZeroDivisionError' in problem.message
    assert 'config.py, line' in problem.fix


def test_boxes_dragged_from_their_last_corner(case):
    def turn(coco):
        for annotation in coco['annotations'][::4]:
            left, top, width, height = annotation['bbox']
            annotation['bbox'] = [left + width, top, -width, height]

    case.change('train', turn)
    problem = case.problem()
    assert '3 of negative width or height' in problem.message
    assert 'abs(w), abs(h)' in problem.fix


def test_negative_areas(case):
    case.change('train', lambda coco: coco['annotations'][0].update(area=-9))
    problem = case.problem()
    assert '1 of negative area' in problem.message
    assert problem.fix.startswith('write area as width * height')


def test_files_joined_with_the_ids_of_each(case):
    def join(coco):
        for image in coco['images'][3:]:
            image['id'] -= 3

    case.change('train', join)
    problem = case.problem()
    assert 'ids in images are not unique' in problem.message
    assert '"image_id"' in problem.fix


def test_masks_that_a_preprocessor_makes_are_not_loaded():
    cfg = {
        'model': {
            'data_preprocessor': {'type': 'BoxInstDataPreprocessor'},
            'mask_head': {'type': 'BoxInstMaskHead'},
        },
        'train_dataloader': {'dataset': {'pipeline': [
            {'type': 'LoadAnnotations', 'with_bbox': True}
        ]}},
    }  # fmt: skip
    assert check_mask_loading(cfg) == []


def test_a_hook_may_have_a_priority(case):
    case.add("custom_hooks = [dict(type='CheckInvalidLossHook', priority=49)]")
    assert case.problems() == []


def test_keys_of_parameters_that_other_models_have_are_fine(case):
    """As in the recipes of Swin, some of whose models lack them."""
    case.add(
        "optim_wrapper['optimizer'] = "
        "dict(type='AdamW', lr=1e-4, weight_decay=0.05)\n"
        "optim_wrapper['paramwise_cfg'] = dict(custom_keys=dict("
        'absolute_pos_embed=dict(decay_mult=0.0), '
        'relative_position_bias_table=dict(decay_mult=0.0)))'
    )
    assert case.problems() == []


def test_a_multiplier_that_nothing_reads_is_named(case):
    case.add(
        "optim_wrapper['paramwise_cfg'] = dict(custom_keys=dict("
        'backbone=dict(lr_mul=0.1), neck=dict(lr_mult=0.5, momentum=0.8)))'
    )
    problem = case.problem()
    assert problem.subject.endswith('custom_keys.backbone')
    assert problem.message == 'nothing reads lr_mul; did you mean lr_mult?'


def test_weights_of_another_library_are_said_to_be(case, tmp_path):
    weights = dict(model=dict(a=torch.zeros(1)), iteration=1)
    torch.save(weights, tmp_path / 'model_final.pth')
    case.add("load_from = folder + '/model_final.pth'")
    problem = case.problem()
    assert 'has no state_dict, but model, iteration' in problem.message
    assert 'need converting' in problem.message


def test_variables_named_after_others_are_fine(case):
    case.add(
        'train_pipeline_a = train_pipeline_b = train_pipeline\n'
        'val_evaluator_2 = val_evaluator\n'
        'del train_pipeline'
    )
    assert case.problems() == []


def test_a_link_to_the_annotation_file_is_fine(case):
    (case.folder / 'link.json').symlink_to(case.folder / 'val.json')
    case.add("val_evaluator['ann_file'] = folder + '/link.json'")
    assert case.problems() == []


def test_evaluators_write_no_files(case, tmp_path):
    case.add(
        'val_evaluator = test_evaluator = [val_evaluator, '
        "dict(type='DumpDetResults', out_file_path=folder + '/dump.pkl'), "
        "dict(val_evaluator, outfile_prefix=folder + '/results', "
        "prefix='again')]"
    )
    before = sorted(tmp_path.rglob('*'))
    assert case.problems() == []
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('fast', [False, True])
def test_a_loader_of_the_user_reads_what_others_cannot(
    case, monkeypatch, fast
):
    class ReadArray:
        def __call__(self, results):
            image = np.load(results['img_path'])
            size = image.shape[:2]
            return results | dict(img=image, img_shape=size, ori_shape=size)

    monkeypatch.setitem(TRANSFORMS.module_dict, 'ReadArray', ReadArray)
    for path in (case.folder / 'images').iterdir():
        np.save(path, cv2.imread(str(path)))
        path.with_suffix('.png.npy').rename(path)
    case.add(
        "train_pipeline[0] = test_pipeline[0] = dict(type='ReadArray')\n"
        "train_dataloader['dataset']['pipeline'] = train_pipeline\n"
        "val_dataloader['dataset']['pipeline'] = test_pipeline"
    )
    assert case.problems(fast=fast) == []
    (case.folder / 'images/3.png').write_bytes(b'')
    (problem,) = case.problems(fast=fast)
    assert 'cannot be decoded' in problem.message


def test_a_crop_to_the_size_of_validation_is_fine(case):
    """As in the recipes of RTMDet."""
    case.add(
        "train_pipeline[2]['scale'] = (288, 240)\n"
        "train_pipeline.insert(3, dict(type='RandomCrop', "
        'crop_size=(80, 96), allow_negative_crop=True))\n'
        "train_dataloader['dataset']['pipeline'] = train_pipeline"
    )
    messages = [x.message for x in case.problems()]
    assert not any('pixels long after' in x for x in messages)


@pytest.mark.parametrize(
    ('head', 'warned'),
    [
        ('RetinaHead', True),
        ('PAAHead', False),
        ('FreeAnchorRetinaHead', False),
    ],
)
def test_heads_that_choose_positives_themselves(head, warned):
    assigner = {'type': 'MaxIoUAssigner', 'min_pos_iou': 0}
    model = {'bbox_head': {'type': head}, 'train_cfg': {'assigner': assigner}}
    cfg = {'model': model}
    assert check_low_quality(cfg) == []
    cfg['train_dataloader'] = {
        'dataset': {'pipeline': [{'type': 'RandomCrop'}]}
    }
    assert bool(check_low_quality(cfg)) == warned


def test_one_of_several_files_spells_its_categories_otherwise(case):
    case.change('train', lambda coco: None)
    text = (case.folder / 'train.json').read_text().replace('"cat"', '"Cat"')
    (case.folder / 'more.json').write_text(text)
    case.add(
        "train_dataloader['dataset'] = dict(type='ConcatDataset', datasets=["
        "train_dataloader['dataset'], dict(train_dataloader['dataset'], "
        "ann_file='more.json')])"
    )
    (problem,) = (x for x in case.problems() if x.level == 'error')
    assert problem.subject == 'train 2 data'
    assert '"name": "cat" in place of "Cat"' in problem.fix
    case.add(
        "train_dataloader['dataset']['datasets'][1]['metainfo'] = "
        "dict(classes=('Cat', 'dog'))"
    )
    fixes = [x.fix for x in case.problems() if x.level == 'error']
    assert '"name": "cat" in place of "Cat"' in fixes[0]
    assert not any("'cat', 'dog', 'Cat'" in x for x in fixes)


def test_data_sets_with_different_classes_of_one_file(case):
    case.add(
        "train_dataloader['dataset'] = dict(type='ConcatDataset', "
        "ignore_keys=['classes'], datasets=[train_dataloader['dataset'], "
        "dict(train_dataloader['dataset'], metainfo=dict(classes=('dog',)))])"
    )
    (finding,) = (x for x in case.problems() if x.subject == 'data')
    assert 'train 1: cat, dog; train 2: dog' in finding.message
    assert finding.fix == (
        "metainfo=dict(classes=('cat', 'dog',)) in all data sets, and "
        'num_classes=2'
    )


def test_keys_of_what_a_config_itself_assigns(case):
    case.add('train_dataloader.dataset.pipeline = train_pipeline[:1]')
    problem = case.problem()
    assert problem.fix.startswith(
        "train_dataloader['dataset']['pipeline'] = train_pipeline[:1] in "
    )


def test_one_finding_of_an_id_0(case):
    def renumber(coco):
        for number, annotation in enumerate(coco['annotations']):
            annotation['id'] = number

    case.change('val', renumber)
    assert 'id 0' in case.problem().message


def test_masks_by_a_factor_of_their_boxes(case):
    def enlarge(coco):
        for annotation in coco['annotations']:
            annotation['segmentation'] = [
                [2 * x for x in polygon]
                for polygon in annotation['segmentation']
            ]

    case.change('train', enlarge)
    case.add(LOAD_MASKS)
    problem = case.problem()
    assert 'masks are 2 and 2 times' in problem.message
    assert problem.fix == 'divide x and y of polygons by 2 and 2'


def test_pointers_of_git_lfs(case):
    for number in (1, 2):
        (case.folder / f'images/{number}.png').write_text(
            f'version https://git-lfs.github.com/spec/v1\n{number}\n'
        )
    problem = case.problem()
    assert '2 image files are pointers of Git LFS' in problem.message
    assert problem.fix == f'git -C {case.folder}/images lfs pull'


def test_a_key_of_paramwise_cfg_that_no_parameter_has(case):
    case.add("optim_wrapper['optimizer']['weight_decay'] = 0.0001")
    key = "optim_wrapper['paramwise_cfg'] = dict(custom_keys="
    case.add(key + '{"norm": dict(decay_mult=0.0)})')
    problem = case.problem()
    assert "no parameter has 'norm' in its name" in problem.message
    assert problem.fix == 'optim_wrapper.paramwise_cfg.norm_decay_mult=0.0'
    case.add(key + '{"backbone.layers": dict(lr_mult=0.1)})')
    assert "'backbone' in place of 'backbone.layers'" in case.problem().fix


def test_samples_that_make_no_batch():
    loader = SimpleNamespace(collate_fn=default_collate)
    samples = [{'inputs': torch.zeros(3, side, 8)} for side in (8, 16)]
    (finding,) = check_batch('train', loader, samples)
    assert finding.subject == 'train_dataloader.collate_fn'
    assert "type='pseudo_collate'" in finding.fix
    assert check_batch('train', loader, samples[:1]) == []


def test_files_of_training_and_validation_that_are_exchanged():
    def of(train, val):
        return {
            'train_dataloader': {'dataset': {'ann_file': train}},
            'val_dataloader': {'dataset': {'ann_file': val}},
        }

    (finding,) = check_exchanged(of('a/val.json', 'a/train.json'))
    assert "train_dataloader.dataset.ann_file='train.json'" in finding.fix
    assert check_exchanged(of('a/train.json', 'a/val.json')) == []
    assert check_exchanged(of('trainval.json', 'test.json')) == []


ODDITIES = {
    'a mosaic of one image': (
        "train_pipeline.insert(2, dict(type='Mosaic', img_scale=(80, 96)))",
        'mix_results',
        "type='MultiImageMixDataset'",
    ),
    'a loader that reads nothing': (
        "train_pipeline[0]['imdecode_backend'] = 'pillw'",
        'the loading step reads none of the 6 image files',
        "imdecode_backend='cv2'",
    ),
    'a step before the image': (
        "train_pipeline.insert(0, dict(type='PhotoMetricDistortion'))",
        'a sample fails',
        "dict(type='LoadImageFromFile') before",
    ),
    'an argument of a step': (
        "train_pipeline.insert(3, dict(type='RandomCrop', "
        "crop_size=(40, 40), crop_type='absolut'))",
        'Invalid crop_type',
        "RandomCrop takes crop_size: tuple, crop_type='absolute'",
    ),
    'boxes outside of crops': (
        "train_pipeline.insert(3, dict(type='RandomCrop', "
        'crop_size=(40, 40), bbox_clip_border=False))',
        'reach beyond their images after the pipeline',
        'bbox_clip_border=True',
    ),
    'colours of some classes': (
        "train_dataloader['dataset']['metainfo'] = "
        "dict(classes=('cat', 'dog'), palette=[(1, 2, 3)])",
        'palette has 1 colour for 2 classes',
        "metainfo without 'palette'",
    ),
}


@pytest.mark.parametrize('name', ODDITIES)
def test_an_oddity_has_its_fix(case, name):
    expect(case, *ODDITIES[name])


def without_crowds(coco):
    for one in coco['annotations']:
        del one['iscrowd']


def test_scoring_that_stops_at_wrong_annotations_is_no_finding(case):
    case.change('val', without_crowds)
    assert case.problem().fix == 'add "iscrowd": 0 to every annotation'


def as_points(coco):
    for one in coco['annotations']:
        (flat,) = one['segmentation']
        points = zip(flat[::2], flat[1::2], strict=True)
        one['segmentation'] = [list(map(list, points))]


def test_polygons_of_points_are_one_finding(case):
    case.add(LOAD_MASKS)
    case.change('train', as_points)
    assert 'polygons of [x, y] pairs' in case.problem().message


def test_boxes_that_a_wrong_order_spoils_are_no_finding(case):
    case.add("""
train_pipeline.insert(1, dict(type='Resize', scale=(48, 40)))
train_dataloader['dataset']['pipeline'] = train_pipeline""")
    assert 'comes before LoadAnnotations' in case.problem().message


def paint(case, names, value):
    for name in names:
        path = str(case.folder / 'images' / name)
        cv2.imwrite(path, np.full((HEIGHT, WIDTH, 3), value, 'B'))


@pytest.mark.parametrize('value', [0, 255])
def test_images_of_one_colour_have_no_objects(case, value):
    paint(case, ['0.png', '3.png'], value)
    finding = case.problem()
    assert '2 of 6 decoded images are of a single colour' in finding.message
    assert '0.png' in finding.message
    assert '3.png' in finding.message


def test_an_image_of_one_colour_without_objects_is_fine(case):
    paint(case, ['0.png'], 0)
    case.change('train', lambda coco: drop_objects(coco, 1))
    assert not any('colour' in x.message for x in case.problems())


def drop_objects(coco, image):
    coco['annotations'] = [
        x for x in coco['annotations'] if x['image_id'] != image
    ]


def test_a_folder_of_training_under_names_of_validation(case):
    """Two folders use the same numbering, and one is read twice."""
    shutil.copytree(case.folder / 'images', case.folder / 'val')
    for number in range(6):
        (case.folder / f'val/{number + 6}.png').replace(
            case.folder / f'val/{number}.png'
        )
    case.change('val', renamed_and_moved)
    finding = case.problem()
    assert finding.level == 'error'
    assert '6 of 6 images are files of the training data' in finding.message
    folder = case.folder / 'val'
    right = f"val_dataloader.dataset.data_prefix.img='{folder}/'"
    assert finding.fix == right
    fixed = right.replace("'", '')
    assert case.problems(fixed, fixed.replace('val_', 'test_')) == []


def renamed_and_moved(coco):
    for number, image in enumerate(coco['images']):
        image['file_name'] = f'{number}.png'
    for one in coco['annotations']:
        one['bbox'][0] += 5
        one['segmentation'] = polygon(*one['bbox'])


SWITCH = """
custom_hooks = [dict(
    type='PipelineSwitchHook', switch_epoch=6, switch_pipeline=[
        dict(type='LoadImageFromFile'), {}
        dict(type='Resize', scale=(96, 80)), dict(type='PackDetInputs')])]
"""
LOADING = "dict(type='LoadAnnotations', with_bbox=True),"


def test_a_pipeline_that_a_hook_switches_to_is_tried(case):
    case.add(SWITCH.format(LOADING))
    assert case.problems() == []
    case.add(SWITCH.format(''))
    finding = case.problem()
    assert finding.subject == 'custom_hooks.0.switch_pipeline'
    assert 'with_bbox=True' in finding.fix
    case.add(SWITCH.format(LOADING.replace('Load', 'Loda')))
    finding = case.problem()
    assert finding.subject == 'custom_hooks.0.switch_pipeline[1]'
    assert finding.fix == "type='LoadAnnotations'"


def test_a_switch_to_images_of_another_size(case):
    case.add(SWITCH.format(LOADING).replace('(96, 80)', '(480, 400)'))
    finding = case.problem()
    assert finding.subject == 'custom_hooks.0.switch_pipeline'
    assert 'sides of 480 pixels after the switch' in finding.message


def test_a_wrapper_has_no_pipeline_to_switch(case):
    case.add(SWITCH.format(LOADING))
    case.add("""
train_dataloader['dataset'] = dict(
    type='RepeatDataset', times=2, dataset=train_dataloader['dataset'])""")
    assert 'nothing is switched' in case.problem().message


BALANCED = """
train_dataloader['dataset'] = dict(
    type='ClassBalancedDataset', oversample_thr={}, dataset=dict(
        data, ann_file='train.json', pipeline=train_pipeline))
"""


def test_a_threshold_that_repeats_no_rare_class(case):
    case.add(BALANCED.format(0.01))
    # Equally frequent classes need no repetition.
    assert case.problems() == []

    def drop(coco):
        dogs = [x for x in coco['annotations'] if x['category_id'] == 2]
        coco['annotations'] = [
            x for x in coco['annotations'] if x not in dogs[1:]
        ]

    case.change('train', drop)
    (told,) = [x for x in case.problems() if 'repeats no image' in x.message]
    assert 'the rarest class is in 1 of 6' in told.message
    assert told.fix.startswith('oversample_thr=0.58')
    case.add(BALANCED.format(0.58))
    assert not any('repeats' in x.message for x in case.problems())


@pytest.mark.parametrize(
    ('hook', 'fix'),
    [
        ("'YOLOXModeSwitchHook', num_last_epochs=2", 'MultiImageMixDataset'),
        ("'MeanTeacherHook'", 'a teacher and a student'),
        ("'EMAHook', ema_type='ExpMomentumEMA', gama=9", 'gamma=…'),
    ],
)
def test_a_hook_for_another_model_is_tried(case, hook, fix):
    case.add(f'custom_hooks = [dict(type={hook})]')
    (problem,) = (x for x in case.problems() if x.level == 'error')
    assert fix in problem.fix


def test_a_part_that_its_base_has_as_none_is_replaced(case, tmp_path):
    path = tmp_path / 'child.py'
    own = "dict({}type='Pretrained', checkpoint='x.pth')"
    text = "_base_ = 'config.py'\nmodel = dict(backbone=dict(init_cfg={}))"
    path.write_text(text.format(own.format('')))
    (finding,) = check_config(path)
    assert finding.fix == f'init_cfg={own.format("_delete_=True, ")}'

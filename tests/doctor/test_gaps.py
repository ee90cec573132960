"""Faults that were once missed, or got a harmful fix."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.models import SingleRoIExtractor
from pycocotools import mask as api
from torch import nn

from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.doctor import (
    hook_settings,
    image_files,
    run_parts,
)
from mmdet_retina_plus.doctor.annotations import check_kept
from mmdet_retina_plus.doctor.categories import (
    check_references,
    check_spelling,
    is_plain,
    shift_of,
)
from mmdet_retina_plus.doctor.consistency import (
    check_labels,
    check_num_classes,
    check_objects,
)
from mmdet_retina_plus.doctor.data_sets import ids_of
from mmdet_retina_plus.doctor.explanations import unknown_argument
from mmdet_retina_plus.doctor.loss_settings import check_box_losses
from mmdet_retina_plus.doctor.model_fit import (
    check_roi_strides,
    explain_features,
    explain_heads,
)
from mmdet_retina_plus.doctor.pipeline_settings import check_order
from mmdet_retina_plus.doctor.scoring import check_evaluator, check_left_out
from mmdet_retina_plus.doctor.shared_images import check_shared
from mmdet_retina_plus.doctor.split import Split
from mmdet_retina_plus.doctor.trial import with_defaults
from tests.helpers.case_files import HEIGHT, WIDTH, Case, coco_set

HEADS = ('roi_head', 'rpn_head')
TRAIN = 'train_dataloader.dataset'


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@pytest.mark.parametrize(
    ('seen', 'there', 'shift'),
    [
        ([1, 2, 4], {1, 2, 3, 5}, 0),
        ([1, 2, 4], {0, 1, 2, 3}, 0),
        ([0, 1, 2], {1, 2, 3}, 1),
        ([0, 2], {1, 2, 3}, 1),
        ([2, 3], {1, 2}, -1),
    ],
)
def test_a_gap_in_a_list_of_categories_is_no_shift(seen, there, shift):
    assert shift_of('category', seen, there) == shift


STARTS = {
    'val_cfg.type': ('ValLop', "type='ValLoop'"),
    'test_cfg.fp17': (True, 'fp16=…'),
    'env_cfg.mp_cfg.mp_start_method': ('frok', "mp_start_method='fork'"),
    'env_cfg.dist_cfg.backend': ('ncll', "backend='nccl'"),
    'log_level': ('INFOO', "log_level='INFO'"),
    'tta_model.type': ('DetTTAModl', "type='DetTTAModel'"),
    'tta_pipeline': (
        [{'type': 'LoadImageFromFil'}],
        "type='LoadImageFromFile'",
    ),
    'custom_hooks': (
        [{'type': 'EMAHook', 'priority': 'HIHG'}],
        "custom_hooks[0].priority='HIGH'",
    ),
    'default_hooks.param_scheduler': (None, "type='ParamSchedulerHook'"),
    'default_hooks.checkpoint': (None, "type='CheckpointHook'"),
}


def nested(key, value):
    """A valid config except for one value."""
    cfg = {'param_scheduler': [{}], 'train_cfg': {'max_epochs': 1}}
    parent = cfg
    *above, last = key.split('.')
    for name in above:
        parent = parent.setdefault(name, {})
    parent[last] = value
    return cfg


@pytest.mark.parametrize('key', STARTS)
def test_a_typo_that_a_run_meets_as_it_starts(key):
    value, fix = STARTS[key]
    cfg = nested(key, value)
    (finding,) = [
        x
        for check in (run_parts.check_loops, *hook_settings.CHECKS)
        for x in check(cfg)
    ]
    assert fix in finding.fix


def test_a_teacher_that_nothing_teaches():
    cfg = {'model': {'type': 'SoftTeacher'}, 'custom_hooks': []}
    (finding,) = hook_settings.check_teacher(cfg)
    assert "type='MeanTeacherHook'" in finding.fix
    cfg['custom_hooks'] = [{'type': 'mmdet.MeanTeacherHook'}]
    assert hook_settings.check_teacher(cfg) == []


def test_a_package_that_a_run_needs_as_it_starts():
    backends = [{'type': 'LocalVisBackend'}, {'type': 'NeptuneVisBackend'}]
    (finding,) = hook_settings.check_backends(backends)
    assert finding.subject == 'visualizer.vis_backends[1]'
    assert finding.fix.startswith('pip install neptune')


def test_loops_and_levels_that_are_right():
    cfg = {
        'val_cfg': {'type': 'ValLoop'},
        'test_cfg': {},
        'log_level': 'WARNING',
        'env_cfg': {'mp_cfg': {'mp_start_method': 'spawn'}},
        'default_hooks': {'timer': None},
    }
    checks = (run_parts.check_loops, hook_settings.check_process)
    assert [x for check in checks for x in check(cfg)] == []


CASCADE = {
    'model': {
        'roi_head': {
            'bbox_head': [
                {
                    'type': 'Shared2FCBBoxHead',
                    'num_classes': 2,
                    'loss_bbox': {'type': 'L1Loss'},
                },
                {
                    'type': 'ConvFCBBoxHead',
                    'num_classes': 80,
                    'loss_bbox': {'type': 'GIoULoss'},
                },
            ]
        },
        'panoptic_head': {'num_things_classes': 80},
    }
}
SECOND = 'model.roi_head.bbox_head.1'


def test_each_head_counts_the_classes_of_the_data():
    split = Split('train', coco_set(), Path(), ('cat', 'dog'))
    fixes = [x.fix for x in check_num_classes(CASCADE, [split])]
    assert fixes == [
        f'{SECOND}.num_classes=2',
        'model.panoptic_head.num_things_classes=2',
    ]


def test_a_head_of_a_cascade_that_gives_deltas_to_an_iou_loss():
    (finding,) = check_box_losses(CASCADE)
    assert finding.fix == f'{SECOND}.reg_decoded_bbox=True'


class Infos:
    """A data set whose infos must not be copied."""

    serialize_data = False

    def __init__(self, number):
        self.data_list = [{'img_id': x} for x in range(number)]

    def __len__(self):
        return len(self.data_list)


def test_ids_are_read_without_copies():
    assert ids_of(Infos(3)) == {0, 1, 2}


@pytest.mark.parametrize(
    ('indices', 'scored'), [(301, range(400)), (301, range(301)), (None, ())]
)
def test_indices_that_leave_objects_out_of_many_images(indices, scored):
    api = SimpleNamespace(imgToAnns={key: [{}] for key in scored})
    evaluator = SimpleNamespace(metrics=[SimpleNamespace(_coco_api=api)])
    data = {'dataset': {'ann_file': 'val.json', 'indices': indices}}
    found = check_left_out(
        {'val_dataloader': data}, 'val', Infos(301), evaluator
    )
    fixes = [x.fix.partition(',')[0] for x in found]
    expected = ['val_dataloader.dataset.indices=None']
    assert fixes == (expected if len(scored) == 400 else [])


def write(folder, contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in contents]


@pytest.mark.parametrize('few', [0, 500])
def test_files_of_one_content_are_found_by_length_and_end(
    tmp_path, monkeypatch, few
):
    monkeypatch.setattr(image_files, 'FEW', few)
    monkeypatch.setattr(image_files, 'END', 4)
    contents = {'a': b'12345', 'b': b'12345', 'c': b'22345', 'd': b'12344'}
    paths = write(tmp_path, contents | {'e': b'1234', 'f': b''})
    looks = {
        path: image_files.Look(bytes=os.path.getsize(path)) for path in paths
    }
    found = image_files.copies_among(looks)
    assert sorted(found) == paths[:2]
    assert len({*found.values()}) == 1


def test_a_file_is_asked_for_once(tmp_path, monkeypatch):
    (path,) = write(tmp_path, {'a': b'no image'})
    asked = []
    real = os.stat
    monkeypatch.setattr(
        image_files,
        'os',
        SimpleNamespace(stat=lambda x: asked.append(x) or real(x)),
    )
    assert image_files.look(path, None).bytes == len(b'no image')
    assert asked == [path]


@pytest.mark.parametrize('empty', [True, False])
def test_a_copy_without_the_objects_of_the_other(tmp_path, empty):
    coco = coco_set(number=3)
    names = [image['file_name'] for image in coco['images']]
    write(tmp_path, dict(zip(names, (b'one', b'one', b'two'), strict=True)))
    if empty:
        del coco['annotations'][2:4]
    split = Split('train', coco, tmp_path, ('cat', 'dog'))
    looks = {path: image_files.Look(bytes=3) for path in split.paths}
    found = check_shared([split], looks)
    assert ['1.png has 0 of the 2 of 0.png' in x.message for x in found] == (
        [True] * empty
    )
    kept = frozenset([1, 3])
    filtered = replace(split, kept_images=kept)
    assert check_shared([filtered], looks) == []


class Labels(Infos):
    """A built data set in its own format."""

    metainfo = {'classes': ('cat', 'dog')}

    def __init__(self, *labels):
        self.data_list = [{'instances': [{'bbox_label': x} for x in labels]}]


@pytest.mark.parametrize(
    ('labels', 'level', 'words'),
    [
        ((), 'error', 'no image has an object of its classes (cat, dog)'),
        ((0, 0), 'warning', 'no object of the class dog'),
    ],
)
def test_classes_that_a_set_of_another_format_never_has(labels, level, words):
    (finding,) = check_objects([Labels(*labels)])
    assert finding.level == level
    assert words in finding.message
    assert check_objects([Labels(0), Labels(1)]) == []


def test_heads_count_the_classes_of_a_set_of_another_format():
    model = {'bbox_head': {'num_classes': 80}}
    (finding,) = check_num_classes({'model': model}, [], [Labels(0, 1)])
    assert finding.fix == 'model.bbox_head.num_classes=2'
    model['bbox_head']['num_classes'] = 2
    assert check_num_classes({'model': model}, [], [Labels(0, 1)]) == []


def test_proposals_that_numpy_stops_scoring(case):
    cfg = load_config(case.config)
    cfg.val_evaluator.metric = 'proposal_fast'
    _, (finding,) = check_evaluator(cfg, 'val', None)
    assert finding.fix == "val_evaluator.metric='proposal'"


def test_a_validation_file_without_images_is_to_be_exchanged():
    coco = coco_set(number=0)
    split = Split(
        'val', coco, Path(), ('cat', 'dog'), test_mode=True, key='val_key'
    )
    (finding,) = check_kept(split)
    assert finding.level == 'error'
    assert finding.fix.startswith('val_key.ann_file=')


PLAIN = """
val_evaluator['metric'] = ['bbox', 'segm']
test_evaluator = val_evaluator
model['type'] = 'FCOS'
model['bbox_head'] = dict(
    type='FCOSHead', num_classes=2, in_channels=8, feat_channels=8,
    stacked_convs=1, strides=[8, 16, 32, 64, 128], norm_cfg=None,
    loss_cls=dict(type='FocalLoss', use_sigmoid=True))
model['train_cfg'] = None
"""


def test_masks_that_are_scored_and_not_predicted(case):
    case.add(PLAIN)
    problem = case.problem()
    assert 'scores masks, which the detector does not' in problem.message
    assert problem.fix == "val_evaluator.metric='bbox'"


def test_a_config_without_a_model(case):
    case.add('del model')
    problem = case.problem()
    assert problem.message == 'the config has no model'


def test_annotation_files_as_a_list_are_joined(case):
    case.add("train_dataloader['dataset']['ann_file'] = ['train.json']")
    problem = next(x for x in case.problems() if 'ann_file' in x.message)
    case.add(
        problem.fix.replace(f'{TRAIN}=', "train_dataloader['dataset'] = ")
    )
    assert case.problems() == []


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('loss_bbox', 'roi_head.loss_bbox'),
        ('s0.loss_bbox', 'roi_head.loss_bbox'),
        ('loss_rpn_bbox', 'rpn_head.loss_bbox'),
    ],
)
def test_a_loss_gone_wrong_is_written_out_with_its_defaults(name, path):
    heads = {x: nn.ModuleDict({'loss_bbox': nn.L1Loss()}) for x in HEADS}
    fix = with_defaults(nn.ModuleDict(heads), [name])
    assert fix == f"model.{path}={{'_delete_': True, 'type': 'L1Loss'}}"


def test_the_fix_of_a_loss_that_is_not_finite_can_be_pasted(case):
    case.add("model['bbox_head']['loss_bbox']['loss_weight'] = float('nan')")
    fix = case.problem().fix
    assert fix.startswith('model.bbox_head.loss_bbox=')
    case.add(f"model['bbox_head']['loss_bbox'] = {fix.partition('=')[2]}")
    case.add("model['bbox_head']['loss_bbox'].pop('_delete_')")
    assert case.problems() == []


class OneLevelNeck(nn.Module):
    """Takes only the last level, like mmdet's DilatedEncoder."""

    in_channels = 2048


def test_a_neck_of_one_level_that_does_not_fit():
    backbone = nn.Conv2d(3, 512, 1)
    model = SimpleNamespace(
        backbone=lambda image: (backbone(image),), neck=OneLevelNeck()
    )
    finding = explain_features(model, torch.zeros(1, 3, 4, 4), ValueError())
    assert finding.fix == 'model.neck.in_channels=512'


def test_a_head_that_takes_another_number_of_cells():
    extractor = SimpleNamespace(
        featmap_strides=[4],
        out_channels=8,
        roi_layers=[SimpleNamespace(output_size=(14, 14))],
    )
    head = SimpleNamespace(in_channels=8, roi_feat_size=(7, 7))
    parts = SimpleNamespace(bbox_head=head, bbox_roi_extractor=extractor)
    model = SimpleNamespace(roi_head=parts)
    (finding,) = explain_heads(model, [torch.zeros(1, 8, 1, 1)])
    assert finding.fix == 'model.roi_head.bbox_head.roi_feat_size=14'
    head.roi_feat_size = (14, 14)
    assert explain_heads(model, [torch.zeros(1, 8, 1, 1)]) == []


def test_masks_that_are_ignored_explain_samples_without_objects(case):
    def encode(coco):
        for annotation in coco['annotations']:
            polygons = annotation['segmentation']
            (mask,) = api.frPyObjects(polygons, HEIGHT, WIDTH)
            mask['counts'] = mask['counts'].decode()
            annotation['segmentation'] = mask

    case.change('train', encode)
    case.add('train_pipeline[1].update(with_mask=True, poly2mask=False)')
    case.add("train_dataloader['dataset']['pipeline'] = train_pipeline")
    assert 'poly2mask=False' in case.problem().message


def test_proposals_that_are_only_written_are_fine(case):
    cfg = load_config(case.config)
    cfg.test_evaluator.update(
        metric='proposal_fast', format_only=True, outfile_prefix='results'
    )
    assert check_evaluator(cfg, 'test', None) == ({}, [])


def test_a_step_that_is_to_move_keeps_its_arguments():
    steps = [
        {'type': 'LoadImageFromFile'},
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    ]
    cfg = {'train_dataloader': {'dataset': {'pipeline': steps}}}
    (finding,) = check_order(cfg)
    assert finding.fix.startswith(
        "dict(type='LoadAnnotations', with_bbox=True, with_mask=True)"
    )


def kept_of(name, pipeline=(), crowd=0):
    coco = coco_set()
    for annotation in coco['annotations']:
        annotation['iscrowd'] = crowd
    split = Split(name, coco, Path(), ('cat', 'dog'), pipeline=pipeline)
    (finding,) = check_kept(split)
    return finding.message


def test_objects_are_counted_before_a_filter_of_the_pipeline():
    message = kept_of('train', [{'type': 'FilterAnnotations'}])
    assert '12 of 12 objects, before FilterAnnotations of' in message
    assert 'before' not in kept_of('train')


def test_validation_of_crowds_alone_has_no_precision():
    assert kept_of('val', crowd=1).endswith('AP will be -1')


def test_strides_of_the_extractors_of_a_cascade():
    pooled = {'type': 'RoIAlign', 'output_size': 7}
    extractor = SingleRoIExtractor(pooled, 8, [8, 16, 32, 64])
    extractors = nn.ModuleList([extractor] * 3)
    roi_head = SimpleNamespace(bbox_roi_extractor=extractors)
    model = SimpleNamespace(roi_head=roi_head)
    (finding,) = check_roi_strides(model, [4, 8, 16, 32, 64])
    assert finding.fix.endswith('extractor.featmap_strides=[4, 8, 16, 32]')
    assert check_roi_strides(model, [8, 16, 32, 64]) == []


def test_arguments_that_a_class_does_not_pass_on():
    error = "class `SSDHead` got an unexpected keyword argument '{}'"
    # AnchorHead has it, but SSDHead sets its losses itself.
    what, fix = unknown_argument(error.format('loss_bbox'))
    assert what == 'SSDHead takes no loss_bbox'
    assert fix.startswith('leave loss_bbox out')
    _, fix = unknown_argument(error.format('num_clases'))
    assert fix == 'num_classes=… in place of num_clases=…'


@pytest.mark.parametrize(
    ('spelt', 'named'),
    [
        ('dog', ''),
        ('d\u043eg', 'd\\u043eg'),
        ('\u200bdog', '\\u200bdog'),
        ('do\xadg', 'do\\xadg'),
    ],
)
def test_names_that_look_like_a_class(spelt, named):
    coco = coco_set()
    coco['categories'][1]['name'] = spelt
    found = check_spelling(Split('train', coco, Path(), ('cat', 'dog')))
    assert [x.cause for x in found] == ['spelling'] * bool(named)
    assert all(named in x.message for x in found)


KOT = '\u043a\u043e\u0442'
"""Cat in Russian, whose letters look like Latin ones."""


def test_ordinary_names_of_another_alphabet_are_shown_as_they_are():
    coco = coco_set()
    coco['categories'][0]['name'] = KOT.capitalize()
    (found,) = check_spelling(Split('train', coco, Path(), (KOT, 'dog')))
    assert f"{KOT!r} is called '{KOT.capitalize()}'" in found.message
    # But not beside Latin letters that look alike.
    assert not is_plain(KOT, ['kot'])
    assert not is_plain(f'{KOT[:2]}t')
    val = coco_set()
    val['categories'][0]['name'] = KOT
    (found,) = check_labels(
        [
            Split(name, x, Path(), tuple(y['name'] for y in x['categories']))
            for name, x in (('train', coco), ('val', val))
        ]
    )
    assert KOT in found.message
    assert f'"name": "{KOT.capitalize()}" in place of "{KOT}"' in found.fix


@pytest.mark.parametrize(
    'names',
    [
        ('A', 'a'),
        ('\u0410', 'A'),
        (KOT, 'kit'),
        # Formulas.
        (r'\sigma', r'\Sigma'),
    ],
)
def test_letters_of_two_alphabets_may_be_classes(names):
    coco = coco_set()
    for category, name in zip(coco['categories'], names, strict=True):
        category['name'] = name
    assert check_spelling(Split('train', coco, Path(), names)) == []


@pytest.mark.parametrize('step', [1, 2])
def test_ids_that_were_rounded_to_floats(step):
    coco = coco_set()
    for image in coco['images']:
        image['id'] = 2**53 + step * image['id'] + 1
    numbers = [x['id'] for x in coco['images']]
    for thing in coco['annotations']:
        thing['image_id'] = numbers[thing['image_id'] - 1]
    split = Split('train', coco, Path(), ('cat', 'dog'))
    assert check_references(split) == []
    for thing in coco['annotations']:
        thing['image_id'] = int(float(thing['image_id']))
    (finding,) = check_references(replace(split))
    assert finding.level == 'error'
    assert 'image_id was rounded to a 64-bit float' in finding.message
    coco['annotations'][0]['image_id'] = 7
    (finding,) = check_references(replace(split))
    assert 'rounded' not in finding.message


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'ignore': 1}, '2 objects marked "ignore", not "iscrowd"'),
        ({'area': 0}, '2 objects of area 0'),
        ({'bbox': [5, 5, 0.6, 9]}, '2 objects thinner than a pixel'),
    ],
)
def test_scored_objects_that_mmdet_drops(case, values, words):
    def spoil(coco):
        for thing in coco['annotations'][::6]:
            thing.update(values)

    case.change('val', spoil)
    (finding,) = case.problems()
    assert finding.subject == 'val_evaluator'
    assert words in finding.message


def test_an_object_that_mmdet_drops_does_not_hide_other_reasons(case):
    def spoil(coco):
        coco['annotations'][0]['ignore'] = 1
        coco['annotations'][6]['bbox'][2] = 0.6

    case.change('val', spoil)
    (finding,) = case.problems()
    assert '1 object marked "ignore"' in finding.message
    assert '1 object thinner than a pixel' in finding.message
    assert 'other objects than' not in finding.message


def test_an_ignored_object_outside_of_its_image_beside_others(case):
    def spoil(coco):
        coco['annotations'][0]['ignore'] = 1
        for thing in coco['annotations'][6::6]:
            thing['bbox'][0] += 500

    case.change('val', spoil)
    told = [x.message for x in case.problems()]
    (message,) = [x for x in told if 'as predictions' in x]
    assert 'it scores other objects than' in message
    assert 'it also counts 1 object marked "ignore"' in message


def test_dropped_objects_of_unscored_categories_do_not_count(case):
    def spoil(coco):
        coco['categories'].append({'id': 9, 'name': 'other'})
        coco['annotations'][0].update(category_id=9, ignore=1)
        coco['annotations'][6].update(ignore=1)

    case.change('val', spoil)
    told = [x.message for x in case.problems()]
    assert any('1 object marked "ignore"' in x for x in told)


def test_ignored_crowds_of_validation_are_fine(case):
    def spoil(coco):
        coco['annotations'][0].update(ignore=1, iscrowd=1)

    case.change('val', spoil)
    assert case.problems() == []

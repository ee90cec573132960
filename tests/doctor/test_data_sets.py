"""Data sets of users, and data sets that are read in two ways."""

import json
import pickle

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from mmdet.registry import DATASETS, METRICS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch.utils.data import Dataset

from mmdet_retina_plus.doctor.monitors import check_monitors
from mmdet_retina_plus.doctor.pipelines import labelled_branch
from tests.helpers.case_files import HEIGHT, WIDTH, Case, coco_set


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


class Merged(CocoDataset):
    """Merges all categories of its file into one class."""

    METAINFO = {'classes': ('animal',)}

    def load_data_list(self):
        self._metainfo['classes'] = ('cat', 'dog')
        images = super().load_data_list()
        self._metainfo['classes'] = ('animal',)
        for image in images:
            for instance in image['instances']:
                instance['bbox_label'] = 0
        return images


class OwnPipeline(CocoDataset):
    """Takes few arguments and no pipeline."""

    def __init__(self, ann_file, data_root, data_prefix, metainfo):
        steps = [
            {'type': 'LoadImageFromFile'},
            {'type': 'LoadAnnotations', 'with_bbox': True},
            {'type': 'Resize', 'scale': (96, 80), 'keep_ratio': True},
            {'type': 'PackDetInputs'},
        ]
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            metainfo=metainfo,
            pipeline=steps,
        )


class OfTorch(Dataset):
    """A plain torch data set, without mmengine."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        shown = DetDataSample(
            metainfo={
                'img_id': index,
                'ori_shape': (HEIGHT, WIDTH),
                'img_shape': (HEIGHT, WIDTH),
                'scale_factor': (1.0, 1.0),
            }
        )
        shown.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 12, 38, 46]]), labels=torch.tensor([0])
        )
        image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
        return {'inputs': image, 'data_samples': shown}


OWN = {
    'classes of another number': (
        Merged,
        """
for loader in (train_dataloader, val_dataloader):
    loader['dataset'].update(type='Merged', metainfo=dict(classes=('animal',)))
del loader
model['bbox_head']['num_classes'] = 1
val_evaluator = test_evaluator = dict(type='VOCMetric')
""",
    ),
    'a pipeline of its own': (
        OwnPipeline,
        """
train_dataloader['dataset'] = dict(
    type='OwnPipeline', data_root=folder, ann_file='train.json',
    data_prefix=dict(img='images/'), metainfo=data['metainfo'])
""",
    ),
    "one of torch's": (
        OfTorch,
        "train_dataloader['dataset'] = dict(type='OfTorch')",
    ),
}


@pytest.mark.parametrize('name', OWN)
def test_a_data_set_of_the_user_is_judged_by_what_it_gives(
    case, monkeypatch, name
):
    built, lines = OWN[name]
    monkeypatch.setitem(DATASETS.module_dict, built.__name__, built)
    case.add(lines)
    findings = case.findings()
    assert [x for x in findings if x.level != 'ok'] == []
    (step,) = [x for x in findings if x.subject == 'loss step']
    assert 'loss_cls' in step.message


def test_a_missing_file_of_another_format_is_named(case):
    case.add("""
train_dataloader['dataset'].update(
    type='MOTChallengeDataset', ann_file='trains.json')
train_dataloader['dataset']['pipeline'][1]['type'] = 'LoadTrackAnnotations'
""")
    (found,) = [x for x in case.findings() if 'no file' in x.message]
    assert found.subject == 'train_dataloader.dataset'
    assert "ann_file='…/train.json'" in found.fix


def test_another_pipeline_of_the_same_images_is_tried(case):
    case.add("""
test_dataloader = dict(val_dataloader, dataset=dict(
    val_dataloader['dataset'], pipeline=test_pipeline[:-1] + [
        dict(type='RandomCrop', crop_size=(32, 32), allow_negative_crop=True),
        test_pipeline[-1]]))
""")
    problem = case.problem()
    assert 'test_dataloader.dataset.pipeline[3]' in problem.subject
    assert 'moves pixels' in problem.message


class Table(CocoMetric):
    """Writes a file that no argument of mmdet names."""

    def __init__(self, table, **settings):
        super().__init__(**settings)
        self.table = table

    def compute_metrics(self, results):
        with open(self.table, 'w') as file:
            file.write('spoilt')
        return super().compute_metrics(results)


WRITERS = {
    'DumpProposals': "output_dir=folder + '/mine', proposals_file='kept.pkl'",
    'DumpDetResults': "out_file_path=folder + '/mine/kept.pkl'",
    'Table': "table=folder + '/mine/kept.pkl', ann_file=folder + '/val.json'",
}


def test_evaluators_overwrite_nothing(case, monkeypatch):
    monkeypatch.setitem(METRICS.module_dict, 'Table', Table)
    kept = case.folder / 'mine' / 'kept.pkl'
    kept.parent.mkdir()
    kept.write_bytes(pickle.dumps('mine'))
    metrics = [f'dict(type={x!r}, {given})' for x, given in WRITERS.items()]
    case.add(f'test_evaluator = [{", ".join(metrics)}]')
    case.add('test_dataloader = dict(val_dataloader, batch_size=2)')
    assert case.problems() == []
    assert pickle.loads(kept.read_bytes()) == 'mine'


def test_hooks_of_users_monitor_what_they_like():
    hooks = [{'type': 'OwnHook', 'monitor': 'loss'}]
    cfg = {'val_evaluator': {'type': 'VOCMetric'}, 'custom_hooks': hooks}
    assert check_monitors(cfg, {'coco/bbox_mAP': 1.0}) == []
    hooks[0]['type'] = 'EarlyStoppingHook'
    assert len(check_monitors(cfg, {'coco/bbox_mAP': 1.0})) == 1
    cfg['val_cfg'] = {'type': 'TeacherStudentValLoop'}
    assert check_monitors(cfg, {'coco/bbox_mAP': 1.0}) == []


SEMI = """
model = dict(
    type='SemiBaseDetector', detector=model,
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor',
        data_preprocessor=model['data_preprocessor']),
    semi_train_cfg=dict(freeze_teacher=True, sup_weight=1.0),
    semi_test_cfg=dict(predict_on='teacher'))
branches = ['sup', 'unsup_teacher', 'unsup_student']
weak = [dict(type='PackDetInputs', meta_keys=(
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
load, annotate, resize, pack = train_pipeline
sup = [load, annotate, resize, dict(
    type='MultiBranch', branch_field=branches, sup=pack)]
unsup = [load, dict(type='LoadEmptyAnnotations'), resize, dict(
    type='MultiBranch', branch_field=branches,
    unsup_teacher=weak, unsup_student=weak)]
labelled = dict(train_dataloader['dataset'], pipeline=sup)
unlabelled = dict(
    labelled, ann_file='unlabelled.json', pipeline=unsup,
    filter_cfg=dict(filter_empty_gt=False))
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(
        type='GroupMultiSourceSampler', batch_size=2, source_ratio=[1, 1]),
    dataset=dict(type='ConcatDataset', datasets=[labelled, unlabelled]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=100, val_interval=10)
val_cfg = dict(type='TeacherStudentValLoop')
custom_hooks = [dict(type='MeanTeacherHook')]
default_hooks = dict(checkpoint=dict(
    type='CheckpointHook', by_epoch=False, interval=10,
    save_best='teacher/coco/bbox_mAP', rule='greater'))
param_scheduler = [dict(
    type='MultiStepLR', by_epoch=False, begin=0, end=100, milestones=[70])]
"""


def test_semi_supervised_training_has_no_problem(case):
    unlabelled = coco_set() | {'annotations': []}
    (case.folder / 'unlabelled.json').write_text(json.dumps(unlabelled))
    case.add(SEMI)
    findings = case.findings(show=case.folder / 'shown')
    assert [x for x in findings if x.level != 'ok'] == []
    (step,) = [x for x in findings if x.subject == 'loss step']
    assert 'loss_cls' in step.message
    assert list((case.folder / 'shown').glob('train-*.png'))


def test_of_several_branches_the_labelled_one_counts():
    boxed, empty = DetDataSample(), DetDataSample()
    boxed.gt_instances = InstanceData(labels=torch.zeros(2))
    empty.gt_instances = InstanceData(labels=torch.zeros(0))
    inputs = {'first': 1, 'second': 2, 'third': None}
    shown = {'first': empty, 'second': boxed, 'third': None}
    sample = {'inputs': inputs, 'data_samples': shown}
    assert labelled_branch(sample)['inputs'] == 2
    shown['second'] = empty
    assert labelled_branch(sample)['inputs'] == 1
    plain = {'inputs': torch.zeros(3, 4, 4), 'data_samples': boxed}
    assert labelled_branch(plain) is plain


def test_fixes_name_a_data_set_within_its_wrappers(case):
    case.add(
        "train_dataloader['dataset'] = dict(type='RepeatDataset', times=2, "
        "dataset=dict(type='ConcatDataset', datasets=[dict("
        "train_dataloader['dataset'], indices=3)]))"
    )
    (finding,) = (x for x in case.problems() if 'indices' in x.message)
    key = 'train_dataloader.dataset.dataset.datasets.0.indices=None'
    assert finding.fix.startswith(key)
    assert not any(
        'indices' in x.message
        for x in case.problems(finding.fix.split(',')[0])
    )

"""Faults as people make them, each set into a config that is right.

One fault is one finding, whose fix can be pasted.
"""

import pytest

from tests.helpers.case_files import Case


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


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
        'needs the name of a file',
        "val_evaluator.outfile_prefix='results'",
    ),
    'the best of no scores': (
        SAVE_BEST + "val_evaluator.update(format_only=True, "
        "outfile_prefix=folder + '/results')\n"
        'test_evaluator = val_evaluator',
        'format_only=True scores nothing',
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
    'a schedule that waits for no metric': (
        "param_scheduler = [dict(type='ReduceOnPlateauLR', "
        "monitor='bbox_mAP')]",
        'no metric is called bbox_mAP',
        "monitor='coco/bbox_mAP'",
    ),
}


@pytest.mark.parametrize('name', EVALUATORS)
def test_a_fault_of_an_evaluator(case, name):
    lines, message, fix = EVALUATORS[name]
    case.add(lines)
    problem = case.problem()
    assert message in problem.message
    assert fix in problem.fix


def test_an_evaluator_of_voc_is_fine(case):
    case.add("val_evaluator = test_evaluator = dict(type='VOCMetric')")
    assert case.problems() == []

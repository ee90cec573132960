"""The examples of docs/extending.md work: in a head, and as a command."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.structures import InstanceData

from tests.helpers.commands import invoke
from tests.helpers.models import build_head
from tests.helpers.samples import HEAD_OBJECTS, data_sample, pyramid

PAGE = Path(__file__).parents[1] / 'docs' / 'extending.md'
BLOCKS = dict(
    re.findall(r'```python\n# (\S+)\n(.*?)```', PAGE.read_text(), re.DOTALL)
)


@pytest.fixture(scope='module')
def examples():
    """What the examples define, registered while this module runs."""
    before = [dict(registry.module_dict) for registry in (MODELS, TASK_UTILS)]
    names: dict = dict(__name__='examples')
    for file, block in BLOCKS.items():
        if file != 'my_config.py':
            exec(block, names)
    yield names
    for registry, modules in zip((MODELS, TASK_UTILS), before, strict=True):
        registry._module_dict = modules


@pytest.mark.parametrize(
    'change',
    [
        {'loss_bbox.type': 'LogCoshLoss'},
        {'train_cfg.assigner': dict(_delete_=True, type='MiddleAssigner')},
        {'mining': dict(type='RandomNegatives', keep=0.25)},
    ],
    ids=str,
)
def test_a_head_takes_a_step_with_the_example(examples, change):
    head = build_head(**change)
    losses = head.loss(pyramid(batch=1), [data_sample(HEAD_OBJECTS)])
    total = losses['loss_cls'] + losses['loss_bbox']
    total.backward()
    assert total > 0
    for parameter in head.parameters():
        assert parameter.grad.isfinite().all()


def test_the_loss_is_the_log_of_the_hyperbolic_cosine(examples):
    loss = MODELS.build(dict(type='LogCoshLoss'))
    error = torch.tensor([0.0, -0.5, 3.0])
    torch.testing.assert_close(
        loss(error, torch.zeros(3)), error.cosh().log().mean()
    )


def test_the_assigner_takes_anchors_centred_in_the_middle(examples):
    assigner = TASK_UTILS.build(dict(type='MiddleAssigner'))
    priors = torch.tensor([[40.0, 40, 60, 60], [0, 0, 20, 20]])
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 100, 100]]), labels=torch.tensor([2])
    )
    result = assigner.assign(InstanceData(priors=priors), truth)
    assert result.gt_inds.tolist() == [1, 0]
    assert result.labels.tolist() == [2, -1]


def test_the_policy_keeps_positives_and_part_of_the_rest(examples):
    policy = TASK_UTILS.build(dict(type='RandomNegatives', keep=0.5))
    labels = torch.tensor([0, 2] + [3] * 998)
    weights = policy(
        torch.zeros(1000, 3), None, labels, torch.ones(1000), InstanceData()
    )
    assert weights[:2].tolist() == [1, 1]
    assert 400 < weights[2:].sum() < 600


def test_the_command_counts_and_names_a_broken_file(examples, tmp_path):
    file = tmp_path / 'instances.json'
    categories = [dict(id=3, name='cat'), dict(id=5, name='dog')]
    file.write_text(
        json.dumps(
            dict(categories=categories, annotations=[dict(category_id=5)] * 2)
        )
    )
    assert invoke(examples['main'], file) == 'cat: 0\ndog: 2\n'
    file.write_text('{')
    assert 'Error: ' in invoke(examples['main'], file, code=1)

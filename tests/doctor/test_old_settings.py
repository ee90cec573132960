"""Keys of mmdet 2 are accepted if a config uses them as variables."""

import pytest

from mmdet_retina_plus.doctor.old_settings import check_old_keys, variables

USED = {
    'a number': 'total_epochs = 12\ntrain_cfg = dict(max_epochs=total_epochs)',
    'a switch': "fp16 = True\nwrapper = dict(type='A' if fp16 else 'B')",
    'an item': "evaluation = {'n': 1}\nloop = dict(every=evaluation['n'])",
    'an operand': 'optimizer = {}\nwrapper = optimizer | dict(lr=0.1)',
    'a part of a path': "data = 'x/'\nroot = data + 'y/'",
    'a value of a base': '/a/base.py\nrunner = 1\n/a/b.py\nx = _base_.runner',
    'a value in braces': 'data = 1\nx = {{_base_.data}}',
}


@pytest.mark.parametrize('name', USED)
def test_a_name_that_is_used_is_a_variable(name):
    key = USED[name].replace('/a/base.py\n', '').partition(' ')[0]
    assert key in variables(USED[name])
    assert check_old_keys({key: {}}, USED[name]) == []


@pytest.mark.parametrize(
    'text',
    [
        "data = dict(train='x')",
        "data['train']['x'] = 1\ndata.train.y = 2\ndata.update(z=3)",
        'data = dict(data, workers=2)',
        "# data\nx = 'data'",
        'not Python data',
    ],
)
def test_a_name_that_is_only_set_is_none(text):
    assert 'data' not in variables(text)
    assert len(check_old_keys({'data': {}}, text)) == 1

"""A device that is not there is refused by name."""

import pytest
import torch

from mmdet_retina_plus.common.devices import chosen_device


@pytest.mark.parametrize('name', ['gpu', 'cuda:99'])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match=rf"device '{name}'.*--device cpu"):
        chosen_device(name)


def test_the_first_gpu_is_taken_or_else_the_cpu():
    first = 'cuda:0' if torch.cuda.is_available() else 'cpu'
    assert chosen_device(None) == first
    assert chosen_device('cpu') == 'cpu'

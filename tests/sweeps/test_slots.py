"""Laws of how runs share a machine."""

import os

import pytest

from mmdet_retina_plus.sweeps.slots import make_slots, visible_gpus


def test_gpus_are_divided():
    slots = make_slots(2, 2, ['0', '2', '4', '6'])
    assert [slot.gpus for slot in slots] == ['0,2', '4,6']
    assert [slot.nproc for slot in slots] == [2, 2]
    environment = slots[1].environment()
    assert environment['CUDA_VISIBLE_DEVICES'] == '4,6'


def test_single_processes_share_gpus_where_there_are_too_few():
    slots = make_slots(3, 1, ['0', '1'])
    assert [slot.gpus for slot in slots] == ['0', '1', '0']


@pytest.mark.parametrize(
    ('gpus', 'error'),
    [(['0', '1', '2'], 'need 4 GPUs, there are 3'), ([], 'needs a GPU')],
)
def test_processes_never_share_a_gpu(gpus, error):
    with pytest.raises(ValueError, match=error):
        make_slots(2, 2, gpus)


def test_cores_are_divided_unless_the_user_did(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(8)))
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    (*_, slot) = make_slots(3, 1, [])
    assert slot.environment()['OMP_NUM_THREADS'] == '2'
    gpus = os.environ.get('CUDA_VISIBLE_DEVICES')
    assert slot.environment().get('CUDA_VISIBLE_DEVICES') == gpus
    monkeypatch.setenv('OMP_NUM_THREADS', '5')
    assert slot.environment()['OMP_NUM_THREADS'] == '5'


def test_gpus_keep_the_names_that_the_user_gave(monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert visible_gpus() == ['0', '1']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '5,GPU-1f')
    assert visible_gpus() == ['5', 'GPU-1f']

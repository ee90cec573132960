"""What is compiled follows from torch, the cards and the options."""

import pytest
import torch
from packaging.version import Version

from mmdet_retina_plus.toolchain.target import (
    Target,
    cpp_standard,
    find_target,
)


@pytest.fixture
def machine(monkeypatch):
    """Let torch be built for a CUDA and see cards of these capabilities."""

    def pretend(cuda: str | None, *cards: tuple[int, int]) -> None:
        for name, value in {
            'is_available': lambda: bool(cards),
            'device_count': lambda: len(cards),
            'get_device_capability': cards.__getitem__,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch.version, 'cuda', cuda)

    return pretend


def test_without_a_card_it_is_the_cpu(machine):
    machine('13.0')
    target = find_target()
    assert (target.cuda, target.archs) == ('', ())
    assert target.label.endswith('.cpu')


def test_the_cards_present_are_compiled_for(machine):
    machine('13.0', (9, 0), (8, 0), (9, 0))
    target = find_target()
    assert target.archs == ('8.0', '9.0')
    assert target.label.endswith('.cu130.sm80.sm90')


def test_other_cards_may_be_named(machine):
    machine('13.0')
    target = find_target(cuda=True, archs=['8.6', '9.0+PTX'])
    assert target.archs == ('8.6', '9.0+PTX')
    assert target.label.endswith('.cu130.sm86.sm90ptx')


@pytest.mark.parametrize(
    ('cuda', 'options', 'hint'),
    [
        ('13.0', {'archs': ['9.0']}, 'add --cuda'),
        ('13.0', {'cuda': True}, '--arch 9.0'),
        ('13.0', {'cuda': True, 'archs': ['sm_90']}, 'such as 8.0'),
        (None, {'cuda': True, 'archs': ['9.0']}, 'drop --cuda'),
    ],
)
def test_what_does_not_fit_is_refused(machine, cuda, options, hint):
    machine(cuda)
    with pytest.raises(ValueError, match=hint):
        find_target(**options)


@pytest.mark.parametrize(('year', 'standard'), [(201703, 17), (202002, 20)])
def test_torch_says_which_standard_it_needs(tmp_path, year, standard):
    header = tmp_path / 'include' / 'ATen' / 'ATen.h'
    header.parent.mkdir(parents=True)
    header.write_text(f'#if !defined(_MSC_VER) && __cplusplus < {year}L')
    assert cpp_standard(tmp_path) == standard


def test_the_torch_here_needs_what_its_version_says():
    new = Version(torch.__version__) >= Version('2.14')
    assert find_target().standard == (20 if new else 17)


def test_a_label_is_a_version_of_its_own():
    labels = {
        Version(f'2.1.0+{target.label}')
        for target in (
            Target('2.13.0+cpu', 17),
            Target('2.14.1+cu130', 20),
            Target('2.14.1+cu130', 20, '13.0', ('9.0',)),
            Target('2.14.1+cu130', 20, '13.0', ('9.0a',)),
        )
    }
    assert len(labels) == 4

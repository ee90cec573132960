"""mmcv's sources become few files that include each of them once."""

import re

import pytest

from mmdet_retina_plus.toolchain.sources import (
    APART,
    GROUPS,
    amalgamate,
    set_label,
    set_standard,
    use_python_operators,
)

SETUP = """
setup(
    extra_compile_args={'cxx': ['-std=c++17'], 'nvcc': ['-std=c++17']},
    ext_modules=get_extensions(),
)
"""


@pytest.fixture
def source(tmp_path):
    """As an unpacked sdist of mmcv: names and sizes matter, no contents."""
    root = tmp_path / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
    for folder in ('cpu', 'cuda'):
        (root / folder).mkdir(parents=True)
    names = [f'{i}.cpp' for i in range(40)] + ['roi_align.cpp', 'pybind.cpp']
    names += [f'cpu/{i}.cpp' for i in range(10)] + ['cuda/cudabind.cpp']
    names += [f'cuda/{i}_cuda.cu' for i in range(40)]
    names += [
        f'{"cuda" if name.endswith(".cu") else "cpu"}/{name}' for name in APART
    ]
    for size, name in enumerate(names):
        (root / name).write_text(' ' * 100 * size)
    (tmp_path / 'setup.py').write_text(SETUP)
    (tmp_path / 'setup.cfg').write_text('[egg_info]\ntag_build = \n')
    return tmp_path, root, set(names)


def test_every_file_is_included_once(source):
    path, root, names = source
    amalgamate(path)
    found = []
    for file in root.rglob('all_*'):
        for name in re.findall('#include "(.+).inl"', file.read_text()):
            assert (file.parent / f'{name}.inl').is_file()
            found.append(str((file.parent / name).relative_to(root)))
    assert sorted(found) == sorted(names - {'cuda/cudabind.cpp'})


def test_setup_finds_the_generated_files_only(source):
    path, root, _ = source
    amalgamate(path)
    cpp = [*root.glob('*.cpp'), *root.glob('cpu/*.cpp')]
    assert len(cpp) == GROUPS['.cpp']
    assert len([*root.glob('cuda/*.cu')]) == GROUPS['.cu']
    assert (root / 'cuda' / 'cudabind.cpp').is_file()


def test_files_that_define_the_same_names_do_not_meet(source):
    path, root, _ = source
    amalgamate(path)
    for file in root.rglob('all_*'):
        names = re.findall('(cpu/)?(\\w+[.]cp?p?u?)[.]inl', file.read_text())
        clashing = [
            name
            for folder, name in names
            if name in APART and (folder or name.endswith('.cu'))
        ]
        assert len(clashing) <= 1


def test_the_groups_are_of_about_the_same_size(source):
    path, root, _ = source
    amalgamate(path)
    sizes = []
    for file in root.glob('all_*.cpp'):
        names = re.findall('#include "(.+)"', file.read_text())
        sizes.append(sum((root / name).stat().st_size for name in names))
    assert max(sizes) < 1.5 * min(sizes)


def test_both_compilers_get_the_standard(source):
    set_standard(source[0], 20)
    text = (source[0] / 'setup.py').read_text()
    assert text.count('-std=c++20') == 2
    assert '-std=c++17' not in text


def test_the_label_becomes_part_of_the_version(source):
    set_label(source[0], 'torch2.13.0.cpu')
    text = (source[0] / 'setup.cfg').read_text()
    assert 'tag_build = +torch2.13.0.cpu' in text


def test_operators_in_python_take_the_place_of_the_compiled_ones(source):
    use_python_operators(source[0])
    assert 'ext_modules=[]' in (source[0] / 'setup.py').read_text()
    assert 'def nms(' in (source[0] / 'mmcv' / '_ext.py').read_text()

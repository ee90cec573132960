"""What the page on the background notes names is there."""

import re
from pathlib import Path

import pytest
from mmdet.registry import DATASETS, HOOKS, MODELS, TASK_UTILS, TRANSFORMS

import mmdet_retina_plus
from mmdet_retina_plus.cli.main import COMMANDS as ALL_COMMANDS

PAGE = Path(__file__).parents[1] / 'docs' / 'background-notes.md'
CODE = re.findall(r'`([^`]+)`', PAGE.read_text())
REGISTRIES = (DATASETS, HOOKS, MODELS, TASK_UTILS, TRANSFORMS)
CONFIGS = [
    name.removesuffix('.py')
    for name in CODE
    if re.fullmatch(r'(lab/|_base_/|retina\w+_r50)[\w./-]+', name)
]
CLASSES = [
    name
    for text in CODE
    for name in re.findall(r'^[A-Z]+[a-z]\w+(?=\(|$)', text)
]
COMMANDS = [name.split()[1] for name in CODE if name.startswith('retina-plus')]
# `a`, `b` and `c` follow "sweep" or "sweeps".
SWEEPS = [
    name
    for names in re.findall(
        r'sweeps? ((?:`\w+`(?:, | and )?)+)', PAGE.read_text()
    )
    for name in re.findall(r'`(\w+)`', names)
]


ROWS = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in PAGE.read_text().splitlines()
    if line.startswith('|') and not line.startswith(('|---', '| the notes'))
]
SOURCES = {
    *re.findall(r'^- (\w+): ', PAGE.read_text(), re.MULTILINE),
    *('darknet', 'Notes'),
}


def test_each_statement_has_an_answer_and_a_source():
    assert len(ROWS) > 60
    for row in ROWS:
        statement, answer, source = row
        assert answer, statement
        # "FL 3.1, mmdet; Notes (a question of 001)".
        assert source.split()[0].rstrip(',;') in SOURCES, statement


def test_the_page_names_each_kind():
    assert min(map(len, (CONFIGS, CLASSES, COMMANDS, SWEEPS))) > 3


@pytest.mark.parametrize('name', sorted({*CONFIGS, *SWEEPS}))
def test_configs_exist(name):
    folder = 'sweeps/' * (name in SWEEPS)
    assert Path(mmdet_retina_plus.config(folder + name)).is_file()


@pytest.mark.parametrize('name', sorted(set(CLASSES)))
def test_classes_are_registered(name):
    assert any(registry.get(name) for registry in REGISTRIES)


@pytest.mark.parametrize('name', sorted(set(COMMANDS)))
def test_commands_exist(name):
    assert name in ALL_COMMANDS

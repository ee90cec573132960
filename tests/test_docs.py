"""The README and docs/: code runs or parses, links lead somewhere.

Pages with recipes have tests of their own that train with them. Here every
block of code is loaded, run or, where running is dear, parsed against the
command, class or make target that it names.
"""

import ast
import json
import re
import shlex
from collections.abc import Sequence
from importlib import import_module

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from mmdet import registry
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import Registry
from PIL import Image
from pycocotools import mask

from mmdet_retina_plus.cli.main import main as retina_plus
from mmdet_retina_plus.cli.options import InputFile
from scripts import docs_hooks
from tests.helpers.documents import PAGES, ROOT, Block, blocks, prose

REGISTRIES = [x for x in vars(registry).values() if isinstance(x, Registry)]
PYTHON = blocks('python')
SHELL = blocks('bash', 'sh')
GENERATED = docs_hooks.pages()


def calls_with_type(block: Block) -> set[str]:
    """Names that `type=` gives in a block."""
    return {
        keyword.value.value
        for node in ast.walk(ast.parse(block.code))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == 'type' and isinstance(keyword.value, ast.Constant)
    }


@pytest.mark.parametrize('block', PYTHON, ids=str)
def test_python_names_what_there_is(block):
    """Registered classes, or those of the page, and our own functions."""
    here = {
        name
        for other in PYTHON
        if other.page == block.page
        for name in re.findall(r'^class (\w+)', other.code, re.M)
    }
    for name in calls_with_type(block) - here:
        assert any(known.get(name) for known in REGISTRIES), name
    for node in ast.walk(ast.parse(block.code)):
        module = getattr(node, 'module', None) or ''
        if module.startswith('mmdet_retina_plus'):
            for imported in node.names:
                assert hasattr(import_module(module), imported.name)


CONFIGS = [b for b in PYTHON if re.search('^_base_ =', b.code, re.M)]
"""Whole configs."""
FRAGMENTS = [
    b for b in PYTHON if not re.search('_base_|data_root|import ', b.code)
]
"""Settings for some config, which stand by themselves."""


@pytest.mark.parametrize('block', CONFIGS, ids=str)
def test_a_config_loads(block, tmp_path):
    file = tmp_path / 'my_config.py'
    file.write_text(block.code)
    config = Config.fromfile(file, import_custom_modules=False)
    assert len(config) > 1


@pytest.mark.parametrize('block', FRAGMENTS, ids=str)
def test_settings_run(block):
    names: dict = {}
    exec(block.code, names)
    assert len(names) > 1


def test_the_parts_of_the_readme_go_into_a_config_of_mmdet(tmp_path):
    (block,) = (
        b for b in FRAGMENTS if b.page == 'README.md' and 'model' in b.code
    )
    file = tmp_path / 'config.py'
    base = "_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n"
    file.write_text(base + block.code)
    model = Config.fromfile(file).model
    head = MODELS.build(dict(model.bbox_head, train_cfg=model.train_cfg))
    assert type(head.loss_cls).__name__ == 'FusedFocalLoss'
    assert type(head.assigner).__name__ == 'StreamingMaxIoUAssigner'


def test_masks_of_penn_fudan_become_coco_files(tmp_path, monkeypatch):
    """By the script of docs/start.md; every fifth image is for validation."""
    (block,) = (b for b in PYTHON if b.code.startswith('# pennfudan_to_coco'))
    folder = tmp_path / 'data' / 'pennfudan' / 'PedMasks'
    folder.mkdir(parents=True)
    persons = np.zeros((8, 12), np.uint8)
    persons[1:3, 4:9], persons[5:, :2] = 1, 2
    for number in range(1, 6):
        Image.fromarray(persons).save(folder / f'Ped{number}_mask.png')
    monkeypatch.chdir(tmp_path)
    exec(block.code, {})
    train, val = (
        json.loads((folder.parent / f'instances_{part}.json').read_text())
        for part in ('train', 'val')
    )
    assert [image['id'] for image in train['images']] == [1, 2, 3, 4]
    assert val['images'] == [
        dict(id=5, file_name='Ped5.png', width=12, height=8)
    ]
    assert len(train['annotations']) == 8
    one, two = val['annotations']
    assert (one['bbox'], two['bbox']) == ([4, 1, 5, 2], [0, 5, 2, 3])
    assert (one['area'], two['area']) == (10, 6)
    for number, thing in enumerate((one, two), 1):
        decoded = mask.decode(thing['segmentation'])
        assert (decoded == (persons == number)).all()


PUT_IN = re.compile(r'\$\(([^()]*)\)')
"""A command whose output is put into another."""


def commands(code: str) -> list[list[str]]:
    """Words of each command, without comments, loops and assignments.

    A variable is the first value of its loop, or 1: a number and a name.
    """
    for name, value in re.findall(r'for (\w+) in (\S+)', code):
        code = code.replace(f'${name}', value)
    lines = re.sub(r'\\\n', ' ', code)
    lines += '\n' + '\n'.join(PUT_IN.findall(lines))
    lines = re.sub(r'\$\w+', '1', PUT_IN.sub('OUTPUT', lines))
    split = (shlex.split(line, comments=True) for line in lines.split('\n'))
    return [words for line in split if (words := without_shell(line))]


def without_shell(words: list[str]) -> list[str]:
    """A command without what the shell itself reads."""
    if words[:1] in (['for'], ['done'], ['export'], ['.'], ['cat']):
        return []
    while words and (
        re.match(r'\w+=', words[0]) or words[0] in ('do', 'sudo')
    ):
        words = words[1:]
    return words


def check_options(command: click.Command, words: Sequence[str]) -> None:
    """Parse a call as the command does, but for files, which are not there."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f'no command {words[0]}'
        return check_options(found, words[1:])
    with pytest.MonkeyPatch.context() as patch:
        for kind in (click.Path, InputFile):
            patch.setattr(kind, 'convert', shipped)
        command.parse_args(context, list(words))


def shipped(kind: click.Path, name: str, *_) -> str:
    """A file's name; the file is there if it would be one of ours."""
    assert not name.startswith('configs/') or (ROOT / name).exists(), name
    return name


def check_benchmark(name: str, words: Sequence[str]) -> None:
    """Check that a script names each option, without importing it."""
    source = (ROOT / f'{name.replace(".", "/")}.py').read_text()
    for word in words:
        option = word.partition('=')[0]
        assert not option.startswith('-') or f"'{option}'" in source, option


def check_command(words: list[str]) -> None:
    """Check a call against what it calls, without running it."""
    match words:
        case ['retina-plus', *options]:
            check_options(retina_plus, options)
        case ['python', '-m', name, *options] if name != 'pytest':
            check_benchmark(name, options)
        case ['python', '-m', 'pytest', *options]:
            for name in options:
                assert '/' not in name or (ROOT / name).exists()
        case ['mim', 'train' | 'test', _, config, *_]:
            shipped(click.Path(), config)
        case ['make', *targets]:
            makefile = (ROOT / 'Makefile').read_text()
            for target in targets:
                name, is_variable, _ = target.partition('=')
                form = rf'^(export )?{name} ?[?:]?=' if is_variable else ''
                form = form or f'^{name}:'
                known = name == 'BUILD_MMCV' or re.search(form, makefile, re.M)
                assert known, f'make knows no {name}'
        case ['pip', 'install', *requirements]:
            extras = re.findall(r'\[(\w+)\]', ' '.join(requirements))
            setup = (ROOT / 'setup.py').read_text()
            assert all(f"'{extra}': " in setup for extra in extras)
        case _:
            assert words[0] in ('git', 'pre-commit', 'python'), words


@pytest.mark.parametrize('block', SHELL, ids=str)
def test_commands_have_the_options_that_the_docs_give(block):
    for words in commands(block.code):
        check_command(words)


CHEAP = {
    tuple(words[1:])
    for block in SHELL
    for words in commands(block.code)
    if words[:2] in (['retina-plus', 'config'], ['retina-plus', 'loss-curves'])
}


@pytest.mark.parametrize('words', sorted(CHEAP), ids=' '.join)
def test_a_cheap_command_runs(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(retina_plus, words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    'line',
    [
        'retina-plus no-command',
        'retina-plus predict a b c --no-option',
        'retina-plus predict a b',
        'retina-plus sweep run configs/sweeps/no_sweep.py --work-dir a',
        'retina-plus predict a b c --show-score-thr many --out d.json',
        'python -m benchmarks.focal_loss --no-option',
        'retina-plus predict a b c --out d.json --fuse no-way',
        'mim train mmdet configs/no_config.py',
        'make no-target',
        'pip install "mmdet_retina_plus[no_extra]"',
        'sl',
    ],
)
def test_a_wrong_command_is_found(line):
    with pytest.raises((AssertionError, click.UsageError, OSError)):
        for words in commands(line):
            check_command(words)


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub and MkDocs make them."""
    return {
        re.sub(r'[^\w\- ]', '', title.lower()).strip().replace(' ', '-')
        for title in re.findall(r'^#+ (.*)$', text, re.M)
    }


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        path, _, anchor = link.partition('#')
        if ':' in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if target.is_relative_to(ROOT / 'docs'):
            uri = target.relative_to(ROOT / 'docs').as_posix()
            if uri in GENERATED:
                continue
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(prose(target)), link


def navigation(entries: Sequence) -> list[str]:
    """Pages in the order of the site."""
    return [
        page
        for entry in entries
        for value in (entry.values() if isinstance(entry, dict) else [entry])
        for page in ([value] if isinstance(value, str) else navigation(value))
    ]


def test_every_page_has_a_place_on_the_site():
    settings = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())
    docs = ROOT / 'docs'
    written = {
        path.relative_to(docs).as_posix() for path in docs.rglob('*.md')
    }
    listed = navigation(settings['nav'])
    assert len(listed) == len(set(listed))
    assert set(listed) == written | GENERATED.keys()


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_a_page_begins_with_what_the_reader_gets(page):
    """A sentence, before any table, code or list."""
    title, first = page.read_text().split('\n\n')[:2]
    assert title.startswith('# ')
    assert re.match(r'\w|\*\*|\[|`\w', first), first


def test_the_table_of_rooms_is_complete():
    table = re.findall(
        r'^\| `(\w+)` \|', (ROOT / 'docs/design.md').read_text(), re.M
    )
    package = ROOT / docs_hooks.PACKAGE
    rooms = {path.parent.name for path in package.glob('*/__init__.py')}
    assert sorted(table) == sorted(rooms)


@pytest.mark.parametrize(
    ('uri', 'link', 'on_site'),
    [
        ('start.md', 'doctor.md', 'doctor.md'),
        ('start.md', '../README.md', 'index.md'),
        ('start.md', '../configs/README.md', 'reference/configs.md'),
        ('sweeps.md', '../configs/sweeps', 'reference/configs-sweeps.md'),
        (
            'strategies.md',
            '../configs/lab/data.py',
            'reference/configs-lab.md#data',
        ),
        (
            'reference/configs.md',
            '_base_/tracking.py',
            'configs-bases.md#tracking',
        ),
        (
            'extending.md',
            '../mmdet_retina_plus/mining/policy.py',
            'reference/mining.md',
        ),
        ('contributing.md', 'docs/design.md', 'design.md'),
        ('index.md', '#top', '#top'),
        ('index.md', 'https://arxiv.org', 'https://arxiv.org'),
    ],
)
def test_a_link_into_the_checkout_leads_to_its_page(uri, link, on_site):
    assert docs_hooks.site_links(f'[a]({link})', uri) == f'[a]({on_site})'


def test_every_config_and_class_is_on_a_page_of_the_reference():
    text = '\n'.join(GENERATED.values())
    for path in (ROOT / 'configs').rglob('*.py'):
        assert f'"{path.relative_to(ROOT).as_posix()}"' in text
    for known in REGISTRIES:
        for name, member in known.module_dict.items():
            if member.__module__.startswith(docs_hooks.PACKAGE):
                assert f'.{name}\n' in text, name


def test_the_header_of_a_config_is_text_with_code_and_links():
    header, code = docs_hooks.split_header(
        '# From _base_, see docs/start.md:\n#   mim train\n# Ends.\n\na = 1\n'
    )
    assert code.strip() == 'a = 1'
    assert docs_hooks.as_markdown(header) == (
        r'From \_base\_, see [docs/start.md](../start.md):'
        '\n\n    mim train\nEnds.'
    )

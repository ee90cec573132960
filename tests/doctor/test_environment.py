"""Simulated environments: each problem is found, with its fix."""

import subprocess
import sys
from dataclasses import replace

import pytest

from mmdet_retina_plus.doctor.environment import INSTALL, check_environment
from mmdet_retina_plus.doctor.facts import IMPORTS, Facts

UPSTREAM = Facts(
    providers={
        'numpy': ['numpy'],
        'torch': ['torch'],
        'cv2': ['opencv-python'],
        'mmengine': ['mmengine'],
        'mmcv': ['mmcv'],
        'mmdet': ['mmdet'],
        'mim': ['openmim'],
        'setuptools': ['setuptools'],
    },
    versions={
        'numpy': '2.4.6',
        'torch': '2.13.0+cpu',
        'opencv-python': '4.12.0',
        'mmengine': '0.10.7',
        'mmcv': '2.1.0',
        'mmdet': '3.3.0',
        'openmim': '0.3.9',
        'setuptools': '81.0.0',
    },
    failures=dict.fromkeys(IMPORTS.values(), ''),
    device='CPU, 2 threads',
    compiler='/usr/bin/c++',
    python='3.11.7',
)
ONEDL = replace(
    UPSTREAM,
    providers=UPSTREAM.providers
    | {
        'mmengine': ['onedl-mmengine'],
        'mmcv': ['onedl-mmcv'],
        'mmdet': ['onedl-mmdetection'],
        'mim': ['onedl-mim'],
    },
    versions={
        'torch': '2.8.0',
        'onedl-mmengine': '0.10.12',
        'onedl-mmcv': '2.3.6',
        'onedl-mmdetection': '3.5.1',
        'onedl-mim': '0.5.1',
        'setuptools': '84.2.1',
    },
    python='3.12.3',
)


def changed(facts=UPSTREAM, **changes):
    """Facts with some entries of their mappings replaced."""
    fields = {
        key: getattr(facts, key) | value if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return replace(facts, **fields)


def without(facts, name):
    return replace(
        facts,
        providers={k: v for k, v in facts.providers.items() if k != name},
        versions={k: v for k, v in facts.versions.items() if k != name},
    )


HYBRID = changed(
    providers={'mmengine': ['onedl-mmengine']},
    versions={'onedl-mmengine': '0.10.12'},
)


@pytest.mark.parametrize(
    'facts',
    [
        UPSTREAM,
        ONEDL,
        HYBRID,
        replace(UPSTREAM, compiler=None),
        replace(UPSTREAM, mmcv_cuda='not available'),
        replace(UPSTREAM, gpu=True, mmcv_cuda='12.6'),
    ],
    ids=['upstream', 'onedl', 'hybrid', 'no compiler', 'CPU', 'GPU'],
)
def test_a_healthy_environment_has_nothing_to_mend(facts):
    findings = check_environment(facts)
    assert {finding.level for finding in findings} == {'ok'}
    assert 'CPU, 2 threads' in [finding.message for finding in findings]


AILMENTS = {
    'both stacks': (
        changed(
            providers={'mmdet': ['mmdet', 'onedl-mmdetection']},
            versions={'onedl-mmdetection': '3.5.1'},
        ),
        ('error', 'mmdet', 'pip uninstall -y mmdet onedl-mmdetection'),
    ),
    'two mims': (
        changed(providers={'mim': ['onedl-mim', 'openmim']}),
        ('error', 'mim', 'pip uninstall -y onedl-mim openmim'),
    ),
    'no mmdet': (
        changed(
            without(UPSTREAM, 'mmdet'),
            failures={'mmdet.models': "No module named 'mmdet'"},
        ),
        ('error', 'mmdet', 'pip install mmdet==3.3.0'),
    ),
    'no torch': (
        changed(
            without(UPSTREAM, 'torch'),
            failures=dict.fromkeys(['torch', 'mmengine'], 'No module'),
        ),
        ('error', 'torch', 'pip install torch'),
    ),
    'mmcv-lite': (
        changed(
            providers={'mmcv': ['mmcv-lite']}, versions={'mmcv-lite': '2.1.0'}
        ),
        ('error', 'mmcv', 'pip uninstall -y mmcv-lite'),
    ),
    'mmcv too new': (
        changed(versions={'mmcv': '2.2.0'}),
        ('error', 'mmcv', 'retina-plus build-mmcv'),
    ),
    'mmcv too old': (
        changed(versions={'mmcv': '1.7.2'}),
        ('error', 'mmcv', 'retina-plus build-mmcv'),
    ),
    'onedl-mmcv under mmdet': (
        changed(
            providers={'mmcv': ['onedl-mmcv']}, versions={'onedl-mmcv': '2.3'}
        ),
        ('error', 'mmcv', 'pip uninstall -y onedl-mmcv'),
    ),
    'old mmdet': (
        changed(versions={'mmdet': '2.28.2'}),
        ('error', 'mmdet', 'pip install mmdet==3.3.0'),
    ),
    'operators do not load': (
        changed(failures={'mmcv.ops': 'ImportError: undefined symbol'}),
        ('error', 'mmcv', 'retina-plus build-mmcv'),
    ),
    'libGL is missing': (
        changed(failures={'cv2': 'ImportError: libGL.so.1: cannot open'}),
        ('error', 'cv2', 'pip install opencv-python-headless'),
    ),
    'numpy is broken': (
        changed(failures={'numpy': 'ImportError'}),
        ('error', 'numpy', 'pip install numpy'),
    ),
    'setuptools too new': (
        changed(versions={'setuptools': '82.0.0'}),
        ('error', 'setuptools', "'setuptools>=77.0.3,<82'"),
    ),
    'no setuptools': (
        without(UPSTREAM, 'setuptools'),
        ('error', 'setuptools', "'setuptools>=77.0.3,<82'"),
    ),
    'no distutils': (
        without(ONEDL, 'setuptools'),
        ('error', 'setuptools', 'setuptools'),
    ),
    'old python': (
        replace(UPSTREAM, python='3.9.18'),
        ('error', 'python', 'Python 3.11'),
    ),
    'no mim': (
        without(UPSTREAM, 'mim'),
        ('warning', 'mim', 'pip install --no-deps openmim'),
    ),
    'openmim on the fork': (
        changed(
            ONEDL,
            providers={'mim': ['openmim']},
            versions={'openmim': '0.3.9', 'setuptools': '81.0.0'},
        ),
        ('warning', 'mim', 'mim train onedl-mmdetection'),
    ),
    'onedl-mim on upstream': (
        changed(providers={'mim': ['onedl-mim']}),
        ('warning', 'mim', 'pip uninstall -y onedl-mim'),
    ),
    'mim is broken': (
        changed(failures={'mim.cli': 'ModuleNotFoundError'}),
        ('warning', 'mim', 'openmim'),
    ),
    'mim lacks a module': (
        changed(failures={'mim.cli': "No module named 'modelindex'"}),
        ('warning', 'mim', 'model-index'),
    ),
    'a GPU that mmcv is not built for': (
        replace(UPSTREAM, gpu=True, device='H200', mmcv_cuda='not available'),
        ('error', 'operators', 'export CUDA_VISIBLE_DEVICES=-1'),
    ),
}


@pytest.mark.parametrize('ailment', AILMENTS)
def test_an_ailment_is_found_with_its_fix(ailment):
    facts, (level, subject, fix) = AILMENTS[ailment]
    findings = [x for x in check_environment(facts) if x.level != 'ok']
    assert [(x.level, x.subject) for x in findings] == [(level, subject)]
    assert fix in findings[0].fix


def test_mmcv_is_built_with_what_its_build_imports():
    assert INSTALL['mmcv'] == (
        "pip install 'setuptools>=77.0.3,<82' ninja && retina-plus build-mmcv"
    )


@pytest.mark.parametrize(
    ('changes', 'kind'),
    [
        ({'mmcv_cuda': 'not available'}, 'compiled for the CPU'),
        ({'mmcv_cuda': '13.0'}, 'compiled for CUDA 13.0'),
        ({'operators': 'torchvision'}, 'Python on torchvision'),
        ({'operators': 'torch'}, 'Python on torch,'),
    ],
)
def test_the_kind_of_the_operators_is_named(changes, kind):
    findings = check_environment(replace(UPSTREAM, **changes))
    (message,) = (x.message for x in findings if x.subject == 'operators')
    assert kind in message


@pytest.mark.parametrize(
    'version', ['2.13.0+cpu', '2.11.0+cu130', '2.15.0', '2.9.1']
)
def test_the_versions_of_torch_that_were_tried_are_named(version):
    findings = check_environment(changed(versions={'torch': version}))
    (message,) = (x.message for x in findings if x.subject == 'tested')
    assert 'torch 2.13.0 and 2.14.1, on a GPU on 2.11.0' in message
    assert 'also built for 2.15.0' in message
    assert message.endswith('2.9.1 was not tried') == (version == '2.9.1')


def test_mim_comes_with_what_its_modules_import():
    modules = 'click colorama model-index pandas requests rich tabulate'
    assert INSTALL['mim'].endswith(f'pip install {modules}')


def test_a_version_that_is_none_is_an_error_and_no_traceback():
    findings = check_environment(changed(versions={'mmcv': 'unknown'}))
    errors = [x for x in findings if x.level == 'error']
    assert [x.subject for x in errors] == ['versions']
    assert 'unknown' in errors[0].message


def test_the_first_broken_import_is_the_one_to_mend():
    broken = dict.fromkeys(list(IMPORTS.values())[3:], 'ImportError')
    findings = check_environment(changed(failures=broken))
    errors = [x.subject for x in findings if x.level == 'error']
    assert errors == ['mmengine']


@pytest.fixture
def doctor(tmp_path):
    """Run the command among modules that shadow the installed ones."""

    def run(**shadows):
        for name, source in shadows.items():
            (tmp_path / f'{name}.py').write_text(source)
        command = (
            f'import sys; sys.path.insert(0, {str(tmp_path)!r}); '
            'from retina_plus_command import main; main(["doctor"])'
        )
        return subprocess.run(
            [sys.executable, '-c', command],
            env={'PYTHONPATH': f'{tmp_path}', 'COLUMNS': '200'},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def test_the_command_succeeds_here(doctor):
    result = doctor()
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'error' not in result.stdout


def test_the_command_speaks_where_torch_cannot_be_imported(doctor):
    result = doctor(torch="raise ImportError('libcudart.so is missing')")
    assert result.returncode == 1
    assert 'libcudart.so is missing' in result.stdout
    assert 'pip install torch' in result.stdout


def test_the_command_outlives_a_module_that_crashes(doctor):
    result = doctor(cv2='import os; os.abort()')
    assert result.returncode == 1
    assert 'crashes the interpreter' in result.stdout
    assert 'opencv-python-headless' in result.stdout

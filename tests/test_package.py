"""What users get: configs by name, a complete wheel, a clear error."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mmdet import registry

import mmdet_retina_plus

ROOT = Path(__file__).parent.parent


def test_a_config_is_found_by_name_with_or_without_suffix():
    path = mmdet_retina_plus.config('retinanet_r50_fpn_fl')
    assert Path(path).name == 'retinanet_r50_fpn_fl.py'
    assert path == mmdet_retina_plus.config('retinanet_r50_fpn_fl.py')


REGISTERED = {
    'HOOKS': {'ExactResumeHook', 'LossStatisticsHook'},
    'METRICS': {'FasterCocoMetric'},
    'MODELS': {
        'ASFF',
        'ASFFFPN',
        'BatchDiceCELoss',
        'BatchMixUp',
        'CenterNetPlusHead',
        'FocalLossStar',
        'FusedFocalLoss',
        'GARetinaPlusHead',
        'GuidedYOLOV3Head',
        'MaskRoIHead',
        'MaskTTAModel',
        'NormFPN',
        'RetinaPlus',
        'RetinaPlusHead',
        'SAPDHead',
        'SSDPlusHead',
        'SelfAdjustingSmoothL1Loss',
        'StemResNet',
        'UNetFPN',
        'UNetSemanticHead',
        'WBCTTAModel',
        'YOLOV3PlusHead',
    },
    'TASK_UTILS': {
        'BestPriorAssigner',
        'DenseOHEM',
        'LibraNegSampler',
        'NegativeRatioMining',
        'PointRangeAssigner',
        'PredictedIoUIgnore',
        'StochasticHardMining',
        'StreamingATSSAssigner',
        'StreamingMaxIoUAssigner',
    },
    'TRANSFORMS': {'LoadNeighbourSlices', 'PaintInstances', 'WindowIntensity'},
    'VISUALIZERS': {'SemSegLocalVisualizer'},
}
"""Names that configs of users have, by mmdet's registry."""


@pytest.mark.parametrize('name', REGISTERED)
def test_configs_find_our_classes_by_name(name):
    found = getattr(registry, name).module_dict
    ours = {
        name: member
        for name, member in found.items()
        if member.__module__.startswith('mmdet_retina_plus')
    }
    assert ours.keys() == REGISTERED[name]
    assert {member.__name__ for member in ours.values()} == ours.keys()


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(ValueError, match='retinanet_r50_fpn_fl'):
        mmdet_retina_plus.config('retinanet_r50_fl')


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments, '-c', code],
        capture_output=True,
        text=True,
    )


def test_without_mmdet_the_import_error_names_the_doctor():
    result = python(
        'import sys; sys.modules["mmdet"] = None; import mmdet_retina_plus'
    )
    assert 'ImportError: mmdet_retina_plus needs' in result.stderr
    assert 'retina-plus doctor' in result.stderr


def test_what_the_command_starts_registers():
    """Its own switch does not reach the trainings of a sweep.

    Registering needs torch, which is missing here to make it fail early.
    """
    result = python(
        'import retina_plus_command, subprocess, sys\n'
        'code = "import sys; sys.modules[\'torch\'] = None; "\n'
        'code += "import mmdet_retina_plus"\n'
        'sys.exit(subprocess.run([sys.executable, "-c", code]).returncode)'
    )
    assert result.returncode == 1
    assert 'ImportError: mmdet_retina_plus needs' in result.stderr


def test_the_wheel_carries_modules_and_configs_and_registers(tmp_path):
    # A copy, since setuptools packs what an earlier build has left behind.
    source = tmp_path / 'source'
    for name in ('mmdet_retina_plus', 'configs'):
        shutil.copytree(
            ROOT / name,
            source / name,
            ignore=shutil.ignore_patterns('__pycache__'),
        )
    for name in (
        *('setup.py', 'pyproject.toml', 'README.md'),
        'retina_plus_command.py',
    ):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(sys.executable, '-m', 'pip', 'wheel', str(source)),
            *('--no-deps', '--no-build-isolation', '-w', str(tmp_path)),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob('*.whl')
    installed = tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    shipped = {
        path.relative_to(installed / 'mmdet_retina_plus')
        for path in (installed / 'mmdet_retina_plus').rglob('*.py')
    }
    expected = {
        path.relative_to(ROOT) for path in (ROOT / 'configs').rglob('*.py')
    } | {
        path.relative_to(ROOT / 'mmdet_retina_plus')
        for path in (ROOT / 'mmdet_retina_plus').rglob('*.py')
    }
    assert shipped == expected
    assert (installed / 'mmdet_retina_plus/sweeps/page.html').is_file()
    # -I leaves the checkout off the path, so this is the wheel's own copy.
    result = python(
        f'import sys; sys.path.insert(0, {str(installed)!r})\n'
        'import mmdet_retina_plus as m\n'
        'from mmdet.registry import MODELS; assert MODELS.get("RetinaPlus")\n'
        'from mmengine.config import Config\n'
        'path = m.config("retinanet_r18_fpn_shapes"); print(path)\n'
        'assert Config.fromfile(path).model.type == "RetinaPlus"',
        '-I',
    )
    assert result.returncode == 0, result.stderr
    # onedl-mmdetection prints lines of its own when imported.
    assert result.stdout.splitlines()[-1].startswith(str(installed))

"""Presets of the fusion, as `predict` offers them."""

import pytest

from mmdet_retina_plus.fusion import WBC_PRESETS
from mmdet_retina_plus.inference.fusion_options import PRESET_WEIGHTS
from tests.helpers.commands import predict, read
from tests.helpers.image_files import write_image


def test_the_presets_are_those_of_the_fusion():
    """Which commands name without importing torch."""
    assert set(PRESET_WEIGHTS) == set(WBC_PRESETS)


@pytest.mark.parametrize('preset', PRESET_WEIGHTS)
def test_every_preset_fuses(tmp_path, seeing, preset):
    image = write_image(tmp_path / 'a.png', (40, 30, 60, 50), size=(90, 96))
    out = tmp_path / 'out.json'
    predict(
        *(image, *seeing, '--out', out, '--tile', 64, '--overlap', 0.5),
        *('--preset', preset),
    )
    assert read(out)[0]['bbox'] == [40, 30, 20, 20]

from math import nan
from pathlib import Path

import pytest

from benchmarks.training import Run, draw_shares, row, sibling, subset, summary


def test_a_metric_that_a_side_does_not_have_is_left_blank():
    """A RetinaNet beside a RetinaMask has no mask AP."""
    assert summary((nan, nan, nan)) == ''
    assert summary((0.25, 0.75)) == '0.500 (0.354)'


def test_a_row_has_the_runs_of_its_variant_alone():
    runs = [
        Run('RetinaNet', 1, 0, [0.25, nan]),
        Run('RetinaNet', 0.2, 0, [0.9, nan]),
        Run('RetinaNet', 1, 1, [0.75, nan]),
    ]
    assert row('RetinaNet', runs) == ['RetinaNet', '0.500 (0.354)', '']


def test_a_share_of_the_images_is_spread_over_the_file():
    key = 'train_dataloader.dataset.indices'
    assert subset(0.2, 11) == {key: '[0,5]'}
    assert subset(0.5, 6) == {key: '[0,2,4]'}
    assert subset(1, 11) == {}


def test_every_variant_has_a_folder_of_its_own():
    runs = [
        Run(side, share, seed)
        for side in ('RetinaNet', 'Retina U-Net')
        for share in (1, 0.2)
        for seed in (0, 1)
    ]
    assert len({run.folder for run in runs}) == 8
    assert Path('Retina-U-Net-20-of-images/1') == runs[-1].folder


def test_a_family_has_the_rest_of_the_name_in_common():
    config = 'configs/retinaunet_r18_fpn_donuts.py'
    assert sibling(config, '') == config
    expected = 'configs/retinanet_r18_fpn_donuts.py'
    assert sibling(config, 'retinanet') == expected


@pytest.mark.parametrize('shares', [(1.0, 0.2), (1.0, 0.2, 0.05)])
def test_shares_are_drawn(tmp_path, shares):
    runs = [
        Run(side, share, seed, [0.4])
        for side in ('RetinaNet', 'Retina U-Net')
        for share in shares
        for seed in (0, 1)
    ]
    draw_shares(runs, 1000, tmp_path / 'shares.png')
    assert (tmp_path / 'shares.png').stat().st_size > 5000

"""Views of an image at test time, as `--tta` loads them."""

import numpy as np
import pytest
from mmdet.models import DetTTAModel
from mmengine.registry import DefaultScope

from mmdet_retina_plus.doctor.views import check_views_load

PACK = {'type': 'PackDetInputs'}
BARE = {'type': 'PackDetInputs', 'meta_keys': ('img_shape',)}
FLIP = {'type': 'RandomFlip', 'prob': 1.0}


class Image:
    """A data set of one loaded image."""

    pipeline = None

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.pipeline({'img': np.zeros((8, 8, 3)), 'img_shape': (8, 8)})


@pytest.mark.parametrize(
    ('steps', 'words'),
    [
        ([[FLIP], [PACK]], ''),
        ([[PACK]], 'no flip and no flip_direction'),
        ([[FLIP], [BARE]], 'no flip and no flip_direction'),
        ([[{'type': 'LoadImageFromFile'}], [PACK]], 'a sample fails'),
        (None, 'one view of an image'),
    ],
)
def test_views_are_loaded(steps, words):
    views = {'type': 'TestTimeAug', 'transforms': steps}
    cfg = {
        'tta_model': {'type': DetTTAModel.__name__},
        'tta_pipeline': [views] if steps else [PACK],
    }
    with DefaultScope.overwrite_default_scope('mmdet'):
        found = check_views_load(cfg, Image(), lambda path: True)
    assert [x.level for x in found] == ['warning'] * bool(words)
    assert words in ''.join(x.message for x in found)
    cfg['tta_model'] = None
    assert check_views_load(cfg, Image(), lambda path: True) == []

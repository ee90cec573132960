from tests.helpers.loss_cdf_scene import folder
from tests.helpers.seeing_detector import seeing

__all__ = ['folder', 'seeing']

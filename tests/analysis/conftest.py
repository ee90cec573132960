from tests.helpers.loss_cdf_scene import folder

__all__ = ['folder']

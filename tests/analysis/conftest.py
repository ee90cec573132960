from tests.analysis.cdf_scene import folder

__all__ = ['folder']

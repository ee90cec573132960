from tests.helpers.seeing_detector import seeing

__all__ = ['seeing']

"""What a command may replace by its results."""

import json

import pytest

from mmdet_retina_plus.common.result_records import check_replaceable
from tests.helpers.detections import detection

COCO = dict(images=[], annotations=[], categories=[])


@pytest.mark.parametrize(
    'text', ['', '[]', '[\n]', json.dumps([detection()]), '[{"score": 1},\n{']
)
def test_results_are_replaced(tmp_path, text):
    (tmp_path / 'out.json').write_text(text)
    check_replaceable(tmp_path / 'out.json')
    check_replaceable(tmp_path / 'absent.json')


@pytest.mark.parametrize('text', [json.dumps(COCO), '[{"id": 1}]', 'notes'])
def test_another_file_is_kept(tmp_path, text):
    (tmp_path / 'out.json').write_text(text)
    with pytest.raises(ValueError, match=r'not a result file .* another --o'):
        check_replaceable(tmp_path / 'out.json')

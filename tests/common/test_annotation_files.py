"""Files that are no JSON, and why."""

import pytest

from mmdet_retina_plus.common.annotation_files import (
    UnreadableError,
    read_json,
)


@pytest.mark.parametrize(
    ('text', 'fix'),
    [
        (str({'images': []}), 'json.dump(annotations, file)'),
        ('{"images": []}\n{"images": []}', 'join their lists'),
        ('{"images": [', 'copy it again'),
    ],
)
def test_what_is_no_json_has_its_cause(tmp_path, text, fix):
    path = tmp_path / 'train.json'
    path.write_text(text)
    with pytest.raises(UnreadableError) as caught:
        read_json(str(path))
    assert fix in caught.value.fix_in_config

"""Pictures of detections."""

import cv2

from tests.helpers.commands import predict
from tests.helpers.image_files import write_image


def test_pictures_show_the_boxes(tmp_path, seeing):
    images, pictures = tmp_path / 'images', tmp_path / 'pictures'
    (images / 'inner').mkdir(parents=True)
    write_image(images / 'inner' / 'a.png', (20, 20, 60, 60))
    write_image(images / 'b.png')
    predict(
        *(images, *seeing, '--out', tmp_path / 'out.json'),
        *('--show-dir', pictures),
    )
    for name, drawn in (('inner/a.png', True), ('b.png', False)):
        before = cv2.imread(str(images / name)).astype(int)
        after = cv2.imread(str(pictures / name)).astype(int)
        assert before.shape == after.shape
        assert (abs(before - after).max() > 50) == drawn

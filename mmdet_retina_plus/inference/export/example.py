"""Detect by an exported file; needs numpy, pillow and onnxruntime only.

python THIS_FILE model.onnx photo.jpg picture.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw


def stretch(image, size, x, y):
    """Bilinear without antialiasing; x, y: factor and shift to the source."""
    how = Image.Transform.AFFINE, (x[0], 0, x[1], 0, y[0], y[1])
    return image.transform(size, *how, Image.Resampling.BILINEAR)


def detect(session, photo):
    """Boxes, scores, labels; masks of the first boxes, if it has masks."""
    about = session.get_modelmeta().custom_metadata_map
    rule, (w, h) = json.loads(about['resize']), photo.size
    if 'size' in rule:
        wide, tall = rule['size']
    else:
        a, b = rule.get('fit') or (w * rule['factor'], h * rule['factor'])
        f = min(a / w, b / h)
        if 'pad' not in rule:  # Either side may be the longer one.
            f = max(f, min(b / w, a / h))
        wide, tall = int(w * f + 0.5), int(h * f + 0.5)
    pixels = stretch(photo, (wide, tall), (w / wide, 0), (h / tall, 0))
    if 'pad' in rule:
        canvas = Image.new('RGB', rule['fit'], tuple(rule['pad']))
        canvas.paste(pixels)
        pixels = canvas
    found = session.run(None, {'images': np.asarray(pixels)[None]})
    boxes, scores, *others = (output[0] for output in found)
    boxes = boxes * np.tile([w / wide, h / tall], 2)
    if not others:  # A raw file: all anchors and classes, NMS is yours.
        return boxes, scores.max(1), scores.argmax(1), []
    n = (scores > 0).sum()  # What follows only fills up.
    boxes, scores, labels, *masks = (x[:n] for x in (boxes, scores, *others))
    pasted = []
    for mask, (x1, y1, x2, y2) in (
        zip(*masks, boxes, strict=False) if masks else ()
    ):
        mask = Image.fromarray(np.pad(mask, 1))
        x, y = (mask.width - 2) / (x2 - x1), (mask.height - 2) / (y2 - y1)
        mask = stretch(mask, (w, h), (x, 1 - x1 * x), (y, 1 - y1 * y))
        pasted.append(np.asarray(mask) >= float(about['mask_thr']))
    return boxes, scores, labels, pasted


def main(model, photo, picture):
    session = onnxruntime.InferenceSession(model)
    about = session.get_modelmeta().custom_metadata_map
    image = Image.open(photo).convert('RGB')
    boxes, scores, labels, masks = detect(session, image)
    for mask, score in zip(masks, scores, strict=False):
        if score > 0.3:
            shade = Image.fromarray(np.uint8(mask) * 100)
            image.paste((0, 200, 0), mask=shade)
    draw = ImageDraw.Draw(image)
    for i in scores.argsort()[::-1][:100]:
        if scores[i] > 0.3:
            name = json.loads(about['classes'])[labels[i]]
            print(f'{name} {scores[i]:.3f}', boxes[i].round(1).tolist())
            draw.rectangle(boxes[i].tolist(), outline='red')
    image.save(picture)


if __name__ == '__main__':
    main(*sys.argv[1:])

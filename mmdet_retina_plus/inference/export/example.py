"""Detect by an exported file; needs numpy, pillow and onnxruntime only.

python THIS_FILE model.onnx photo.jpg picture.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

SCORE_THR = 0.3  # What is printed and drawn scores more.
COLOURS = 'orange', 'deepskyblue', 'lime', 'violet', 'yellow', 'tomato'


def stretch(image, size, x, y, fill=()):
    """Bilinear without antialiasing; x, y: factor and shift to the source."""
    how = Image.Transform.AFFINE, (x[0], 0, x[1], 0, y[0], y[1])
    return image.transform(
        size, *how, Image.Resampling.BILINEAR, 1, fill or None
    )


def read(file):
    """RGB, upright: cameras note in EXIF how they were held."""
    return ImageOps.exif_transpose(Image.open(file)).convert('RGB')


def detect(session, photo, score_thr=0):
    """Boxes, scores, labels; masks of the first boxes, if it has masks."""
    about = session.get_modelmeta().custom_metadata_map
    rule, (w, h) = json.loads(about['resize']), photo.size
    a, b = rule.get('fit') or rule.get('size') or (w, h)
    f = rule.get('factor') or min(a / w, b / h)
    if 'fit' in rule and 'pad' not in rule:  # Either side may be the longer.
        f = max(f, min(b / w, a / h))
    wide, tall = rule.get('size') or (int(w * f + 0.5), int(h * f + 0.5))
    size = (a, b) if 'pad' in rule else (wide, tall)
    fill = tuple(rule.get('pad', ()))
    pixels = stretch(photo, size, (w / wide, 0), (h / tall, 0), fill)
    inputs = {'images': np.asarray(pixels)[None]}
    if 'pad' in rule:  # Boxes end where the photo does.
        inputs['sizes'] = np.array([[wide, tall]], np.int64)
    found = session.run(None, inputs)
    boxes, scores, *others = (output[0] for output in found)
    boxes = boxes * np.tile([w / wide, h / tall], 2)
    if not others:  # A raw file: all anchors and classes, NMS is yours.
        return boxes, scores.max(1), scores.argmax(1), []
    n = (scores > score_thr).sum()  # They fall; padding has score 0.
    boxes, scores, labels, *masks = (x[:n] for x in (boxes, scores, *others))
    pasted = []
    for mask, (x1, y1, x2, y2) in zip(*masks or [()], boxes, strict=False):
        x, y = mask.shape[1] / (x2 - x1), mask.shape[0] / (y2 - y1)
        mask = Image.fromarray(np.pad(mask, 1))
        mask = stretch(mask, (w, h), (x, 1 - x1 * x), (y, 1 - y1 * y))
        pasted.append(np.asarray(mask) >= float(about['mask_thr']))
    return boxes, scores, labels, pasted


def main(model, photo, picture):
    session = onnxruntime.InferenceSession(model)
    names = json.loads(session.get_modelmeta().custom_metadata_map['classes'])
    image = read(photo)
    boxes, scores, labels, masks = detect(session, image, SCORE_THR)
    draw = ImageDraw.Draw(image)
    shown = np.flatnonzero(scores > SCORE_THR)[:100]
    for i in shown:
        box = boxes[i].round(1).tolist()
        text = f'{names[labels[i]]} {scores[i]:.3f}'
        colour = COLOURS[i % len(COLOURS)]
        print(text, box)
        for mask in masks[i : i + 1]:
            draw.bitmap((0, 0), Image.fromarray(np.uint8(mask) * 100), colour)
        draw.rectangle(box, outline=colour, width=2)
        place = box[0], max(box[1] - 12, 0)
        draw.rectangle(draw.textbbox(place, text), fill=colour)
        draw.text(place, text, fill='black')
    if not len(shown):
        _, scores, labels, _ = detect(session, image)
        best = 'there is none at all'
        if len(scores):
            i = scores.argmax()
            best = f'the best is {names[labels[i]]} {scores[i]:.3f}'
        print(f'No detection above {SCORE_THR}: {best}')
    image.save(picture)


if __name__ == '__main__':
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)

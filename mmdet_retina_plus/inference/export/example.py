"""Detect by an exported file; needs numpy, pillow and onnxruntime only.

python THIS_FILE model.onnx photo.jpg picture.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps

SCORE_THR = 0.3  # Minimum score to print and draw.
COLOURS = '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'


def read(file):
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode.startswith('I'):  # Pillow clips 16 bits, OpenCV takes 8.
        image = Image.fromarray(np.uint8(np.asarray(image) >> 8))
    return image.convert('RGB')


def stretch(image, size, x, y, fill=None):
    """Bilinear without antialiasing; x, y: factor and shift to the source."""
    how = Image.Transform.AFFINE, (x[0], 0, x[1], 0, y[0], y[1])
    return image.transform(size, *how, Image.Resampling.BILINEAR, 1, fill)


def detect(session, photo):
    """Boxes, scores, labels, and 28 x 28 masks of the first boxes, if any."""
    about = session.get_modelmeta().custom_metadata_map
    rule, (w, h) = json.loads(about['resize']), photo.size
    a, b = rule.get('fit') or rule.get('size') or (w, h)
    f, pad = rule.get('factor') or min(a / w, b / h), rule.get('pad')
    if 'fit' in rule and not pad:  # Either side may be the longer.
        f = max(f, min(b / w, a / h))
    wide, tall = rule.get('size') or (int(w * f + 0.5), int(h * f + 0.5))
    size, fill = ((a, b), tuple(pad)) if pad else ((wide, tall), None)
    pixels = stretch(photo, size, (w / wide, 0), (h / tall, 0), fill)
    sizes = {'sizes': np.array([[wide, tall]])} if pad else {}
    found = session.run(None, {'images': np.asarray(pixels)[None], **sizes})
    boxes, scores, *others = (output[0] for output in found)
    boxes = boxes * np.tile([w / wide, h / tall], 2)
    if not others:  # A raw file has all anchors and classes; apply your NMS.
        return boxes, scores.max(1), scores.argmax(1), []
    n = (scores > 0).sum()  # Rows of score 0 are padding.
    return [x[:n] for x in (boxes, scores, *others, [])][:4]


def paste(mask, box, size):
    """Paste the mask of a box into a photo of this size."""
    x, y = mask.shape[::-1] / (box[2:] - box[:2])
    shifts = (x, 1 - box[0] * x), (y, 1 - box[1] * y)
    return stretch(Image.fromarray(np.pad(mask, 1)), size, *shifts)


def main(model, photo, picture):
    image, content = read(photo), Path(model).read_bytes()
    session = onnxruntime.InferenceSession(content)
    about = session.get_modelmeta().custom_metadata_map
    boxes, scores, labels, masks = detect(session, image)
    names, draw = json.loads(about['classes']), ImageDraw.Draw(image)
    shown, best = np.flatnonzero(scores > SCORE_THR), scores.max(initial=0)
    found = f'{len(shown)} detection{"s" * (len(shown) != 1)}'
    print(f'{found} above {SCORE_THR}, the best {best:.2f}')
    for i in shown[:100]:
        text, colour = f'{names[labels[i]]} {scores[i]:.2f}', COLOURS[i % 6]
        box = boxes[i].round(1).tolist()
        print(text, box)
        for mask in masks[i : i + 1]:
            mask = np.asarray(paste(mask, boxes[i], image.size))
            inside = np.uint8(mask >= float(about['mask_thr'])) * 100
            draw.bitmap((0, 0), Image.fromarray(inside), colour)
        draw.rectangle(box, outline=colour, width=2)
        draw.text(box[:2], text, 'white', stroke_width=2, stroke_fill=colour)
    image.save(picture)


if __name__ == '__main__':
    try:
        main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
    except (OSError, ValueError) as error:  # A missing file, no image.
        sys.exit(f'{error}')

"""Sub-commands of `retina-plus`, one module each: options, a call, printing.

They share `options`, `errors` and `progress`.

They must run, or say what is missing, in an environment without mmdet: a
module here imports torch, mmcv, mmengine and mmdet inside functions only.
"""

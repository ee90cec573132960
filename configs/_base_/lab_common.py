# Settings of all detectors of the strategy lab, for any data. lab_shapes.py
# and lab_coco.py add the rest to the same variables.
lab_preprocessor = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=32,
)
lab_backbone = dict(
    type='ResNet',
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    norm_cfg=dict(type='BN', requires_grad=True),
    style='pytorch',
)
lab_neck = dict(
    type='FPN', start_level=1, add_extra_convs='on_input', num_outs=5
)

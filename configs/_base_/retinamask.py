# RetinaMask's changes to RetinaNet (https://arxiv.org/abs/1901.03353): use
# them by `model = _base_.retinamask`. Values are those of the authors' code;
# docs/retinamask.md lists the differences.
retinamask = dict(
    # P6 from P5, not from C5, and a ReLU before P7.
    neck=dict(add_extra_convs='on_output', relu_before_extra_convs=True),
    bbox_head=dict(
        # The cap of .11 belongs to these stds. The weight of 1/4 replaces the
        # authors' divisor, four times the number of positives.
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_bbox=dict(
            type='SelfAdjustingSmoothL1Loss', beta=0.11, loss_weight=0.25
        ),
    ),
    roi_head=dict(
        type='MaskRoIHead',
        mask_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(
                type='RoIAlign',
                output_size=14,
                sampling_ratio=2,
                aligned=False,
            ),
            out_channels=256,
            featmap_strides=[8, 16, 32],
            finest_scale=112,  # k0 = 4: from 224 px on P4, from 448 px on P5
        ),
        mask_head=dict(
            type='FCNMaskHead',
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=80,
        ),
        test_cfg=dict(max_masks=50),
    ),
    train_cfg=dict(assigner=dict(best_match='own_argmax')),
    test_cfg=dict(nms=dict(iou_threshold=0.4)),
)

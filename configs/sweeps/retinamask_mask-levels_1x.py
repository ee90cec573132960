# Levels that masks are pooled from, 1x: RetinaMask's P3 to P5 with k0 = 4; P3
# to P6 with k0 = 5, which is one level coarser for a box of the same size; P2
# to P5 with k0 = 4, beside boxes on P3 to P7.
#
# The authors have files of all three, with a fixed beta of .11. Neither their
# repository nor their threads name a result for them.
config = '../retinamask_r50_fpn_1x.py'
prefix = 'model.'
points = [
    {'roi_head.mask_roi_extractor.finest_scale': 112},
    {
        'roi_head.mask_roi_extractor.finest_scale': 56,
        'roi_head.mask_roi_extractor.featmap_strides': [8, 16, 32, 64],
    },
    {
        # Still k0 = 4: the finest level is P2 now, up to 112 px.
        'roi_head.mask_roi_extractor.finest_scale': 56,
        'roi_head.mask_roi_extractor.featmap_strides': [4, 8, 16, 32],
        'neck.start_level': 0,
        'neck.num_outs': 6,
        'bbox_start_level': 1,
    },
]

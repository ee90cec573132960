# Levels that masks are pooled from, 1.5x: k0 = 4 and k0 = 5, both on P3 to P5.
#
# The authors have files of both, with a fixed beta of .11. Neither their
# repository nor their threads name a result for them.
config = '../retinamask_r50_fpn_1.5x.py'
prefix = 'model.roi_head.mask_roi_extractor.'
points = [dict(finest_scale=112), dict(finest_scale=56)]

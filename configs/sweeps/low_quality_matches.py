# RetinaMask's best-match policy: which objects without an anchor at IoU .5 get
# their best one. 0 is RetinaMask (any overlap), .4 Detectron's rule, the last
# point none. `min_pos_iou` is the smallest best overlap that counts.
#
# The author published these for a RetinaNet R-50 1x without masks (pull 102 of
# github.com/facebookresearch/maskrcnn-benchmark), box AP/AP50/AP75:
#
#   0  36.2/55.0/38.7
#   .2 36.1/54.5/38.7
#   .3 36.1/54.5/38.9
#   .4 36.0/54.1/38.6
#   .5 35.5/53.7/38.1, which equals no best matches
#
# That setting is model.roi_head=None, 'bbox' as metric of both evaluators, and
# smooth L1. The authors' files have .2, .3, .4 and none.
config = '../retinamask_r50_fpn_1x.py'
prefix = 'model.train_cfg.assigner.'
points = [
    dict(min_pos_iou=0),
    dict(min_pos_iou=0.2),
    dict(min_pos_iou=0.3),
    dict(min_pos_iou=0.4),
    dict(match_low_quality=False),
]

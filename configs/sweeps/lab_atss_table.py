# ATSS's experiment (https://arxiv.org/abs/1912.02424): with one square anchor
# per location, does the choice of positives or the regression from box or
# point make the difference? The paper's AP on COCO, RetinaNet R-50 with FCOS's
# other improvements:
#
#   positives by      boxes from the anchor  from the point
#   IoU thresholds    37.0                   36.9
#   FCOS's rule       37.8, as FCOS
#
# ATSS is the third choice here.
points = [
    dict(config=f'../lab/assigner_{name}_a1{regression}.py')
    for name in ['max-iou', 'point-range', 'atss']
    for regression in ['', '-point']
]
seeds = [0, 1, 2]

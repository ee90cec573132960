# RetinaMask's box loss: self-adjusting with a cap of .11 and of 1, smooth L1
# with beta fixed at the same values.
#
# The authors have files of all four points for a RetinaNet R-50 1x without
# masks; of fixed .11 for RetinaMask R-50 1x as well. Neither their repository
# nor their threads name a result for these, and we have not read the paper's
# table.
config = '../retinamask_r50_fpn_1x.py'
prefix = 'model.bbox_head.loss_bbox.'
points = [
    dict(beta=0.11),
    dict(beta=1.0),
    dict(type='SmoothL1Loss', beta=0.11),
    dict(type='SmoothL1Loss', beta=1.0),
]

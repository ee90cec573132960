# Focal loss beside online hard example mining (DenseOHEM) with cross entropy.
# Table 1d of the focal loss paper (https://arxiv.org/abs/1708.02002), R-101 at
# 600 px, minival, AP/AP50/AP75:
#
#   anchors  NMS at .7       NMS at .5       NMS at .5, 1:3
#   128      31.1/47.2/33.2  32.8/50.3/35.1  31.1/47.2/33.2
#   256      31.8/48.8/33.9  31.0/47.4/33.0  28.3/42.4/30.3
#   512      30.6/47.0/32.6  27.6/42.0/29.2  24.0/35.5/25.8
#
#   focal loss  36.0/54.9/38.7, the last point
#
# Where the table says nothing we chose: no alpha; NMS on anchors, not on
# predictions; a loss divided by the number of anchors selected; boxes trained
# on all positives, selected or not; 1:3 applied to the anchors that NMS and
# the number per image leave, so that fewer remain, all of their positives and
# 3 times as many negatives at most, or 3 where none is positive
# (min_positives=1). Our config has 800 px. We have not run it on COCO.
config = '../retinanet_r101_fpn_fl.py'
prefix = 'model.bbox_head.'
points = [
    {
        'loss_cls.gamma': 0.0,
        'loss_cls.alpha': None,
        'mining.type': 'DenseOHEM',
        'mining.num': num,
        'mining.iou_threshold': iou_threshold,
        'mining.neg_pos_ratio': ratio,
    }
    for iou_threshold, ratio in [(0.7, None), (0.5, None), (0.5, 3.0)]
    for num in [128, 256, 512]
]
points.append({'loss_cls.gamma': 2.0, 'loss_cls.alpha': 0.25})

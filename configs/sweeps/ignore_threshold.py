# YOLOv3's rule (https://arxiv.org/abs/1804.02767): negatives whose predicted
# box overlaps an object by more are ignored. Darknet's configs have .7, and 1
# ignores nothing. We have not run it on COCO.
config = '../lab/assigner_predicted-iou-ignore.py'
prefix = 'model.bbox_head.mining.0.'
product = dict(iou_thr=[0.5, 0.6, 0.7, 0.8, 1.0])

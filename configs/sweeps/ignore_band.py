# RetinaNet's ignore band: anchors whose best IoU lies from `neg_iou_thr` to .5
# take no part. .4 is RetinaNet's; .5 ignores nothing. We have not run it on
# COCO.
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.train_cfg.assigner.'
product = dict(neg_iou_thr=[0.3, 0.4, 0.5])

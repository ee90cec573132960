# ATSS: candidates per level and object. The paper
# (https://arxiv.org/abs/1912.02424) finds AP insensitive to it and uses
# 9. We have not run it on COCO.
config = '../retinanet_r50_fpn_atss-a1.py'
prefix = 'model.train_cfg.assigner.'
product = dict(topk=[3, 7, 9, 13, 17])

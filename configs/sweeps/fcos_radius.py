# FCOS's rule (https://arxiv.org/abs/1904.01355): positives lie anywhere in an
# object, or within so many strides of its centre; 1.5 is the usual radius. We
# have not run it on COCO.
config = '../lab/assigner_point-range.py'
prefix = 'model.train_cfg.assigner.'
product = dict(center_sample_radius=[None, 1.0, 1.5, 2.0])

# Libra R-CNN's sampler (https://arxiv.org/abs/1904.02701): bins of IoU that
# negatives are drawn evenly from. The paper uses 3 and finds AP insensitive to
# it. One bin draws at random. We have not run it on COCO.
config = '../lab/assigner_iou-balanced.py'
prefix = 'model.train_cfg.sampler.neg_sampler.'
product = dict(num_bins=[1, 2, 3, 5])

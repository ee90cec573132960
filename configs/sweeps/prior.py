# The prior of .01 in the classifier's bias, for cross entropy and focal loss.
#
# The focal loss paper (https://arxiv.org/abs/1708.02002, section 4.1) says of
# R-50 at 600 px, minival: cross entropy diverges from the usual start and
# comes to 30.2 AP with the prior. Focal loss with it has 34.0 AP in table 1b,
# and no number without. CheckInvalidLossHook stops a run at the first loss
# that is not finite.
#
# Our config has 800 px. We have not run it on COCO.
_usual = dict(type='Normal', layer='Conv2d', std=0.01, override=None)
_prior = dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.01)
config = '../retinanet_r50_fpn_fl.py'
prefix = 'model.bbox_head.'
points = [
    {
        'loss_cls.gamma': gamma,
        'loss_cls.alpha': alpha,
        'init_cfg': dict(_usual, override=override),
    }
    for gamma, alpha in [(0.0, None), (2.0, 0.25)]
    for override in [None, _prior]
]

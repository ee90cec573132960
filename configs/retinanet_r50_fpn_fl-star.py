# FL*, the focal loss paper's other member of the family (appendix A): table 3
# gives 33.8 AP for gamma 2, beta 1, beside 34.0 of focal loss (minival, 600
# px). We have not run it on COCO.
#
#   mim train mmdet configs/retinanet_r50_fpn_fl-star.py
_base_ = './retinanet_r50_fpn_fl.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='FocalLossStar',
            use_sigmoid=True,
            gamma=2.0,
            beta=1.0,
        )
    )
)

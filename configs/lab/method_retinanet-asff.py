# RetinaNet with levels fused by ASFF (arXiv 1911.09516), five levels of equal
# channels where the paper has YOLOv3's three. It starts as RetinaNet, whose
# checkpoints it can load. Experimental: reports of others with mmdet's
# RetinaNet range from a loss of .3 AP to a gain of .3 (GOATmessi8/ASFF#78).
#
#   mim train mmdet configs/lab/method_retinanet-asff.py
_base_ = './method_retinanet.py'

model = dict(
    neck=dict(
        type='ASFFFPN',
        # Batches are small for BatchNorm. Groups of one of the 16 compressed
        # channels would have a single value on a map of 1 x 1.
        asff=dict(norm_cfg=dict(type='GN', num_groups=8)),
    )
)

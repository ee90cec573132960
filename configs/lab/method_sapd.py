# SAPD (arXiv 1911.12448): points in an object's shrunk box on all levels, each
# weighed by how central it is, levels by a network that is trained to find the
# one of least loss. Half of the training uses that level alone.
#
#   mim train mmdet configs/lab/method_sapd.py
_base_ = '../_base_/lab_towers.py'

model = dict(
    type='SingleStageDetector',
    bbox_head=dict(type='SAPDHead', strides=[8, 16, 32, 64, 128]),
)

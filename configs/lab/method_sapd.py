# SAPD (arXiv 1911.12448): positive points in an object's shrunk box on all
# levels, weighted by their centrality and by a network that is trained to find
# the level of least loss. The first half of the training uses only that level.
#
#   mim train mmdet configs/lab/method_sapd.py
_base_ = '../_base_/lab_towers.py'

model = dict(
    type='SingleStageDetector',
    bbox_head=dict(type='SAPDHead', strides=[8, 16, 32, 64, 128]),
)

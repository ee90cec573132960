# Data and schedule of all configs in this folder: ../_base_/lab_shapes.py,
# ../_base_/lab_pennfudan.py, ../_base_/lab_coco.py or a file of your own that
# sets the same names. The environment variable LAB_DATA overrides the line.
_base_ = '{{$LAB_DATA:../_base_/lab_shapes.py}}'

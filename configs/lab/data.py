# Data and schedule of every config in this folder. This line chooses them:
# ../_base_/lab_shapes.py, ../_base_/lab_pennfudan.py, ../_base_/lab_coco.py,
# or a file of your own that sets what these do. LAB_DATA=FILE in the
# environment chooses another one for a single run.
_base_ = '{{$LAB_DATA:../_base_/lab_shapes.py}}'

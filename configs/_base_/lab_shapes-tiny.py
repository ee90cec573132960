# The strategy lab on another preset of generated shapes, chosen by LAB_DATA.
# Objects of 4 to 9 px in images of 96 px, which detectors see at twice that.
#
#   retina-plus make-data shapes data/lab-tiny --preset tiny --size 96
_base_ = './lab_shapes.py'

data_root = 'data/lab-tiny/'
dataset = dict(data_root=data_root)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'instances_val.json')
test_evaluator = val_evaluator

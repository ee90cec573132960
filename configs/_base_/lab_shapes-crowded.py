# The strategy lab on another preset of generated shapes, chosen by LAB_DATA.
# Some eighty objects per image.
#
#   retina-plus make-data shapes data/lab-crowded --preset crowded --size 192
_base_ = './lab_shapes.py'

data_root = 'data/lab-crowded/'
dataset = dict(data_root=data_root)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'instances_val.json')
test_evaluator = val_evaluator

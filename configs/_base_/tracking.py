# What a training can log beside mmdet's own, and where to. Each is a name to
# be used where mmengine looks for it, since two bases may not set one key:
#
#   default_hooks = dict(loss_statistics=_base_.loss_statistics)
#   visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.tensorboard])
loss_statistics = dict(type='LossStatisticsHook')
tensorboard = dict(type='TensorboardVisBackend')
wandb = dict(type='WandbVisBackend', init_kwargs=dict(project='retina-plus'))
mlflow = dict(type='MLflowVisBackend', exp_name='retina-plus')

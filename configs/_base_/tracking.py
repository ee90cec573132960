# What a training can log beside mmdet's own, and where to. Each is a name to
# be used where mmengine looks for it, since two bases may not set one key:
#
#   default_hooks = dict(loss_statistics=_base_.loss_statistics)
#   visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.tensorboard])
loss_statistics = dict(type='LossStatisticsHook')
tensorboard = dict(type='TensorboardVisBackend')
wandb = dict(
    type='WandbVisBackend',
    init_kwargs=dict(project='retina-plus'),
    # Its own step counts writes, and mmengine does not tell it the iteration.
    define_metric_cfg=[dict(name='*', step_metric='iter')],
)
mlflow = dict(
    type='MLflowVisBackend',
    exp_name='retina-plus',
    # Its folder of files, mmengine's default, is refused by MLflow 3.
    tracking_uri='sqlite:///mlflow.db',
)

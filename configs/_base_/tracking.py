# Optional statistics and logging backends. They are variables to use in your
# config, since two bases may not set the same key:
#
#   default_hooks = dict(loss_statistics=_base_.loss_statistics)
#   visualizer = dict(vis_backends=[*_base_.vis_backends, _base_.tensorboard])
loss_statistics = dict(type='LossStatisticsHook')
tensorboard = dict(type='TensorboardVisBackend')
wandb = dict(
    type='WandbVisBackend',
    init_kwargs=dict(project='retina-plus'),
    # W&B's step counts writes, and mmengine does not pass the iteration.
    define_metric_cfg=[dict(name='*', step_metric='iter')],
)
mlflow = dict(
    type='MLflowVisBackend',
    exp_name='retina-plus',
    # MLflow 3 refuses mmengine's default, a folder of files.
    tracking_uri='sqlite:///mlflow.db',
)

# A few minutes on two CPU cores, from scratch: AdamW, warm-up, cosine. Another
# seed: `--cfg-options randomness.seed=1`.
randomness = dict(seed=0)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=700, val_interval=700)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=40),
    dict(type='CosineAnnealingLR', by_epoch=False, eta_min=1e-5),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)

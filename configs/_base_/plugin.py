# Base of every config of the package: import our modules, stop at the first
# loss that is not finite (checkpoints of finished epochs stay), and write
# checkpoints from which `--resume` continues bit for bit (docs/resuming.md).
custom_imports = dict(
    imports=['mmdet_retina_plus'], allow_failed_imports=False
)
custom_hooks = [
    dict(type='CheckInvalidLossHook', interval=1),
    dict(type='ExactResumeHook'),
]

# What every config of the package needs: our modules, a stop at the first loss
# that is not finite (checkpoints of finished epochs stay as they are), and
# checkpoints from which `--resume` continues bit for bit (docs/resuming.md).
custom_imports = dict(
    imports=['mmdet_retina_plus'], allow_failed_imports=False
)
custom_hooks = [
    dict(type='CheckInvalidLossHook', interval=1),
    dict(type='ExactResumeHook'),
]

# One-stage detectors with two towers of convolutions on P3 to P7.
_base_ = './lab_detector.py'

model = dict(
    bbox_head=dict(
        in_channels=_base_.lab_width,
        feat_channels=_base_.lab_width,
        stacked_convs=_base_.lab_convs,
    )
)

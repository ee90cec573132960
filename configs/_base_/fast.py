# Faster training steps by one more base of a config,
#
#   _base_ = ['retinanet_r50_fpn_fl.py', '_base_/fast.py']
#
# or by `mim train mmdet CONFIG --cfg-options runner_type=FastRunner`. It sets
# bfloat16, channels-last and more. With eight images per GPU and
# cudnn_benchmark it was faster, with two slower; docs/fast-training.md has the
# settings and measurements. For images of one size, also:
#
#   compile_backbone = dict(mode='reduce-overhead')
#   env_cfg = dict(cudnn_benchmark=True)
runner_type = 'FastRunner'

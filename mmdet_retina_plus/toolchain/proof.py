"""Check that mmcv's operators load and agree with plain torch.

This is a program to run in a separate process, since an operator compiled for
another torch may crash. MMDET_RETINA_PLUS_REGISTER=0 keeps mmdet from being
imported.
"""

import math

import torch
from torch import Tensor
from torch.testing import assert_close


def some_rois(count: int) -> Tensor:
    """RoIs on two images of 80 x 80 pixels, some beyond the border."""
    corner = torch.rand(count, 2) * 80 - 10
    size = torch.rand(count, 2) * 40
    image = torch.arange(count)[:, None] % 2
    return torch.cat([image, corner, corner + size], dim=1)


def check_nms(device: str) -> None:
    from mmcv.ops import nms

    from mmdet_retina_plus.toolchain.python_ext import torch_nms

    boxes, scores = some_rois(700)[:, 1:], torch.rand(700)
    _, kept = nms(boxes.to(device), scores.to(device), 0.5)
    # Not `assert`, which PYTHONOPTIMIZE removes.
    assert_close(kept.cpu(), torch_nms(boxes, scores, 0.5).cpu())
    if not 0 < len(kept) < 700:
        raise ValueError(f'NMS keeps {len(kept)} of 700 boxes')


def check_soft_nms() -> None:
    """Compare with scores by hand; mmcv has soft-NMS on the CPU only."""
    from mmcv.ops import soft_nms

    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [8, 8, 9, 9]])
    lowered, kept = soft_nms(
        boxes, torch.tensor([0.9, 0.8, 0.7]), sigma=0.5, method='gaussian'
    )
    # The second box covers half of the first: exp(-iou ** 2 / sigma) =
    # exp(-.5).
    scores = torch.tensor([0.9, 0.7, 0.8 * math.exp(-0.5)])
    assert_close(lowered[:, 4], scores)
    assert_close(kept, torch.tensor([0, 2, 1]))


def check_roi_align(device: str) -> None:
    """Check both passes by linearity: <Af, g> = <f, A'g>.

    For features f and gradients g, this compares the backward pass with the
    forward pass. The forward pass is compared with the values of a plane at
    the centres of the bins, and on RoIs of two images with matrix products.
    """
    from mmcv.ops import roi_align

    from mmdet_retina_plus.toolchain.python_ext import torch_roi_align

    y, x = torch.meshgrid(*[torch.arange(40.0)] * 2, indexing='ij')
    plane = torch.stack([x, y])[None].to(device).requires_grad_()
    roi = torch.tensor([[0.0, 8.0, 12.0, 36.0, 60.0]], device=device)
    pooled = roi_align(plane, roi, (7, 6), 0.5, 0, 'avg', True)
    centres_x = 3.5 + 14 * (torch.arange(6) + 0.5) / 6
    centres_y = 5.5 + 24 * (torch.arange(7) + 0.5) / 7
    assert_close(pooled[0, 0].cpu(), centres_x.expand(7, 6))
    assert_close(pooled[0, 1].cpu(), centres_y[:, None].expand(7, 6))

    features = torch.rand(2, 3, 40, 40, device=device, requires_grad=True)
    rois = some_rois(50).to(device)
    pooled = roi_align(features, rois, 7, 0.5, 0, 'avg', True)
    expected = torch.empty(pooled.shape)
    with torch.no_grad():
        torch_roi_align(features.cpu(), rois.cpu(), expected, 0.5, 0, True)
    assert_close(pooled.detach().cpu(), expected)
    weights = torch.rand_like(pooled)
    (grad,) = torch.autograd.grad((pooled * weights).sum(), features)
    assert_close(
        (features * grad).double().sum(),
        (pooled * weights).double().sum(),
        rtol=1e-4,
        atol=0,
    )


def main() -> None:
    torch.manual_seed(0)
    from mmcv import _ext

    kind = getattr(_ext, 'BACKEND', 'compiled')
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = ['cpu', *(f'cuda:{index}' for index in range(gpus))]
    for device in devices:
        check_nms(device)
        check_roi_align(device)
    check_soft_nms()
    print(
        f'NMS, soft-NMS and RoIAlign ({kind}) agree with plain torch on '
        f'{" and ".join(devices)}, torch {torch.__version__}'
    )


if __name__ == '__main__':
    main()

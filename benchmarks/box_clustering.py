"""Weighted box clustering against a plain loop over clusters.

python -m benchmarks.box_clustering --device cpu --threads 1
"""

from functools import partial
from types import ModuleType

import click
import numpy as np
import torch

from benchmarks.harness import describe, measure, print_table
from mmdet_retina_plus.fusion import BoxClusters, weighted_box_clustering


def cluster_by_loop(
    xp: ModuleType,
    boxes,
    scores,
    labels,
    view_ids,
    patch_weight,
    n_expected,
    iou_thr=0.5,
    use_area=True,
    pixel_offset=0,
    score_floor=0.01,
    missing_weight=1.0,
    count='views',
) -> list[tuple]:
    """Implement the paper naively, in NumPy or PyTorch.

    For the other arguments see `weighted_box_clustering`.

    Args:
        xp: Module of the arrays or tensors.

    Returns:
        For each cluster the box, score, label, members, found and missing, by
        descending score.
    """
    sides = (boxes[:, 2:] - boxes[:, :2] + pixel_offset).clip(0)
    areas = sides[:, 0] * sides[:, 1]
    clusters = []
    for label in xp.unique(labels):
        left = xp.where(labels == label)[0]
        left = left[xp.argsort(-scores[left], stable=True)]
        while len(left):
            low = xp.maximum(boxes[left, :2], boxes[left[0], :2])
            high = xp.minimum(boxes[left, 2:], boxes[left[0], 2:])
            shared = (high - low + pixel_offset).clip(0)
            shared = shared[:, 0] * shared[:, 1]
            union = areas[left] + areas[left[0]] - shared
            overlap = shared / union.clip(1e-30)
            overlap[0] = 1.0
            inside = overlap > iou_thr
            # Include the leader even at a threshold of 1.
            inside[0] = True
            members, f = left[inside], overlap[inside]
            left = left[~inside]
            w = f * patch_weight[members]
            if use_area:
                w = w * areas[members]
            if not w.sum() > 0:
                w = w * 0
                w[0] = 1.0
            s = scores[members]
            views = members if count == 'boxes' else view_ids[members]
            found = len(xp.unique(views))
            expected = n_expected[members].sum() / len(members)
            missing = max(0.0, float(expected) - found)
            weights = w.sum() + missing_weight * missing * w.sum() / len(w)
            score = float((s * w).sum() / weights)
            if score > score_floor:
                sw = (s * w)[:, None]
                box = boxes[members[0]]
                if sw.sum() > 0:
                    box = (boxes[members] * sw).sum(0) / sw.sum()
                clusters.append(
                    (box, score, int(label), members, found, missing)
                )
    return sorted(clusters, key=lambda cluster: -cluster[1])


def scene(
    objects: int,
    classes: int,
    views: int,
    stray: int,
    device: str,
    skew: float = 1,
) -> dict[str, torch.Tensor]:
    """Generate objects with slightly different boxes per view, and strays.

    Args:
        objects: Number of objects of all classes, on 1024 x 1024 pixels.
        classes: Number of classes.
        views: Number of views, which all have all objects.
        stray: Number of boxes that only one view has.
        device: Device of the tensors.
        skew: Above 1, the first classes have more boxes than the last.
    """
    side = 16 * 16 ** torch.rand(objects + stray, 2)
    low = torch.rand(objects + stray, 2) * (1024 - side)
    seen = torch.cat([low, low + side], dim=1)
    label = (classes * torch.rand(objects + stray) ** skew).long()
    times = torch.ones(objects + stray, dtype=torch.long)
    times[:objects] = views
    which = torch.arange(objects + stray).repeat_interleave(times)
    count = len(which)
    jitter = torch.randn(count, 4) * side[which].repeat(1, 2) * 0.04
    result = dict(
        boxes=seen[which] + jitter,
        scores=torch.rand(count) * 0.95 + 0.05,
        labels=label[which],
        view_ids=torch.arange(count) % views,
        patch_weight=torch.rand(count) / 2 + 0.5,
        n_expected=torch.full((count,), float(views)),
    )
    shuffled = torch.randperm(count)
    return {key: value[shuffled].to(device) for key, value in result.items()}


SCENES = {
    '100 classes': dict(objects=2000, classes=100, views=4, stray=2000),
    'one class': dict(objects=1000, classes=1, views=4, stray=1000),
    '80 classes, skewed': dict(
        objects=2000, classes=80, views=4, stray=2000, skew=6
    ),
    'all stray': dict(objects=0, classes=1, views=1, stray=5000),
}
"""Sets of 10,000 and of 5,000 boxes, by their characteristic."""
GOALS = {'100 classes': '>= 20x'}
GOAL_MEGABYTES = {'one class': '<= 64', 'all stray': '<= 64'}


def agree(clusters: list[tuple], ours: BoxClusters) -> bool:
    scores = torch.tensor([cluster[1] for cluster in clusters])
    return len(scores) == len(ours.scores) and torch.allclose(
        scores, ours.scores.cpu()
    )


def row(name: str, repeats: int, device: str) -> list[str]:
    """One row of the table; NumPy's loop always runs on the CPU."""
    tensors = scene(**SCENES[name], device=device)
    arrays = {key: value.cpu().numpy() for key, value in tensors.items()}
    in_torch = partial(cluster_by_loop, torch, **tensors)
    in_numpy = partial(cluster_by_loop, np, **arrays)
    cluster = partial(weighted_box_clustering, **tensors)
    slow, quick, ours = measure(
        [in_torch, in_numpy, cluster], torch.device(device), repeats=repeats
    )
    return [
        name,
        f'{len(tensors["boxes"]):,}',
        f'{len(cluster().boxes):,}',
        *(f'{side.seconds * 1e3:,.1f}' for side in (slow, quick, ours)),
        f'{slow.seconds / ours.seconds:.1f}x',
        GOALS.get(name, ''),
        f'{quick.seconds / ours.seconds:.1f}x',
        f'{ours.megabytes:.1f}',
        GOAL_MEGABYTES.get(name, ''),
        str(agree(in_numpy(), cluster())),
    ]


@click.command()
@click.option('--device', type=click.Choice(['cpu', 'cuda']), default='cpu')
@click.option('--threads', default=1, help='Number of CPU threads.')
@click.option('--repeats', default=5)
def main(device: str, threads: int, repeats: int) -> None:
    """Print medians, ratios and peak memory beyond the inputs."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    print_table(
        'Weighted box clustering, ' + describe(torch.device(device)),
        (
            'scene',
            'boxes',
            'clusters',
            'torch ms',
            'NumPy ms',
            'ours ms',
            'torch / ours',
            'goal',
            'NumPy / ours',
            'ours MB',
            'goal',
            'equal',
        ),
        [row(name, repeats, device) for name in SCENES],
    )


if __name__ == '__main__':
    main()

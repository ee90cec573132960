"""All measurements on a GPU, the most valuable first.

Each figure is printed and written at once, one JSON object per line. After a
section that fails, the next one starts.

python -m benchmarks.on_gpu --out gpu.jsonl
python -m benchmarks.on_gpu --device cpu --quick --out rehearsal.jsonl
"""

import cProfile
import io
import json
import os
import pstats
import re
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.losses import FocalLoss
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.structures import InstanceData
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import mmdet_retina_plus
from benchmarks.assigners import ASSIGNERS, HEIGHT, WIDTH, Scene
from benchmarks.focal_loss import ALPHA, GAMMA, Inputs
from benchmarks.harness import describe, measure
from benchmarks.mask_branch import spread_scores
from benchmarks.training import STOCK
from mmdet_retina_plus.kernels import dispatch
from mmdet_retina_plus.losses import FocalLossStar, FusedFocalLoss

ROOT = Path(__file__).parent.parent
OBJECTS = 7
"""COCO's mean per image."""
TEST_SECONDS = 240
"""Time limit of the tests, so that time is left for measurements."""
LOSS_SIZES = (
    (1_612_800, 80),
    (201_600, 80),
    (16_800, 80),
    (201_600, 1203),
    (1_612_800, 1),
)


@dataclass
class Run:
    """One run of this script.

    Attributes:
        device: Device to measure on.
        quick: Whether to rehearse with small inputs and few repeats.
        out: File to write the lines to.
        deadline: Nothing starts after this time of ``time.monotonic``.
        section: Name of the running section.
        lines: Objects that were written.
    """

    device: torch.device
    quick: bool
    out: Path
    deadline: float
    section: str = ''
    lines: list[dict] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == 'cuda'

    @property
    def repeats(self) -> int:
        return 1 if self.quick else 15

    def late(self) -> bool:
        return time.monotonic() > self.deadline

    def write(self, **values: object) -> None:
        line = dict(section=self.section) | {
            key: round(value, 4 if value > 1e-3 else 9)
            if isinstance(value, float)
            else value
            for key, value in values.items()
        }
        self.lines.append(line)
        text = json.dumps(line)
        with self.out.open('a') as file:
            file.write(text + '\n')
            file.flush()
            os.fsync(file.fileno())
        click.echo(text)


def environment(run: Run) -> None:
    run.write(
        device=describe(run.device),
        cuda=torch.version.cuda,
        triton=dispatch.USES_TRITON,
        python=sys.version.split()[0],
        cpus=os.cpu_count(),
    )


def tests(run: Run) -> None:
    """Run the tests for a GPU in a separate process.

    Raises:
        ValueError: A test failed.
        subprocess.TimeoutExpired: The tests took too long.
    """
    command = [sys.executable, '-m', 'pytest', '-m', 'cuda', '-rf']
    command += ['-p', 'no:cacheprovider', '--durations=5', 'tests/kernels']
    if run.quick:
        command += ['-k', 'nothing_from_nothing']
    left = run.deadline - time.monotonic()
    log = run.out.with_suffix('.tests.txt')
    # Directly to the file, so that output is kept if the time runs out.
    with log.open('w') as file:
        result = subprocess.run(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=min(TEST_SECONDS, max(60, left)),
        )
    output = log.read_text()
    summary = re.findall(r'^.*\b(?:passed|failed|error).*$', output, re.M)
    run.write(
        returncode=result.returncode,
        summary=summary[-1:] if summary else output[-300:],
        failures=re.findall(r'^(?:FAILED|ERROR) .*$', output, re.M),
        errors=re.findall(r'^E  .*$', output, re.M)[:20],
        stderr=result.stderr[-300:],
    )
    if result.returncode:
        raise ValueError(f'pytest ended with {result.returncode}: see {log}')


def assigners(run: Run) -> None:
    """Ours and mmdet's on the anchors of an 800x1344 image."""
    for count in (7,) if run.quick else (500, 7, 100, 4000):
        shape = (64, 96) if run.quick else (HEIGHT, WIDTH)
        scene = Scene(count, False, str(run.device), shape)
        for name, (stock, ours) in ASSIGNERS.items():
            if run.late():
                return
            expected = scene.assign(ours)
            with patch.object(dispatch, 'usable', lambda *tensors: False):
                by_torch = scene.assign(ours)
            theirs, own = measure(
                [partial(scene.assign, side) for side in (stock, ours)],
                run.device,
                repeats=min(run.repeats, 3 if count > 1000 else 9),
                prepare=scene.draw,
            )
            run.write(
                assigner=name,
                objects=count,
                mmdet_ms=theirs.seconds * 1e3,
                ours_ms=own.seconds * 1e3,
                faster=theirs.seconds / own.seconds,
                mmdet_mb=theirs.megabytes,
                ours_mb=own.megabytes,
                # Anchors at the same location are ties in mmdet's ATSS.
                equals_mmdet=scene.agree(stock, ours),
                equals_torch_path=all(
                    torch.equal(getattr(expected, key), getattr(by_torch, key))
                    for key in ('gt_inds', 'max_overlaps', 'labels')
                ),
                waits=waits(run, partial(scene.assign, ours)),
                mmdet_waits=sum(
                    waits(run, partial(scene.assign, stock)).values()
                ),
                launches=launches(run, partial(scene.assign, ours)),
            )


def formula(
    pred: Tensor, labels: Tensor, weight: Tensor, avg_factor: float
) -> Tensor:
    """Naive focal loss."""
    classes = torch.arange(pred.size(1), device=pred.device)
    positive = labels[:, None] == classes
    x = torch.where(positive, pred.float(), -pred.float())
    alpha = torch.where(positive, ALPHA, 1 - ALPHA) * weight[:, None]
    value = alpha * torch.sigmoid(-x) ** GAMMA * F.logsigmoid(x)
    return -value.sum() / avg_factor


def compiled(run: Run, function: Callable) -> Callable:
    return torch.compile(
        function, backend='eager' if run.quick else 'inductor'
    )


def loss_inputs(run: Run) -> Iterator[tuple[dict, Inputs]]:
    """Each size in single precision, the usual ones in bfloat16 as well."""
    sizes = [(2000, 80), (300, 1)] if run.quick else LOSS_SIZES
    for dtype in (torch.float32, torch.bfloat16):
        for anchors, classes in sizes[:3] if dtype.itemsize == 2 else sizes:
            if not run.late():
                inputs = Inputs(anchors, classes, str(run.device), dtype)
                name = str(dtype).removeprefix('torch.')
                yield (
                    dict(anchors=anchors, classes=classes, dtype=name),
                    inputs,
                )


def loss(run: Run) -> None:
    """Focal loss forward and backward against a copy of the logits."""
    ours = FusedFocalLoss(gamma=GAMMA, alpha=ALPHA)

    def value_only(inputs: Inputs) -> Tensor:
        with torch.no_grad():
            return ours(inputs.pred, inputs.labels, inputs.weight)

    for size, inputs in loss_inputs(run):
        copy, own, value, star = measure(
            (
                lambda inputs=inputs: inputs.pred.detach().clone(),
                partial(inputs.step, ours),
                partial(value_only, inputs),
                partial(inputs.step, FocalLossStar()),
            ),
            run.device,
            repeats=run.repeats,
            prepare=inputs.draw,
            ahead=True,
        )
        found = {}
        if size['dtype'] == 'float32' and size['anchors'] < 1e6:
            names = ('value_error', 'gradient_error')
            found = dict(zip(names, inputs.errors(ours), strict=True))
        run.write(
            **size,
            copy_ms=copy.seconds * 1e3,
            copy_gb_per_s=copy.peak_bytes * 2 / copy.seconds / 1e9,
            ours_ms=own.seconds * 1e3,
            copies=own.seconds / copy.seconds,
            forward_ms=value.seconds * 1e3,
            star_copies=star.seconds / copy.seconds,
            peak_mb=own.megabytes,
            **found,
        )


def loss_of_others(run: Run) -> None:
    """The same against mmcv's operator, mmdet's loss and torch.compile."""
    ours = FusedFocalLoss(gamma=GAMMA, alpha=ALPHA)
    stock = FocalLoss(use_sigmoid=True, gamma=GAMMA, alpha=ALPHA)
    compiled_formula = compiled(run, formula)
    for size, inputs in loss_inputs(run):
        sides = dict(
            ours=partial(inputs.step, ours),
            compiled=partial(inputs.step, compiled_formula),
        )
        # mmcv's operator, and so mmdet's loss on a GPU, has no bfloat16.
        if inputs.pred.dtype == torch.float32:
            sides['mmdet'] = partial(inputs.step, stock)
            if run.on_gpu:
                sides['mmcv'] = partial(inputs.step, mmcv_loss)
        results = measure(
            list(sides.values()),
            run.device,
            repeats=run.repeats,
            warmup=2,
            prepare=inputs.draw,
            ahead=True,
        )
        times = dict(zip(sides, results, strict=True))
        run.write(
            **size,
            **{
                f'{name}_ms': result.seconds * 1e3
                for name, result in times.items()
            },
            **{f'{name}_mb': each.megabytes for name, each in times.items()},
            **{
                f'faster_than_{name}': each.seconds / times['ours'].seconds
                for name, each in times.items()
                if name != 'ours'
            },
        )


def mmcv_loss(
    pred: Tensor, labels: Tensor, weight: Tensor, avg_factor: float
) -> Tensor:
    """mmcv's operator by itself, without weights."""
    from mmcv.ops import sigmoid_focal_loss

    value = sigmoid_focal_loss(pred, labels, GAMMA, ALPHA, None, 'none')
    return value.sum() / avg_factor


@dataclass(frozen=True)
class Side:
    """A detector to train.

    Attributes:
        stock: Whether to use mmdet's parts instead of ours.
        options: More changes to the config.
    """

    stock: bool = False
    options: dict = field(default_factory=dict)


FAST = {'runner_type': 'FastRunner'}
# All images have the same size here, so both sides benefit.
SEARCH = {'env_cfg.cudnn_benchmark': True}
SIDES = {
    'stock': Side(stock=True),
    'stock, cudnn_benchmark': Side(stock=True, options=SEARCH),
    'ours': Side(),
    'ours, fast': Side(options=FAST),
    'ours, fast, cudnn_benchmark': Side(options=FAST | SEARCH),
    'ours, fast, cudnn_benchmark, compiled': Side(
        options=FAST | SEARCH | {'compile_backbone': dict(mode='default')}
    ),
    'ours, fast, cudnn_benchmark, graphs': Side(
        options=FAST
        | SEARCH
        | {'compile_backbone': dict(mode='reduce-overhead')}
    ),
}


class Trainer:
    """The detector and optimizer of a config's runner, and a batch.

    Args:
        run: The run.
        config: Name of one of our configs.
        side: Changes of the config.
        batch: Number of images of 800x1344 pixels.
        shape: Another size of the images.
    """

    def __init__(
        self,
        run: Run,
        config: str,
        side: Side,
        batch: int,
        shape: tuple[int, int] = (HEIGHT, WIDTH),
    ) -> None:
        loaded = Config.fromfile(mmdet_retina_plus.config(config))
        if side.stock:
            loaded.merge_from_dict(STOCK)
        loaded.merge_from_dict(side.options)
        loaded.model.backbone.init_cfg = None
        loaded.optim_wrapper.optimizer.lr = 1e-5
        loaded.randomness = dict(seed=0)
        loaded.log_level = 'ERROR'
        loaded.work_dir = str(run.out.with_suffix('.work_dir'))
        if run.quick:
            shape = (64, 96)
            loaded.model.backbone.depth = 18
            loaded.model.neck.in_channels = [64, 128, 256, 512]
            if 'compile_backbone' in side.options:
                # Compiling would take longer than all the rest.
                loaded.compile_backbone = dict(backend='eager')
        runner_class = RUNNERS.get(loaded.get('runner_type', 'Runner'))
        # Formatting it for the log takes longer than building the detector.
        with patch.object(Config, 'pretty_text', ''):
            self.runner = runner_class.from_cfg(loaded)
        self.detector = self.runner.model
        self.detector.init_weights()
        self.wrapper = self.runner.build_optim_wrapper(
            self.runner.optim_wrapper
        )
        self.data = random_batch(batch, shape, run.device)

    def step(self) -> None:
        self.detector.train()
        self.detector.train_step(dict(self.data), self.wrapper)

    @torch.no_grad()
    def predict(self) -> list[DetDataSample]:
        self.detector.eval()
        return self.detector.test_step(dict(self.data))


def random_batch(
    count: int, shape: tuple[int, int], device: torch.device
) -> dict:
    """Random images with objects and masks, as from a data loader."""
    height, width = shape
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([width, height])
    samples = []
    for _ in range(count):
        noise = torch.rand(OBJECTS, 4, generator=generator)
        corner, side = noise[:, :2] * 0.6, 0.05 + 0.35 * noise[:, 2:]
        boxes = torch.cat([corner * scale, (corner + side) * scale], dim=1)
        masks = np.zeros((OBJECTS, height, width), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(
            masks, boxes.int().tolist(), strict=True
        ):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_shape=shape,
                ori_shape=shape,
                pad_shape=shape,
                batch_input_shape=shape,
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes.to(device),
            labels=torch.arange(OBJECTS, device=device),
            masks=BitmapMasks(masks, height, width),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4, device=device)
        )
        samples.append(sample)
    images = torch.randint(
        256, (count, 3, *shape), dtype=torch.uint8, generator=generator
    )
    return dict(inputs=list(images.to(device)), data_samples=samples)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Restore global settings of torch after each side."""
    benchmark = torch.backends.cudnn.benchmark
    precision = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(precision)


def time_steps(run: Run, config: str, sides: list[str], batch: int) -> None:
    """Time one side after the other, since memory cannot hold both."""
    for name in sides:
        if run.late():
            return
        with settings_kept():
            trainer = Trainer(run, config, SIDES[name], batch)
            begin = time.perf_counter()
            for _ in range(1 if run.quick else 4):
                trainer.step()
            synchronize(run)
            started = time.perf_counter() - begin
            if run.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            steps = 1 if run.quick else 12
            begin = time.perf_counter()
            for _ in range(steps):
                trainer.step()
            synchronize(run)
            seconds = (time.perf_counter() - begin) / steps
            found = waits(run, trainer.step)
            run.write(
                config=config,
                side=name,
                batch=batch,
                step_ms=seconds * 1e3,
                images_per_s=batch / seconds,
                peak_gb=(
                    torch.cuda.max_memory_allocated() / 1e9
                    if run.on_gpu
                    else 0.0
                ),
                waits=sum(found.values()),
                waits_of_ours=ours_among(found),
                waits_of_others=dict(Counter(found).most_common(12)),
                warm_up_s=started,
            )
            del trainer
        if run.on_gpu:
            torch.cuda.empty_cache()


def steps(run: Run) -> None:
    """RetinaNet R-50, training steps including the optimizer."""
    sides = [name for name in SIDES if 'fast' not in name]
    for batch in (1,) if run.quick else (2, 8):
        time_steps(run, 'retinanet_r50_fpn_fl', sides, batch)


def fast_steps(run: Run) -> None:
    sides = [name for name in SIDES if 'fast' in name]
    for batch in (1,) if run.quick else (8, 2):
        time_steps(run, 'retinanet_r50_fpn_fl', sides, batch)


def mask_steps(run: Run) -> None:
    batch = 1 if run.quick else 2
    sides = ['ours', 'ours, fast', 'ours, fast, cudnn_benchmark']
    time_steps(run, 'retinamask_r50_fpn_1x', sides, batch)


def predictions(run: Run) -> None:
    for config in ('retinanet_r50_fpn_fl', 'retinamask_r50_fpn_1x'):
        sides = (
            ['stock', 'ours'] if config.startswith('retinanet') else ['ours']
        )
        trainers = [Trainer(run, config, SIDES[name], 1) for name in sides]
        for trainer in trainers:
            image = torch.stack(trainer.data['inputs']).float()
            spread_scores(trainer.detector, (image - 120) / 58)
        results = measure(
            [trainer.predict for trainer in trainers],
            run.device,
            repeats=run.repeats,
            warmup=1 if run.quick else 3,
        )
        for name, result in zip(sides, results, strict=True):
            run.write(
                config=config,
                side=name,
                predict_ms=result.seconds * 1e3,
                peak_mb=result.megabytes,
            )


def dearest(run: Run) -> None:
    """The ten operations that a step spends most of its time in."""
    activity = ProfilerActivity.CUDA if run.on_gpu else ProfilerActivity.CPU
    kind = 'device' if run.on_gpu else 'cpu'
    for config in ('retinanet_r50_fpn_fl', 'retinamask_r50_fpn_1x'):
        batch = 1 if run.quick else 2
        trainer = Trainer(run, config, SIDES['ours'], batch, (800, 1088))
        trainer.step()
        synchronize(run)
        with profile(activities=[activity]) as profiler:
            trainer.step()
            synchronize(run)
        times = {
            item: getattr(item, f'self_{kind}_time_total') / 1e3
            for item in profiler.key_averages()
        }
        total = sum(times.values())
        for item in sorted(times, key=lambda item: -times[item])[:10]:
            run.write(
                config=config,
                item=item.key[:90],
                ms=times[item],
                percent=100 * times[item] / total,
                calls=item.count,
            )


def host(run: Run) -> None:
    """Profile Python during a step of a small batch."""
    trainer = Trainer(
        run, 'retinanet_r50_fpn_fl', SIDES['ours, fast'], 1 if run.quick else 2
    )
    for _ in range(1 if run.quick else 4):
        trainer.step()
    synchronize(run)
    profiler = cProfile.Profile()
    profiler.runcall(trainer.step)
    for order in ('tottime', 'cumtime'):
        text = io.StringIO()
        stats = pstats.Stats(profiler, stream=text).sort_stats(order)
        stats.print_stats(60)
        with run.out.with_suffix('.host.txt').open('a') as file:
            file.write(text.getvalue())
    run.write(calls=stats.total_calls, ms=stats.total_tt * 1e3)


def synchronize(run: Run) -> None:
    if run.on_gpu:
        torch.cuda.synchronize()


def waits(run: Run, function: Callable[[], object]) -> dict[str, int]:
    """Where Python waits for the GPU, and how often."""
    if not run.on_gpu:
        return {}
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            function()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return Counter(
        f'{"/".join(Path(each.filename).parts[-3:])}:{each.lineno}'
        for each in caught
        if 'synchroniz' in str(each.message)
    )


def ours_among(found: dict[str, int]) -> dict[str, int]:
    return {
        place: count
        for place, count in found.items()
        if 'mmdet_retina_plus' in place
    }


def launches(run: Run, function: Callable[[], object]) -> int:
    """Kernels, copies and fills on the GPU."""
    if not run.on_gpu:
        return 0
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        function()
        torch.cuda.synchronize()
    return sum(
        item.count
        for item in profiler.key_averages()
        if item.self_device_time_total > 0
    )


SECTIONS: dict[str, Callable[[Run], None]] = {
    'environment': environment,
    'tests': tests,
    'loss': loss,
    'assigners': assigners,
    # From here on mmcv needs its CUDA operators.
    'loss_of_others': loss_of_others,
    'steps': steps,
    'fast_steps': fast_steps,
    'mask_steps': mask_steps,
    'predictions': predictions,
    'dearest': dearest,
    'host': host,
}


@click.command()
@click.option('--device', type=click.Choice(['cpu', 'cuda']), default='cuda')
@click.option('--quick', is_flag=True, help='Rehearse: small, few repeats.')
@click.option(
    '--only', default=','.join(SECTIONS), help='Sections, in this order.'
)
@click.option('--minutes', default=10.0, help='Nothing starts later.')
@click.option('--out', type=click.Path(path_type=Path), default='gpu.jsonl')
def main(
    device: str, quick: bool, only: str, minutes: float, out: Path
) -> None:
    """Measure on a GPU.

    Exit with 1 if a section failed or a result differs from its reference.
    """
    # Avoid a log line per parameter of every detector.
    MMLogger.get_current_instance().setLevel('WARNING')
    deadline = time.monotonic() + 60 * minutes
    run = Run(torch.device(device), quick, out, deadline)
    failed = False
    for name in only.split(','):
        if run.late():
            break
        run.section = name
        begin = time.monotonic()
        try:
            SECTIONS[name](run)
        except Exception as error:
            failed = True
            run.write(
                error=f'{type(error).__name__}: {error}'[:500],
                traceback=traceback.format_exc()[-1500:],
            )
        if run.on_gpu:
            torch.cuda.empty_cache()
        run.write(took_s=time.monotonic() - begin)
    differs = any(
        key.startswith('equals_') and not value
        for line in run.lines
        for key, value in line.items()
    )
    sys.exit(failed or differs)


if __name__ == '__main__':
    main()

"""Training steps, predictions, and where a step spends its time."""

import copy
import cProfile
import io
import pstats
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from unittest.mock import patch

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.structures import InstanceData
from torch.profiler import ProfilerActivity, profile

import mmdet_retina_plus
from benchmarks.assigners import HEIGHT, WIDTH
from benchmarks.harness import box_masks, measure
from benchmarks.mask_branch import OBJECTS, spread_scores
from benchmarks.training import STOCK
from mmdet_retina_plus.runners.fast_runner import autocast_settings

from .run import Run


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


def settings(run: Run) -> None:
    """Each setting of FastRunner by itself; a CPU knows the layout only."""
    batch, shape = (8, (HEIGHT, WIDTH)) if run.on_gpu else (2, (320, 448))

    def trainer(options: dict | None = None) -> Trainer:
        side = Side(options=options or {})
        return Trainer(run, 'retinanet_r50_fpn_fl', side, batch, shape)

    plain, turned = trainer(), trainer()
    turned.detector.to(memory_format=torch.channels_last)
    ways = {'none': plain.step, 'channels_last': turned.step}
    if run.on_gpu:
        options = {
            f'optim_wrapper.{key}': value
            for key, value in autocast_settings().items()
        }
        ways |= {
            'autocast': trainer(options).step,
            'tf32': partial(with_tf32, plain.step),
        }
    results = measure(
        list(ways.values()),
        run.device,
        repeats=min(run.repeats, 5),
        warmup=1 if run.quick else 3,
    )
    for name, result in zip(ways, results, strict=True):
        run.write(
            setting=name,
            inputs=[list(image.shape) for image in plain.data['inputs']],
            threads=torch.get_num_threads(),
            step_ms=result.seconds * 1e3,
            faster=results[0].seconds / result.seconds,
        )


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
        run.synchronize()
        with profile(activities=[activity]) as profiler:
            trainer.step()
            run.synchronize()
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
    run.synchronize()
    profiler = cProfile.Profile()
    profiler.runcall(trainer.step)
    for order in ('tottime', 'cumtime'):
        text = io.StringIO()
        stats = pstats.Stats(profiler, stream=text).sort_stats(order)
        stats.print_stats(60)
        with run.out.with_suffix('.host.txt').open('a') as file:
            file.write(text.getvalue())
    run.write(calls=stats.total_calls, ms=stats.total_tt * 1e3)


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
            run.synchronize()
            started = time.perf_counter() - begin
            if run.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            steps = 1 if run.quick else 12
            begin = time.perf_counter()
            for _ in range(steps):
                trainer.step()
            run.synchronize()
            seconds = (time.perf_counter() - begin) / steps
            found = run.waits(trainer.step)
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
                waits_of_ours={
                    place: count
                    for place, count in found.items()
                    if 'mmdet_retina_plus' in place
                },
                waits_of_others=dict(Counter(found).most_common(12)),
                warm_up_s=started,
            )
            del trainer
        if run.on_gpu:
            torch.cuda.empty_cache()


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
        loaded = copy.deepcopy(load_config(config))
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
            loaded.model.backbone.update(depth=18, base_channels=8)
            loaded.model.neck.in_channels = [8, 16, 32, 64]
            loaded.model.bbox_head.stacked_convs = 1
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


@cache
def load_config(name: str) -> Config:
    """Read one of our configs; mmdet's bases take a second each time."""
    return Config.fromfile(mmdet_retina_plus.config(name))


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
            masks=box_masks(boxes, shape),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4, device=device)
        )
        samples.append(sample)
    images = torch.randint(
        256, (count, 3, *shape), dtype=torch.uint8, generator=generator
    )
    return dict(inputs=list(images.to(device)), data_samples=samples)


def with_tf32(step: Callable[[], None]) -> None:
    with settings_kept():
        torch.set_float32_matmul_precision('high')
        step()


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

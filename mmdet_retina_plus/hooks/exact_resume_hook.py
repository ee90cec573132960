"""Resume a killed training so that it equals the uninterrupted one."""

import logging
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor, nn

from .checkpoint_files import (
    BACKEND,
    WholeFileBackend,
    checkpoint_to_resume,
    is_broken,
)
from .data_progress import DataProgress, Loader, Workers, trains_in_epochs
from .random_states import random_states, restore_random_states

KEY = 'exact_resume'
"""Key of a checkpoint."""
SAME_ORDER = ('train_loop', 'num_images')
"""Keys of a ``setting`` that determine the order of the images."""


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed training equal the uninterrupted one.

    mmengine saves weights, optimizers and schedulers. This hook adds to each
    checkpoint that has an optimizer, for every process:

    - the random states of Python, NumPy, torch and the GPU;
    - the seed of the sampler and its position, which a resumed iteration-based
      loop reaches without loading the earlier images;
    - the random states and the seed of the data loaders' workers;
    - accumulated gradients, under ``accumulative_counts``;
    - buffers of the model and of its EMA that differ between processes;
      mmengine saves those of the first process;
    - whether the validation of this iteration or epoch is done. If not, the
      resumed training begins with it.

    The hook also sets ``WholeFileBackend`` in the CheckpointHook, unless its
    ``backend_args`` are set, and lets ``--resume`` without a path skip a
    truncated checkpoint.

    On a CPU with a fixed number of threads the resumed training is equal bit
    for bit; on a GPU as far as the kernels are deterministic. The hook does
    not change an uninterrupted training.

    A training resumes inexactly, with a warning, from a checkpoint without
    these states, with another number of processes, workers or images or
    another batch size, or from the middle of an epoch of an
    EpochBasedTrainLoop. With other processes, workers or batch size the images
    still continue in order, but random states restart. State that transforms
    or data preprocessors keep between batches, such as the images of
    CachedMosaic, is not saved.
    """

    # After hooks that change a step's states, before CheckpointHook saves.
    priority = 80

    def __init__(self) -> None:
        self.progress: DataProgress | None = None
        self.val_workers: Workers | None = None
        self.saved: dict[str, Any] | None = None
        self.infos: dict[str, Any] = {}
        self.owes_validation = False
        self.has_validated = False
        self.is_validated = False
        self.collected: list[dict[str, Any]] | None = None

    def before_run(self, runner: Runner) -> None:
        """Set the file backend and choose the checkpoint to resume from.

        Raises:
            ValueError: The named checkpoint is broken, or all are; or the
                config has this hook twice.
        """
        if sum(isinstance(hook, ExactResumeHook) for hook in runner.hooks) > 1:
            raise ValueError(
                'custom_hooks has ExactResumeHook twice: remove one. '
                '_base_/plugin.py, which all our configs have, brings it'
            )
        # A training that failed in this process may have left some.
        WholeFileBackend.outdated.clear()
        hooks = checkpoint_hooks(runner)
        for hook in hooks:
            local = '://' not in str(hook.out_dir or runner.work_dir)
            if local and hook.backend_args is hook.file_client_args is None:
                hook.backend_args = dict(backend=BACKEND)
        if not runner._resume:
            return
        templates = [hook.filename_tmpl for hook in hooks]
        named = runner._load_from
        if named is not None:
            check_named(named)
            return
        pointer = find_latest_checkpoint(runner.work_dir)
        if '://' in str(pointer):
            return
        found = checkpoint_to_resume(pointer, Path(runner.work_dir), templates)
        if found is not None and str(found) != pointer:
            warn(
                f'last_checkpoint names {pointer or "nothing"}, which is not '
                f'a complete checkpoint: the training resumes from {found}'
            )
            runner._load_from = str(found)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the states out of a checkpoint to resume from.

        Raises:
            ValueError: It has no state of a training.
        """
        if not runner._resume:
            return
        if 'message_hub' not in checkpoint:
            raise ValueError(
                'The checkpoint has weights but no state of a training, like '
                'published ones: use load_from instead of resume'
            )
        self.saved = checkpoint.get(KEY)
        self.infos = checkpoint['message_hub']['runtime_info']
        if self.saved is None:
            warn(
                'The checkpoint has no random states, like those of trainings '
                'without ExactResumeHook: the training resumes, but not '
                'exactly'
            )

    def before_train(self, runner: Runner) -> None:
        """Restore the data position and random states of the checkpoint."""
        self.owes_validation = False
        config = runner.cfg.get('train_dataloader') or {}
        loop = runner.train_loop
        if not isinstance(config.get('sampler'), dict):
            warn(
                'ExactResumeHook needs a Runner whose config has the '
                'train_dataloader: it saves and restores nothing'
            )
            return
        self.progress = DataProgress(loop, config)
        if runner.val_loop is not None:
            self.val_workers = Workers(runner.val_dataloader)
            self.val_workers.listen()
        before = random_states()
        state, order = self.restored(runner)
        if self.saved is not None:
            self.owes_validation = not self.saved['is_validated']
            self.is_validated = self.saved['is_validated']
            self.has_validated = self.saved['has_validated']
        self.progress.start(order)
        if state is None:
            # Building iterators has drawn random numbers.
            restore_random_states(before)
            return
        if self.val_workers is not None and state['val_workers'] is not None:
            self.val_workers.restore(state['val_workers'])
            if self.has_validated:
                self.val_workers.resume_persistent()
        for name, parameter in runner.model.named_parameters():
            if name in state['gradients']:
                gradient = state['gradients'][name]
                parameter.grad = gradient.to(parameter.device)
        buffers = named_buffers(runner)
        for name, value in state.get('buffers', {}).items():
            buffers[name].copy_(value)
        restore_random_states(state['random'])

    def restored(self, runner: Runner) -> tuple[dict | None, dict | None]:
        """Find the states to restore.

        Returns:
            State of this process, None if an exact resume is impossible; and
            state of its data, None if the order is lost too.

        Raises:
            ValueError: The position in the data is impossible.
        """
        if self.saved is None:
            return None, None
        loop = runner.train_loop
        now, before = setting(runner), self.saved['setting']
        changes = [
            f'{name}={before.get(name)}, this training has {value}'
            for name, value in now.items()
            if before.get(name) != value
        ]
        in_epochs = trains_in_epochs(loop)
        read = [state['data'] for state in self.saved['processes']]
        for data in read:
            if not 0 <= data['position'] <= loop.iter:
                raise ValueError(
                    f'The checkpoint is from iteration {loop.iter} but has '
                    f'read {data["position"]} batches of a pass: it is '
                    'damaged or forged, resume from another'
                )
        if changes:
            order = None
            kept = 'the training resumes, but not exactly'
            if all(before.get(name) == now[name] for name in SAME_ORDER):
                order = order_of(read[0], before, now)
                if not in_epochs:
                    kept += ': images continue in order, random states restart'
            warn(f'The checkpoint was saved with {"; ".join(changes)}: {kept}')
            return None, order
        if in_epochs and loop.iter != loop.epoch * len(loop.dataloader):
            warn(
                'The checkpoint was saved in the middle of an epoch, which '
                f'{type(loop).__name__} restarts: to resume exactly, save '
                'with by_epoch=True or train with IterBasedTrainLoop'
            )
            return None, None
        state = self.saved['processes'][get_rank()]
        return state, state['data']

    def before_train_epoch(self, runner: Runner) -> None:
        if self.owes_validation:
            self.validate_if_owed(runner)
            runner.message_hub.update_info('epoch', runner.epoch)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        # In the middle of an epoch no validation is due.
        self.is_validated = trains_in_epochs(runner.train_loop)
        self.collected = None
        if self.progress is not None:
            self.progress.workers.take(data_batch)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        if self.val_workers is not None:
            self.val_workers.take(data_batch)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        if get_world_size() > 1 and any(
            is_due(hook, runner)
            for hook in checkpoint_hooks(runner)
            if not hook.by_epoch
        ):
            self.collect(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        if trains_in_epochs(runner.train_loop):
            self.is_validated = False
        if get_world_size() > 1:
            self.collect(runner)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        self.has_validated = self.is_validated = True
        if get_world_size() > 1:
            self.collect(runner)

    def after_train(self, runner: Runner) -> None:
        """Validate if the training was killed in its last validation."""
        if self.owes_validation:
            # RuntimeInfoHook has ended the stage.
            runner.message_hub.update_info('loop_stage', 'train')
            self.validate_if_owed(runner)
            runner.message_hub.pop_info('loop_stage')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the states to a checkpoint that a training can resume from."""
        if self.progress is None or 'optimizer' not in checkpoint:
            return
        if get_world_size() > 1:
            # Only the first process saves, and it cannot query the others.
            processes = self.collected
        else:
            processes = [self.state(runner)]
        if processes is not None:
            checkpoint[KEY] = dict(
                setting=setting(runner),
                is_validated=self.is_validated,
                has_validated=self.has_validated,
                processes=processes,
            )

    def collect(self, runner: Runner) -> None:
        """Gather the states of all processes."""
        if self.progress is not None:
            states = all_gather_object(self.state(runner))
            saved = states[0]['buffers']
            for state in states:
                state['buffers'] = {
                    name: value
                    for name, value in state['buffers'].items()
                    if not torch.equal(value, saved[name])
                }
            self.collected = states

    def state(self, runner: Runner) -> dict[str, Any]:
        """State of this process between two iterations."""
        assert self.progress is not None
        return dict(
            random=random_states(),
            data=self.progress.state(),
            val_workers=self.val_workers and self.val_workers.state(),
            gradients=waiting_gradients(runner),
            buffers={
                name: value.cpu().clone()
                for name, value in named_buffers(runner).items()
            }
            if get_world_size() > 1
            else {},
        )

    def validate_if_owed(self, runner: Runner) -> None:
        """Run the validation that was due when the checkpoint was saved.

        mmengine's loops validate after an iteration or epoch, and resume with
        the next one.
        """
        self.owes_validation = False
        loop = runner.train_loop
        loop._decide_current_val_interval()
        if trains_in_epochs(loop):
            done, last = loop.epoch, loop.max_epochs
        else:
            done, last = loop.iter, loop.max_iters
        if (
            runner.val_loop is None
            or done < loop.val_begin
            or (done % loop.val_interval and done != last)
        ):
            return
        for name in ('epoch', 'iter'):
            runner.message_hub.update_info(name, self.infos[name])
        for hook in checkpoint_hooks(runner):
            # Saved again if the validation is the best.
            hook.last_ckpt = runner.message_hub.get_info('last_ckpt')
        runner.val_loop.run()


def setting(runner: Runner) -> dict[str, Any]:
    """Settings that must be equal for an exact resume."""
    loader: Loader = runner.train_dataloader
    return dict(
        train_loop=type(runner.train_loop).__name__,
        world_size=get_world_size(),
        num_workers=loader.num_workers,
        num_val_workers=runner.val_dataloader.num_workers
        if runner.val_loop
        else None,
        persistent_workers=loader.persistent_workers,
        batch_size=loader.batch_sampler.batch_size,
        num_images=len(loader.dataset),
    )


def waiting_gradients(runner: Runner) -> dict[str, Tensor]:
    """Gradients accumulated since the last step of the optimizer."""
    return {
        name: parameter.grad.cpu()
        for name, parameter in runner.model.named_parameters()
        if parameter.grad is not None
    }


def named_buffers(runner: Runner) -> dict[str, Tensor]:
    """Buffers of the model and of its EMA."""
    modules = dict(model=runner.model)
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            modules['ema'] = hook.ema_model
    return dict(nn.ModuleDict(modules).named_buffers())


def order_of(
    data: dict[str, Any], before: dict[str, Any], now: dict[str, Any]
) -> dict[str, Any]:
    """Data state that continues after the images already trained on.

    Args:
        data: State of a process when the checkpoint was saved.
        before: The ``setting`` at that time.
        now: The ``setting`` of this training.
    """
    seen, images = (
        setting['world_size'] * setting['batch_size']
        for setting in (before, now)
    )
    position = data['position'] * seen // images
    return dict(data, position=position, workers=None)


def checkpoint_hooks(runner: Runner) -> list[CheckpointHook]:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def is_due(hook: CheckpointHook, runner: Runner) -> bool:
    """Whether an iteration-based hook saves after this iteration."""
    return hook.every_n_train_iters(
        runner, hook.interval, hook.save_begin
    ) or (hook.save_last and hook.is_last_train_iter(runner))


def check_named(name: str) -> None:
    """Check a checkpoint named by the user.

    Raises:
        ValueError: It is truncated.
    """
    path = Path(name)
    if path.exists() and is_broken(path):
        raise ValueError(
            f'{name} is not a complete checkpoint: resume from another, or '
            'with --resume alone from the newest complete one'
        )


def warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)

"""Save the position of a training loop in its data and resume there.

A data loader of torch knows neither its position nor the random states of its
workers, which are batches ahead of the training. Here every batch carries the
states that its worker had after the batch.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, repeat
from typing import Any

import torch
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import BaseLoop
from torch.utils.data import get_worker_info

from .random_states import random_states, restore_random_states

# torch declares `batch_sampler` as any iterable; mmengine's are more.
Loader = Any

REPORT = 'random_states_of_worker'
"""Key of a batch, removed by ``Workers.take``."""


class DataProgress:
    """Progress of a training loop through its data.

    Args:
        loop: An EpochBasedTrainLoop, or an IterBasedTrainLoop, for which this
            object is the data iterator after ``start``.
        config: The ``train_dataloader`` that its data loader was built from.
    """

    def __init__(self, loop: BaseLoop, config: dict) -> None:
        self.loop = loop
        self.loader: Loader = loop.dataloader
        self.config = config
        self.iterator: Any = None
        self.workers = Workers(self.loader)
        self.position = 0
        self.skipped = 0

    @property
    def by_iteration(self) -> bool:
        return not trains_in_epochs(self.loop)

    def state(self) -> dict[str, Any]:
        """State for ``start`` to continue from here."""
        return dict(
            sampler_seed=sampler_seed(self.loader),
            epoch=self.iterator._epoch if self.by_iteration else 0,
            position=self.position,
            workers=self.workers.state(),
        )

    def start(self, state: dict[str, Any] | None) -> None:
        """Prepare the data before the loop starts.

        Args:
            state: Saved state at the iteration to resume from; None to leave
                the position to mmengine. Its ``workers`` are None if they
                restart.
        """
        self.workers.listen()
        workers = state and state['workers']
        if workers is not None:
            self.workers.restore(workers)
        if self.by_iteration:
            self.iterator = self.loop.dataloader_iterator
            if self.loader.num_workers or state is not None:
                self.iterator = self.restart(state)
            self.loop.dataloader_iterator = self
        elif state is not None:
            rewind(self.loader, self.config, state['sampler_seed'])
            if workers is not None:
                self.workers.resume_persistent()

    def restart(self, state: dict[str, Any] | None) -> Iterator:
        """Rebuild the loop's iterator, without batches read ahead.

        The loop built it before any hook ran, so its workers report nothing
        and its sampler starts at 0.
        """
        loader = self.loader
        kind = type(self.loop.dataloader_iterator)
        # Persistent workers keep both alive.
        self.iterator = self.loop.dataloader_iterator = loader._iterator = None
        seed = sampler_seed(loader)
        rewind(loader, self.config, state['sampler_seed'] if state else seed)
        if state is None:
            return made(kind, loader)
        init, batches = loader.worker_init_fn, loader.batch_sampler
        sampler = batches.sampler
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(state['epoch'])
        self.position = state['position']
        # Skip the loop's own advance, which loads the batches that it skips.
        self.skipped = 0 if hasattr(kind, 'skip_iter') else self.loop.iter
        # Workers take turns, so the next batch must be from the same worker.
        turns = self.position % max(loader.num_workers, 1)
        loader.worker_init_fn = WorkerStart(init, self.workers.states)
        # torch refuses to replace the sampler of a loader that may have
        # started; this one has not.
        object.__setattr__(
            loader,
            'batch_sampler',
            RemainingBatches(batches, self.position, turns),
        )
        try:
            iterator = made(kind, loader)
            iterator._epoch = state['epoch']
            for _ in range(turns):
                next(iterator)
        finally:
            object.__setattr__(loader, 'batch_sampler', batches)
            loader.worker_init_fn = init
        return iterator

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self.skipped:
            self.skipped -= 1
            return None
        epoch = self.iterator._epoch
        batch = next(self.iterator)
        if self.iterator._epoch != epoch:
            self.position = 0
            if not self.loader.persistent_workers:
                self.workers.states = [None] * self.loader.num_workers
        self.position += 1
        self.workers.take(batch)
        return batch

    def skip_iter(self, num_iters: int) -> None:
        """Advance; called by the loop of onedl-mmengine when it resumes."""
        if not self.position:
            self.iterator.skip_iter(num_iters)
            self.position = num_iters


class Workers:
    """Random states of a data loader's workers, and their seed.

    Args:
        loader: Built by mmengine.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.seed = getattr(loader.worker_init_fn, 'keywords', {}).get('seed')
        self.states: list[bytes | None] = [None] * loader.num_workers

    def listen(self) -> None:
        """Let batches carry states, in passes that start from now on."""
        if self.loader.num_workers:
            self.loader.collate_fn = ReportingCollate(self.loader.collate_fn)

    def take(self, batch: Any) -> None:
        """Remove the worker's states from a batch and keep them."""
        if isinstance(batch, dict) and REPORT in batch:
            index, states = batch.pop(REPORT)
            self.states[index] = states

    def state(self) -> dict[str, Any]:
        states = [states and pickle.loads(states) for states in self.states]
        return dict(seed=self.seed, states=states)

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of a loader with the same workers."""
        self.states = [
            states and pickle.dumps(states) for states in state['states']
        ]
        self.seed = state['seed']
        if self.seed is not None:
            self.loader.worker_init_fn = partial(
                self.loader.worker_init_fn, seed=self.seed
            )

    def resume_persistent(self) -> None:
        """Start a pass as if persistent workers already existed."""
        if self.loader.persistent_workers:
            self.loader.worker_init_fn = WorkerStart(
                self.loader.worker_init_fn, self.states
            )
            # Only the first pass draws a seed from torch's random state.
            self.loader.generator = torch.Generator()


class ReportingCollate:
    """A collate function that adds the worker's random states to a batch.

    It returns None for an empty list, which stands for a skipped batch.
    """

    def __init__(self, collate_fn: Callable) -> None:
        self.collate_fn = collate_fn

    def __call__(self, samples: Sequence) -> Any:
        if not samples:
            return None
        batch = self.collate_fn(samples)
        worker = get_worker_info()
        if worker is not None and isinstance(batch, dict):
            # Bytes are sent to the main process faster than a tensor.
            batch[REPORT] = worker.id, pickle.dumps(random_states())
        return batch


class WorkerStart:
    """A ``worker_init_fn`` that restores the worker's saved states.

    Args:
        init_fn: Function to call first, or None.
        workers: Pickled states of each worker; None to restore nothing.
    """

    def __init__(
        self, init_fn: Callable | None, workers: Sequence[bytes | None]
    ) -> None:
        self.init_fn = init_fn
        self.workers = workers

    def __call__(self, index: int) -> None:
        if self.init_fn is not None:
            self.init_fn(index)
        states = self.workers[index]
        if states is not None:
            restore_random_states(pickle.loads(states))


class RemainingBatches:
    """A batch sampler that skips the first batches of its first pass.

    Args:
        batches: Batch sampler, at the start of a pass.
        position: Number of batches to skip; their indices are drawn.
        empty: Number of empty batches to yield instead.
    """

    def __init__(self, batches: Any, position: int, empty: int) -> None:
        self.batches = batches
        self.empty = empty
        self.first: Iterator | None = iter(batches)
        deque(islice(self.first, position), maxlen=0)

    def __iter__(self) -> Iterator:
        if self.first is None:
            yield from self.batches
            return
        first, self.first = self.first, None
        yield from repeat([], self.empty)
        yield from first

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)


def trains_in_epochs(loop: BaseLoop) -> bool:
    """Whether it is an EpochBasedTrainLoop, not an IterBasedTrainLoop."""
    return not hasattr(loop, 'dataloader_iterator')


def made(kind: type, loader: Loader) -> Any:
    """Build the loop's iterator over a loader and start its workers."""
    iterator = kind(loader)
    # onedl-mmengine starts them late.
    getattr(iterator, '_ensure_iterator', lambda: None)()
    return iterator


def rewind(loader: Loader, config: dict, seed: int | None) -> None:
    """Reset the samplers to their initial state.

    Args:
        loader: Data loader built from the config.
        config: A ``train_dataloader``.
        seed: Seed of the sampler.
    """
    batches = loader.batch_sampler
    sampler = batches.sampler
    fresh = DATA_SAMPLERS.build(
        config['sampler'], default_args=dict(dataset=loader.dataset, seed=seed)
    )
    vars(sampler).update(vars(fresh))
    if config.get('batch_sampler') is not None:
        fresh = DATA_SAMPLERS.build(
            config['batch_sampler'],
            default_args=dict(sampler=sampler, batch_size=batches.batch_size),
        )
        vars(batches).update(vars(fresh))


def sampler_seed(loader: Loader) -> int | None:
    return getattr(loader.batch_sampler.sampler, 'seed', None)

"""Stands in for mmdet's train script: logs, checkpoints, resumes, fails.

It logs less often than it validates, and saves before, as mmengine does or
may. It shouts, by a file named `overlap`, where two of them train one
trial at once, and writes a line into `ended` where one comes to its end.
"""

import fcntl
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from zipfile import ZipFile


def main() -> None:
    config, _, work_dir, *options = sys.argv[1:]
    folder = Path(work_dir)
    cfg = runpy.run_path(config)
    model, loop = cfg['model'], cfg['train_cfg']
    if not cfg.get('listens', True):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lock = (folder / 'stand-in.lock').open('a')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        (folder / 'overlap').touch()
    first = 0
    if '--resume' in options:
        with ZipFile(options[options.index('--resume') + 1]) as checkpoint:
            first = int(checkpoint.read('step'))
    log = folder / f'{time.time():.6f}' / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    pause = 1 / cfg.get('steps_per_second', 20.0)
    for step in range(first + 1, loop['max_iters'] + 1):
        time.sleep(pause)
        if cfg.get('fails') or model.get('fails'):
            print('an early line\n\nValueError: the model fails', flush=True)
            sys.exit(3)
        if step % 4 == 0:  # The interval of the logger.
            write(log, dict(loss=1 / step, step=step, iter=step))
        part = folder / 'part'
        with ZipFile(part, 'w') as checkpoint:
            checkpoint.writestr('step', str(step))
        os.replace(part, folder / f'iter_{step}.pth')
        (folder / f'iter_{step - 3}.pth').unlink(missing_ok=True)
        # As mmengine does, behind the checkpoint.
        if step % loop['val_interval'] == 0:
            time.sleep(pause)
            seed = cfg['randomness']['seed']
            ap = step / (10 + model.get('gamma', 0.0) + seed)
            write(log, {'coco/bbox_mAP': ap, 'time': 1.0, 'step': step})
    if first < loop['max_iters']:
        with (folder / 'ended').open('a') as file:
            file.write(f'{os.getpid()}\n')


def write(log: Path, record: dict) -> None:
    with log.open('a') as file:
        file.write(json.dumps(record) + '\n')


if __name__ == '__main__':
    main()

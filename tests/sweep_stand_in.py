"""Stands in for mmdet's train script: logs, checkpoints, resumes, fails.

It shouts, by a file named `overlap`, where two of them train one trial at
once, and writes a line into `ended` where one comes to its end.
"""

import fcntl
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path


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
    checkpoint = folder / 'last_checkpoint'
    first = int(checkpoint.read_text()) if '--resume' in options else 0
    log = folder / f'{time.time():.6f}' / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    for step in range(first + 1, loop['max_iters'] + 1):
        time.sleep(1 / cfg.get('steps_per_second', 20.0))
        if cfg.get('fails') or model.get('fails'):
            print('an early line\n\nValueError: the model fails', flush=True)
            sys.exit(3)
        records = [dict(loss=1 / step, step=step, iter=step)]
        if step % loop['val_interval'] == 0:
            ap = step / (
                10 + model.get('gamma', 0.0) + cfg['randomness']['seed']
            )
            # As mmengine numbers the validations of a run by steps.
            records.append({'coco/bbox_mAP': ap, 'time': 1.0, 'step': 0})
        with log.open('a') as file:
            file.writelines(json.dumps(record) + '\n' for record in records)
        part = folder / 'part'
        part.write_text(str(step))
        os.replace(part, checkpoint)
    if first < loop['max_iters']:
        with (folder / 'ended').open('a') as file:
            file.write(f'{os.getpid()}\n')


if __name__ == '__main__':
    main()

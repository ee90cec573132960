"""A small log of a run."""

import json


def write_run(folder, records: list[dict]) -> None:
    folder.mkdir(parents=True)
    lines = [json.dumps(record) for record in records]
    (folder / 'scalars.json').write_text('\n'.join(lines))


TRAINING = [
    dict(loss=2.0 / step, loss_cls=1.5 / step, lr=0.1, step=step)
    for step in (1, 2, 3)
]

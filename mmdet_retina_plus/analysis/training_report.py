"""Report of a training run: its last metrics, losses and pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

from mmdet_retina_plus.common.scalar_log import read_records

if TYPE_CHECKING:
    from rich.table import Table

TILES = 12
"""Pictures on a contact sheet, three per row."""


def newest_folder(work_dir: Path, pattern: str) -> Path | None:
    """Latest matching folder, None if no folder matches."""
    folders = [path for path in work_dir.glob(pattern) if path.is_dir()]
    return max(folders, key=lambda path: path.stat().st_mtime, default=None)


def read_scalars(work_dir: Path) -> list[dict]:
    """Read the records of the latest training run that logged a loss.

    Raises:
        ValueError: No run below `work_dir` logged a loss, or a log is broken.
    """
    files = sorted(
        work_dir.glob('*/vis_data/scalars.json'),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for file in files:
        records = read_records(file)
        if any('loss' in record for record in records):
            return records
    raise ValueError(
        f'No training run has logged a loss below {work_dir}: name the '
        '--work-dir of `mim train mmdet CONFIG`'
    )


def draw_pictures(records: list[dict], work_dir: Path) -> list[Path]:
    """Draw the losses, and a sheet of the predictions of the latest test.

    Args:
        records: Result of `read_scalars`.
        work_dir: Work dir, searched for predictions and written into.

    Returns:
        Paths of the pictures.
    """
    pictures = [draw_losses(records, work_dir / 'loss_curve.png')]
    drawn = newest_folder(work_dir, '**/predictions')
    sheet = drawn and contact_sheet(drawn, work_dir / 'contact_sheet.png')
    return [*pictures, sheet] if sheet else pictures


def metric_table(records: list[dict]) -> 'Table':
    """Make a table of the metrics of the last validation, in percent."""
    from rich.table import Table

    table = Table(title='Last validation')
    table.add_column('metric')
    table.add_column('%', justify='right')
    # mmdet returns no metric if nothing was detected.
    validations = [record for record in records if 'loss' not in record]
    metrics = {
        name: value
        for name, value in (validations or [{}])[-1].items()
        if name.startswith('coco/')
    }
    for name, value in (metrics or {'coco/bbox_mAP': 0.0}).items():
        # pycocotools returns -1 if no object has the size.
        shown = f'{100 * value:.1f}' if value >= 0 else 'no such object'
        table.add_row(name.removeprefix('coco/'), shown)
    return table


def draw_losses(records: list[dict], path: Path) -> Path:
    """Plot every loss over the training steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    training = [record for record in records if 'loss' in record]
    names = [name for name in training[0] if 'loss' in name]
    figure = Figure(figsize=(7, 4), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xlabel='step', ylabel='loss', title='Training loss'
    )
    for name in names:
        axes.plot(
            [record['step'] for record in training],
            [record.get(name, float('nan')) for record in training],
            label=name,
        )
    # After plotting, which would no longer extend the other limit.
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    return path


def contact_sheet(folder: Path, path: Path) -> Path | None:
    """Tile the first pictures of a folder, truth left and prediction right.

    Returns:
        `path`, or None if the folder has no picture.
    """
    import cv2
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    files = sorted(folder.iterdir())[:TILES]
    loaded = [cv2.imread(str(file)) for file in files]
    images = [image[..., ::-1] for image in loaded if image is not None]
    if not images:
        return None
    rows = -(-len(images) // 3)
    height, width = [max(x.shape[side] for x in images) for side in (0, 1)]
    figure = Figure(
        figsize=(15, rows * (0.3 + 5 * height / width)), layout='constrained'
    )
    FigureCanvasAgg(figure)
    for axes in figure.subplots(rows, 3, squeeze=False).flat:
        axes.set_axis_off()
    for axes, image in zip(figure.axes, images, strict=False):
        axes.imshow(image)
        for at, title in ((0.25, 'truth'), (0.75, 'prediction, score in %')):
            axes.text(
                at,
                1.02,
                title,
                ha='center',
                va='bottom',
                transform=axes.transAxes,
            )
    figure.savefig(path, dpi=110)
    return path

"""Find the study of a sweep by its work dir, storage or name."""

from pathlib import Path

from .trial_queue import GRACE, SweepStudy

JOURNAL = 'study.log'
"""Name of the journal in a work dir."""


def find_study(
    work_dir: Path,
    storage: str | None,
    name: str | None,
    grace: float | None = None,
    new: bool = False,
) -> SweepStudy:
    """Open the study of a work dir, from its journal without a storage.

    Args:
        work_dir: Work dir, whose name is that of the study unless its
            journal holds a single study of another name.
        storage: URL of a database, or path of a journal.
        name: Name of the study.
        grace: See `SweepStudy`; None is its default.
        new: Whether the journal may be missing, as before the first run.

    Raises:
        ValueError: The folder or the journal is missing.
    """
    if storage is None and not work_dir.is_dir():
        raise ValueError(
            f'{work_dir} is not a folder: use the work dir of a sweep, or set '
            'the storage of the study with --storage'
        )
    # A worker may change its current folder later.
    journal = Path(storage or work_dir / JOURNAL).absolute()
    url = storage if storage and '://' in storage else None
    if not url and not new and not journal.is_file():
        raise ValueError(
            f'There is no {journal}: use the work dir of a sweep, or set the '
            'storage of the study with --storage'
        )
    study_name = name or work_dir.resolve().name
    study = SweepStudy(url or str(journal), study_name, grace or GRACE)
    names = study.names() if storage is None and name is None else []
    if names and study.name not in names:
        if len(names) > 1:
            raise ValueError(
                f'{journal} has the studies {", ".join(names)}: choose one '
                'with --study-name'
            )
        # The folder had another name when the sweep began.
        study.name = names[0]
    return study

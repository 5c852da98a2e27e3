"""What one person may have, where the users file sets a limit. Without a login there is none."""

from pathlib import Path

from core.errors import UserError
from core.files import size_of
from core.settings import settings
from core.users import Limits, users


def limits(owner: str) -> Limits:
    file = settings().auth
    user = users(file).all().get(owner) if file else None
    return user.limits if user else Limits()


def check_rows(owner: str, rows: int) -> None:
    """Raise UserError where a dataset of so many rows is more than this person may have."""
    most = limits(owner).rows
    if most is not None and rows > most:
        raise UserError(
            f"These are {rows:,} examples, and you may bring {most:,} at once.",
            "Bring fewer, or ask who runs Graft for more.",
        )


def check_disk(owner: str, folder: Path, coming: str = "") -> None:
    """Raise UserError where the person's `folder` is as large as it may be, with datasets, runs,
    uploads, trash and caches. `coming` is the name of what has just been put there."""
    most = limits(owner).disk
    if most is not None and (used := size_of(folder)) >= most * 1e9:
        what = f"With “{coming}”, what you have here" if coming else "What you have here"
        raise UserError(
            f"{what} takes {used / 1e9:.1f} GB, and you may have {most:g} GB.",
            "Delete what you don't need (Disk shows it), or ask who runs Graft for more.",
        )


def check_waiting(owner: str, waiting: int, more: int = 1) -> None:
    """Raise UserError where the person has so many runs in the line that `more` are too many."""
    most = limits(owner).waiting
    if most is None or waiting + more <= most:
        return
    if more > 1:
        raise UserError(
            f"These are {more} runs; {waiting} of yours wait already, and you may have {most} in "
            "the line.",
            "Start fewer, or start them later.",
        )
    raise UserError(
        f"{waiting} of your runs wait already, and you may have {most} in the line.",
        "Start it when one of them has begun.",
    )

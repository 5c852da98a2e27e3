"""How large and how long an import may be, and the watch that it stands under.

The figures are far beyond what trains well; they stop files that were made to exhaust a machine,
and mistakes. Whoever goes over one is told the figure and what to do.
"""

import time
from collections.abc import Callable

from core.data.findings import Cancelled, Refused

ROWS = 20_000_000
COLUMNS = 1_000
SECONDS = 3_600.0
UNPACKED_AT_LEAST, UNPACKED_TIMES = 1 << 30, 200  # an archive that grows beyond both is a trap
SHEET_BYTES, SHEET_CELLS = 512 << 20, 20_000_000  # of a workbook, which is held whole
DOCUMENT_BYTES, DOCUMENT_PAGES = 256 << 20, 10_000  # of a Word document or a PDF


class Watch:
    """Tells how far an import is, and ends it when it is called off or takes too long."""

    def __init__(
        self, progress: Callable[[float], object] | None = None, seconds: float | None = None
    ) -> None:
        self._progress = progress
        self._seconds = SECONDS if seconds is None else seconds
        self._ends = time.monotonic() + self._seconds
        self._told, self._at = -1.0, 0.0

    def tell(self, fraction: float) -> None:
        """Raises Cancelled where `progress` returned False, Refused when the time is over."""
        fraction, now = min(1.0, fraction), time.monotonic()
        if fraction >= 1.0 or fraction >= self._told + 0.005 or now > self._at + 0.2:
            self._told, self._at = fraction, now
            if self._progress and self._progress(fraction) is False:
                raise Cancelled("The import was cancelled; nothing of it was kept.")
        if now > self._ends:
            raise Refused(
                f"The import took longer than {self._seconds / 60:.0f} minutes and was ended.",
                "Bring a part of the file.",
            )


def check_columns(name: str, columns: list[str]) -> None:
    if len(columns) > COLUMNS:
        raise Refused(
            f"“{name}” has {len(columns):,} columns; Graft reads tables of up to {COLUMNS:,}.",
            "Keep the columns that are worth learning and bring the file again.",
        )


def check_rows(count: int) -> None:
    if count > ROWS:
        raise Refused(
            f"The file has more than {ROWS:,} rows; Graft takes no more at once.",
            "Bring a part of the file.",
            rows=count,
        )

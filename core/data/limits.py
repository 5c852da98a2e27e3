"""How large and how long an import may be, and the watch that it stands under.

The figures are far beyond what trains well; they stop files that were made to exhaust a machine,
and mistakes. Whoever goes over one is told the figure and what to do.
"""

import time
from collections.abc import Callable

from core.data.findings import Cancelled, Refused

TOO_FEW = 8  # rows, of which nothing is learned
ROWS = 20_000_000
COLUMNS = 1_000
SECONDS = 3_600.0
FILES = 5_000  # in an archive
UNPACKED_AT_LEAST, UNPACKED_TIMES = 256 << 20, 100  # an archive that grows beyond both is a trap
LINE = 64 << 20  # characters of a line of text
ROW_BYTES = 16 << 20  # of one example, ten books
ROWS_AT_LEAST, ROWS_TIMES = 1 << 30, 20  # bytes of all examples, beyond both: a trap too
VALUES = 20_000_000  # in a JSON object that is held whole
SHEET_BYTES, SHEET_CELLS = 512 << 20, 20_000_000  # of a workbook, which is held whole
DOCUMENT_BYTES, DOCUMENT_PAGES = 64 << 20, 10_000  # of a Word document or a PDF
DOCUMENT_PARTS = 3_000_000  # XML elements of a document


class Watch:
    """Tells how far an import is, and ends it when it is called off or takes too long."""

    def __init__(
        self, progress: Callable[[float], object] | None = None, seconds: float | None = None
    ) -> None:
        self._progress = progress
        self._seconds = SECONDS if seconds is None else seconds
        self._ends = time.monotonic() + self._seconds
        self._told, self._at = -1.0, 0.0
        self.unpacked = 0  # bytes that came out of archives so far

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


def check_files(name: str, count: int) -> None:
    if count > FILES:
        raise Refused(
            f"“{name}” has {count:,} files in it; Graft looks through up to {FILES:,}.",
            "Bring the files that hold your examples, or join them into one before.",
        )


def check_line(name: str, number: int, line: str | bytes) -> None:
    if len(line) > LINE:
        raise Refused(
            f"Line {number:,} of “{name}” is longer than {LINE >> 20} million characters.",
            "Look into the file: lines usually end after a row or a paragraph.",
        )

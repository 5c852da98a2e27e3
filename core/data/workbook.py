"""python -I workbook.py WORKBOOK CELLS BYTES: all cells of a workbook (XLSX, XLS, ODS) as text.

The library holds a workbook whole, and some that are made for it need a thousand times their size:
one cell in the last corner, a text of a megabyte that stands in each cell. In a process of its own
they meet a limit of memory and of what is written, and take nobody with them.

CELLS gets at most BYTES of JSON lines: {"sheet": name}, then its rows as lists of texts; and
{"error": …, "locked": …} where it can't be read. Formulas are not computed: a cell has the value
that was saved with it.
"""

import datetime
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import python_calamine

MEMORY = 4 << 30  # bytes


def main(path: str, into: str, most_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):  # not every system knows these limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(into).open("wb") as file:

        def write(value: Any) -> None:
            file.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))

        try:
            book = python_calamine.CalamineWorkbook.from_path(path)
            for name in book.sheet_names:
                write({"sheet": name})
                for row in book.get_sheet_by_name(name).to_python(skip_empty_area=False):
                    write([cell(value) for value in row])
        except python_calamine.PasswordError:
            write({"error": "", "locked": True})
        except (python_calamine.CalamineError, OSError, ValueError) as error:
            write({"error": str(error), "locked": False})


def cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return str(value)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

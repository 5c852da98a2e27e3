"""Files are written whole or not at all; logs are JSON lines that forgive a torn end."""

import functools
import json
import os
import sys
from collections.abc import Iterable, Iterator
from errno import EBADF, EINVAL, ENOTSUP
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from core.errors import Damaged

RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{n}{i}" for n in ("COM", "LPT") for i in range(10)}
"""Names that no file may have on Windows."""

_encode = functools.partial(orjson.dumps, default=str, option=orjson.OPT_APPEND_NEWLINE)


def write_bytes(path: Path, content: bytes, parents: bool = True) -> None:
    """Replace `path` in one step: a reader, or a crash, sees the old file or the new one.

    Folders that are missing are made, unless `parents` is False: then FileNotFoundError.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Hand a file's bytes, or a folder's names, to the disk itself: the power may fail next."""
    folder = path.is_dir()
    if folder and sys.platform == "win32":  # which has no such thing
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not folder or error.errno not in (EBADF, EINVAL, ENOTSUP):  # nor have some file systems
            raise
    finally:
        os.close(descriptor)


def linked(source: Path, target: Path) -> bool:
    """Whether the file has a second name now, `target`; not every disk can do that."""
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True


def size_of(path: Path) -> int:
    """Of a file, or of all files below a folder; 0 where there is none. What a link leads to is
    not counted."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            return sum(
                size_of(Path(entry.path))
                if entry.is_dir(follow_symlinks=False)
                else entry.stat(follow_symlinks=False).st_size
                for entry in entries
            )
    except FileNotFoundError:  # gone a moment ago
        return 0


def write_text(path: Path, text: str, parents: bool = True) -> None:
    write_bytes(path, text.encode("utf-8"), parents)


def write_json(path: Path, value: Any, parents: bool = True) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n", parents)


def read_json(path: Path, default: Any = None) -> Any:
    """The parsed file, or `default` where there is none. Raises Damaged where it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (ValueError, RecursionError):
        raise Damaged(f"{path.name} is damaged.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise Damaged(f"{path.name} can't be read: {error.strerror}.") from None


def read_facts(path: Path, *keys: str) -> dict[str, Any] | None:
    """The object in `path`, which has these keys; None where there is no such file.

    Raises Damaged for anything else.
    """
    facts = read_json(path)
    if facts is None and not path.exists():
        return None
    if not isinstance(facts, dict) or not set(keys) <= facts.keys():
        raise Damaged(f"{path.name} is damaged.")
    return facts


def write_jsonl(path: Path, rows: Iterable[Any], parents: bool = True) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), parents)


def encode(row: Any) -> bytes:
    """One line of a JSON-lines file, quickly."""
    try:
        return _encode(row)
    except TypeError:  # numbers of more than 64 bits, halves of characters
        return (json.dumps(row, default=str) + "\n").encode()


def encode_all(rows: list[Any]) -> list[bytes]:
    """`encode` of each, still quicker."""
    try:
        return list(map(_encode, rows))
    except TypeError:
        return list(map(encode, rows))


def append_jsonl(path: Path, row: Any) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path, tail: int | None = None, forgiving: bool = False) -> Iterator[Any]:
    """The rows of `path`, none where it does not exist. A torn last line is skipped.

    With `tail`, only the rows that stand whole in the last so many bytes. Another line that is no
    JSON raises Damaged; where one missing row does no harm, `forgiving` skips it.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        if tail is not None and (size := file.seek(0, os.SEEK_END)) > tail:
            file.seek(size - tail)
            file.readline()
        elif tail is not None:
            file.seek(0)
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                continue
            try:
                row = json.loads(line)
            except ValueError:
                if forgiving:
                    continue
                raise Damaged(f"{path.name} is damaged in line {number}.") from None
            yield row

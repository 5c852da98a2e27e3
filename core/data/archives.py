"""Archives: .gz, .bz2 and .zip are unpacked beside the import, and never grow beyond limits."""

import bz2
import gzip
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from core.data.findings import NeedsChoice, Notes, Refused
from core.data.limits import UNPACKED_AT_LEAST, UNPACKED_TIMES, Watch, check_files

BLOCK = 1 << 20


def damaged(name: str, kind: str, error: Exception) -> Refused:
    return Refused(
        f"“{name}” is a {kind} file, but it is damaged or cut off ({error}).",
        "Make or download it again.",
    )


def unpack(
    kind: str,
    path: Path,
    name: str,
    member: str | None,
    into: Path,
    limit: int,
    notes: Notes,
    watch: Watch,
) -> tuple[Path, str]:
    """(path, name) of the one file inside. `limit`: bytes that one import may unpack."""
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                inside = _member(archive, name, member)
                notes.file("unpacked", f"“{inside}” was read from the archive “{name}”.")
                with archive.open(inside) as packed:
                    copy_out(packed, into, limit, name, watch)
            return into, PurePosixPath(inside).name
        with gzip.open(path) if kind == "gzip" else bz2.open(path) as packed:
            copy_out(packed, into, limit, name, watch)
    except RuntimeError as error:  # how zipfile says that a password is needed
        raise Refused(
            f"“{name}” is locked with a password.", "Unpack it first and bring the file inside."
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError) as error:
        raise damaged(name, kind, error) from error
    return into, re.sub(r"\.(gz|gzip|bz2)$", "", name, flags=re.IGNORECASE)


def most_unpacked(path: Path) -> int:
    """Bytes that may come of what a person brought, archives in archives included."""
    return max(UNPACKED_AT_LEAST, UNPACKED_TIMES * path.stat().st_size)


def copy_out(packed, into: Path, limit: int, name: str, watch: Watch) -> None:
    """What an archive has packed, as a file; `limit`: bytes that all of its files may come to."""
    with into.open("wb") as file:
        while block := packed.read(BLOCK):
            watch.tell(0.0)
            watch.unpacked += len(block)
            if watch.unpacked > limit:
                raise Refused(
                    f"“{name}” grows to more than {limit >> 20:,} MB when it is unpacked.",
                    "Unpack it first and bring the file inside.",
                )
            if shutil.disk_usage(into.parent).free < 2 * len(block):
                raise Refused(f"There is not enough disk space to unpack “{name}”.")
            file.write(block)


def members(path: Path) -> list[str]:
    """The files of a zip that may hold examples: no folders, hidden, system or read-me files."""
    with zipfile.ZipFile(path) as archive:
        found = _members(archive)
    check_files(path.name, len(found))
    return found


def _members(archive: zipfile.ZipFile) -> list[str]:
    found = [
        info.filename
        for info in archive.infolist()
        if not info.is_dir()
        and not stat.S_ISLNK(info.external_attr >> 16)
        and info.file_size
        and not any(part.startswith((".", "__MACOSX")) for part in info.filename.split("/"))
    ]
    data = [
        inside
        for inside in found
        if not re.match(r"(read.?me|licen[cs]e|notice|changelog)\b", Path(inside).name, re.I)
    ]
    return data or found


def _member(archive: zipfile.ZipFile, name: str, member: str | None) -> str:
    """The one file to read."""
    if member is not None:
        if member not in archive.namelist():
            raise Refused(
                f"There is no “{member}” in “{name}”.", f"It has: {', '.join(_members(archive))}."
            )
        return member
    candidates = _members(archive)
    if not candidates:
        raise Refused(f"The archive “{name}” is empty.", "", rows=0)
    check_files(name, len(candidates))
    if len(candidates) > 1:
        raise NeedsChoice(
            f"“{name}” has {len(candidates)} files in it: {', '.join(candidates[:5])}"
            f"{' …' * (len(candidates) > 5)}.",
            "Choose the one to learn from, or join them if they are of the same kind.",
            members=candidates,
        )
    return candidates[0]

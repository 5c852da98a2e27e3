"""Files as one zip with CHECKSUMS (`sha256sum -c CHECKSUMS`) in it. The same files give the same
bytes, whenever and wherever, and none is too large (Zip64); weights are stored as they are, for
they don't shrink."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO
from uuid import uuid4

STORED = (".gguf", ".safetensors")
CHECKSUMS = "CHECKSUMS"
AT_ONCE = 1 << 22  # bytes


class _Sink:
    """What is written to it and not taken yet. It can’t be gone back in, so zipfile writes sizes
    after each file."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(piece)
        return len(piece)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def files_in(folder: Path) -> dict[str, Path]:
    """What `pack` takes: the files of a folder by their names in the zip, hidden ones left out."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): files[name]
        for name in sorted(files)
        if not any(part.startswith(".") for part in name.parts)
    }


def pack(
    target: Path,
    content: Mapping[str, Path | bytes],
    wrote: Callable[[int], None] = lambda done: None,
) -> Path:
    """`target`, which is there when it is whole; `wrote` hears of the bytes so far."""
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as stream:
            for done in _written(stream, content):
                wrote(done)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def packed(content: Mapping[str, Path]) -> Iterator[bytes]:
    """The zip piece by piece, for who takes no room on the disk for it; everything in it is stored
    as it is, so that `packed_size` is known before."""
    sink = _Sink()
    for _ in _written(sink, content, stored=True):
        yield sink.taken()
    yield sink.taken()


def packed_size(content: Mapping[str, Path]) -> int:
    """How many bytes `packed` gives: for each file what zipfile writes before it, after it and in
    the list at the end, which is longer for what needs more than 31 bits (Zip64)."""
    sizes = {name: one.stat().st_size for name, one in content.items()}
    sizes[CHECKSUMS] = sum(len(_checksum("0" * 64, name).encode()) for name in content)
    at = listed = 0
    for name, size in sizes.items():
        long = 16 * (size > zipfile.ZIP64_LIMIT) + 8 * (at > zipfile.ZIP64_LIMIT)
        listed += 46 + len(name.encode()) + (4 + long if long else 0)
        at += 50 + len(name.encode()) + size + 24
    return at + listed + 22 + 76 * (at > zipfile.ZIP64_LIMIT)


def _written(
    stream: IO[bytes] | _Sink, content: Mapping[str, Path | bytes], stored: bool = False
) -> Iterator[int]:
    """Write the zip; yields how many bytes of the content are written so far."""
    checksums, done = "", 0
    with zipfile.ZipFile(stream, "w") as archive:
        for name, one in content.items():
            digest = hashlib.sha256()
            with (
                one.open("rb") if isinstance(one, Path) else BytesIO(one) as source,
                archive.open(_entry(name, stored), "w", force_zip64=True) as entry,
            ):
                while block := source.read(AT_ONCE):
                    digest.update(block)
                    entry.write(block)
                    done += len(block)
                    yield done
            checksums += _checksum(digest.hexdigest(), name)
        with archive.open(_entry(CHECKSUMS, stored), "w", force_zip64=True) as entry:
            entry.write(checksums.encode())


def _checksum(digest: str, name: str) -> str:
    return f"{digest}  {name}\n"


def _entry(name: str, stored: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # 1 January 1980
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    stored = stored or name.endswith(STORED)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    return entry

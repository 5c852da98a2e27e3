"""Files as one zip with CHECKSUMS (`sha256sum -c CHECKSUMS`) in it. The same files give the same
bytes, whenever and wherever; weights are stored as they are, for they don't shrink."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

STORED = (".gguf", ".safetensors")
AT_ONCE = 1 << 22


def pack(target: Path, files: Sequence[Path], wrote: Callable[[int], None]) -> None:
    """`target` is there when it is whole; `wrote` hears of the bytes so far."""
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    checksums, done = [], 0
    try:
        with temporary.open("wb") as stream:
            with zipfile.ZipFile(stream, "w") as archive:
                for file in files:
                    digest = hashlib.sha256()
                    with (
                        file.open("rb") as source,
                        archive.open(_entry(file.name), "w", force_zip64=True) as entry,
                    ):
                        while block := source.read(AT_ONCE):
                            digest.update(block)
                            entry.write(block)
                            done += len(block)
                            wrote(done)
                    checksums.append(f"{digest.hexdigest()}  {file.name}\n")
                archive.writestr(_entry("CHECKSUMS"), "".join(checksums))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # 1 January 1980
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    stored = name.endswith(STORED)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    return entry

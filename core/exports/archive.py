"""Files as one zip with CHECKSUMS (`sha256sum -c CHECKSUMS`) in it. The same files give the same
bytes, whenever and wherever, and none is too large (Zip64); weights are stored as they are, for
they don't shrink."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from uuid import uuid4

STORED = (".gguf", ".safetensors")
AT_ONCE = 1 << 22  # bytes


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
    checksums, done = "", 0
    try:
        with temporary.open("wb") as stream:
            with zipfile.ZipFile(stream, "w") as archive:
                for name, one in content.items():
                    digest = hashlib.sha256()
                    with (
                        one.open("rb") if isinstance(one, Path) else BytesIO(one) as source,
                        archive.open(_entry(name), "w", force_zip64=True) as entry,
                    ):
                        while block := source.read(AT_ONCE):
                            digest.update(block)
                            entry.write(block)
                            done += len(block)
                            wrote(done)
                    checksums += f"{digest.hexdigest()}  {name}\n"
                archive.writestr(_entry("CHECKSUMS"), checksums)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # 1 January 1980
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    stored = name.endswith(STORED)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    return entry

"""A folder as one zip file. Nothing is compressed, for weights don't shrink, and no file is too
large for it (Zip64)."""

import shutil
import zipfile
from pathlib import Path

from core import disk
from core.errors import DoesNotFit
from core.files import size_of

AT_ONCE = 1 << 22  # bytes


def pack(folder: Path, target: Path) -> Path:
    """Raises DoesNotFit where there is no room for it."""
    if why := disk.lacking(target.parent, size_of(folder)):
        raise DoesNotFit(why, "Free some space, then download it again.")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # of 1 January 1980
            entry.external_attr = 0o644 << 16
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as packed:
                shutil.copyfileobj(source, packed, AT_ONCE)
    return target

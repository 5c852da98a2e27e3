"""A file as it came -> plain bytes on disk, what kind of file they are, and the encoding of text.

The bytes decide, not the name: an extension may be missing, upper-case or wrong. Archives are
unpacked into a temporary folder that lives as long as the `Source`. Text is decoded strictly over
the whole file before anything is made of it: byte order mark, UTF-16 by its pattern of NULs, UTF-8,
then a detector where letters beyond ASCII stand in runs (CJK, Cyrillic, Greek, …), then cp1252.
"""

import bz2
import codecs
import gzip
import io
import re
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, cast

import charset_normalizer

from core.data.findings import NeedsChoice, Notes, Refused

Kind = Literal["text", "sheets", "parquet", "arrow", "arrow stream"]

BLOCK = 1 << 20
SAMPLE = 1 << 18
UNPACKED_AT_LEAST, UNPACKED_TIMES = 1 << 30, 200  # an archive that grows beyond both is a trap

_SIGNATURES: list[tuple[bytes, str]] = [
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow stream"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "sheets"),
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "a rich text document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a model"),
    (b"OggS", "a sound"),
    (b"ID3", "a sound"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
]
_ADVICE = "Save the examples as CSV, Excel, JSON or plain text and bring that file."


@dataclass
class Source:
    """Plain bytes at `path`. `encoding` is its name for people, `codec` Python's, `-` if empty."""

    path: Path
    name: str
    kind: Kind
    encoding: str = "binary"
    codec: str = "utf-8"
    _folder: tempfile.TemporaryDirectory | None = None
    _raw: BinaryIO | None = field(default=None, repr=False)

    @property
    def extension(self) -> str:
        """In lower case, without the dot."""
        return PurePosixPath(self.name).suffix.lower().lstrip(".")

    def open_text(self, newline: str | None = None) -> io.TextIOWrapper:
        """The text from its first character, without a byte order mark; never fails to decode."""
        self._raw = self.path.open("rb")
        return io.TextIOWrapper(self._raw, encoding=self.codec, errors="replace", newline=newline)

    def fraction(self) -> float:
        """How much of the text that was opened last has been read, 0 to 1."""
        if self._raw is None or self._raw.closed:
            return 1.0
        return self._raw.tell() / max(1, self.path.stat().st_size)


def open_source(path: Path, name: str, member: str | None, notes: Notes) -> Source:
    """Unpack `path` as often as needed, recognise it, and find the encoding of text.

    Raises Refused for what can't hold examples, NeedsChoice for an archive with several files.
    """
    folder: tempfile.TemporaryDirectory | None = None
    packed = False
    for depth in range(4):
        kind = _kind(path, name)
        if kind not in ("gzip", "bzip2", "zip"):
            break
        if depth == 3:
            raise Refused(f"“{name}” is an archive in an archive in an archive.", _ADVICE)
        folder = folder or tempfile.TemporaryDirectory(prefix="graft-import-")
        path, name = _unpack(kind, path, name, member, Path(folder.name) / str(depth), notes)
        packed = True
    if path.stat().st_size == 0:
        raise Refused(
            "The file is empty: it has 0 bytes.",
            "Export it again, and look into it before you bring it.",
            rows=0,
            encoding="-",
        )
    if kind == "text":
        source = Source(path, name, "text", *_encoding(path, notes), _folder=folder)
    elif kind in ("sheets", "parquet", "arrow", "arrow stream"):
        source = Source(path, name, cast(Kind, kind), _folder=folder)
    else:
        raise Refused(f"“{name}” is {kind}: there are no examples to read in it.", _ADVICE)
    if packed:
        source.encoding = "binary"
    return source


def _kind(path: Path, name: str) -> str:
    with path.open("rb") as file:
        head = file.read(512)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            if kind == "zip":
                return _kind_of_zip(path, name)
            if kind == "bzip2" and head[4:10] != b"\x31\x41\x59\x26\x53\x59":
                continue
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive"
    if re.match(rb"\s*<(!doctype html|html|\?xml)", head, re.IGNORECASE):
        return "a web page or XML"
    return "text"


def _kind_of_zip(path: Path, name: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "mimetype" in names and b"opendocument" in archive.read("mimetype"):
                sheet = b"spreadsheet" in archive.read("mimetype")
                return "sheets" if sheet else "a text document"
    except (zipfile.BadZipFile, RuntimeError, OSError, zlib.error) as error:
        raise _damaged(name, "zip", error) from error
    if names & {"xl/workbook.xml", "xl/workbook.bin"}:
        return "sheets"
    if "word/document.xml" in names:
        return "a Word document"
    if "ppt/presentation.xml" in names:
        return "a presentation"
    if any(inside.endswith(("data.pkl", ".npy")) for inside in names):
        return "a model or an array"
    return "zip"


def _damaged(name: str, kind: str, error: Exception) -> Refused:
    return Refused(
        f"“{name}” is a {kind} file, but it is damaged or cut off ({error}).",
        "Make or download it again.",
    )


def _unpack(
    kind: str, path: Path, name: str, member: str | None, into: Path, notes: Notes
) -> tuple[Path, str]:
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                inside = _member(archive, name, member)
                notes.file("unpacked", f"“{inside}” was read from the archive “{name}”.")
                with archive.open(inside) as packed:
                    _copy(packed, into, path, name)
            return into, PurePosixPath(inside).name
        with gzip.open(path) if kind == "gzip" else bz2.open(path) as packed:
            _copy(packed, into, path, name)
    except RuntimeError as error:  # how zipfile says that a password is needed
        raise Refused(
            f"“{name}” is locked with a password.", "Unpack it first and bring the file inside."
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError) as error:
        raise _damaged(name, kind, error) from error
    return into, re.sub(r"\.(gz|gzip|bz2)$", "", name, flags=re.IGNORECASE)


def _copy(packed, into: Path, origin: Path, name: str) -> None:
    limit = max(UNPACKED_AT_LEAST, UNPACKED_TIMES * origin.stat().st_size)
    with into.open("wb") as file:
        while block := packed.read(BLOCK):
            if file.tell() + len(block) > limit:
                raise Refused(
                    f"“{name}” grows to more than {limit >> 20:,} MB when it is unpacked.",
                    "Unpack it first and bring the file inside.",
                )
            if shutil.disk_usage(into.parent).free < 2 * len(block):
                raise Refused(f"There is not enough disk space to unpack “{name}”.")
            file.write(block)


def _member(archive: zipfile.ZipFile, name: str, member: str | None) -> str:
    """The one file to read. Folders, hidden files and system files don't count."""
    members = [
        info.filename
        for info in archive.infolist()
        if not info.is_dir()
        and info.file_size
        and not any(part.startswith((".", "__MACOSX")) for part in info.filename.split("/"))
    ]
    if member in members:
        return member
    if member is not None:
        raise Refused(f"There is no “{member}” in “{name}”.", f"It has: {', '.join(members)}.")
    data = [
        inside
        for inside in members
        if not re.match(r"(read.?me|licen[cs]e|notice|changelog)\b", Path(inside).name, re.I)
    ]
    candidates = data or members
    if not candidates:
        raise Refused(f"The archive “{name}” is empty.", "", rows=0)
    if len(candidates) > 1:
        raise NeedsChoice(
            f"“{name}” has {len(candidates)} files in it: {', '.join(candidates[:5])}"
            f"{' …' * (len(candidates) > 5)}.",
            "Choose the one to learn from.",
            members=candidates,
        )
    return candidates[0]


def _encoding(path: Path, notes: Notes) -> tuple[str, str]:
    """Name and codec of the text at `path`; a guess is noted as a warning."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    for mark, name, codec in (
        (codecs.BOM_UTF8, "utf-8 + BOM", "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32-le + BOM", "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32-be + BOM", "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16-le + BOM", "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16-be + BOM", "utf-16"),
    ):
        if sample.startswith(mark):
            if not _decodes(path, codec):
                _warn_damaged(notes, name)
            return name, codec
    if pattern := _utf16_pattern(sample):
        return pattern, pattern
    if _decodes(path, "ascii"):
        return "ascii", "utf-8"
    if _decodes(path, "utf-8"):
        return "utf-8", "utf-8"
    return _eight_bit(path, notes)


def _decodes(path: Path, codec: str) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    with path.open("rb") as file:
        try:
            while block := file.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _utf16_pattern(sample: bytes) -> str | None:
    """Text that is mostly ASCII has a NUL in every second byte when it is UTF-16."""
    if len(sample) < 4 or len(sample) % 2:
        return None
    even, odd = (sample[start::2].count(0) / (len(sample) / 2) for start in (0, 1))
    if max(even, odd) < 0.4 or min(even, odd) > 0.05:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _eight_bit(path: Path, notes: Notes) -> tuple[str, str]:
    with path.open("rb") as file:
        while (sample := file.read(SAMPLE)).isascii():
            pass
    text = sample.decode("utf-8", errors="replace").rstrip("\ufffd")
    broken, sound = text.count("\ufffd"), sum(letter > "\x7f" for letter in text)
    if sound - broken > 10 * broken:
        _warn_damaged(notes, "utf-8")
        return "utf-8", "utf-8"
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", sample)]
    if sum(run for run in runs if run > 2) > sum(runs) / 2:
        for match in charset_normalizer.from_bytes(sample):
            if _decodes(path, match.encoding):
                notes.file(
                    "encoding",
                    f"The text is not UTF-8; it was read as {match.encoding}. "
                    "Look at a few rows: are all letters right?",
                    "warning",
                )
                return match.encoding, match.encoding
    notes.file(
        "encoding",
        "The text is not UTF-8; it was read as cp1252 (Windows, western Europe). "
        "Look at a few rows: are accents and signs right? If not, save the file as UTF-8.",
        "warning",
    )
    return "cp1252", "cp1252"


def _warn_damaged(notes: Notes, name: str) -> None:
    notes.file(
        "damaged_characters",
        f"The text is {name}, but a few of its characters are damaged; "
        "they were replaced by \ufffd.",
        "warning",
    )

"""A file as it came -> plain bytes on disk, what kind of file they are, and the encoding of text.

The bytes decide, not the name: an extension may be missing, upper-case or wrong. Archives are
unpacked into a temporary folder that lives as long as the `Source`.
"""

import io
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, cast

from core.data.archives import damaged, most_unpacked, unpack
from core.data.encodings import encoding_of
from core.data.findings import Notes, Refused
from core.data.limits import LINE, Watch, check_line
from core.data.office import text_of

Kind = Literal["text", "sheets", "parquet", "arrow", "arrow stream"]

_SIGNATURES: list[tuple[bytes, str]] = [
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow stream"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "sheets"),
    (b"%PDF", "pdf"),
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


BINARY = 0.06  # of the bytes being control characters; in random bytes they are a tenth
_CONTROLS = [bytes([code]) for code in (*range(1, 9), *range(14, 27), *range(28, 32))]


@dataclass
class Source:
    """Plain bytes at `path`. `encoding` is its name for people, `codec` Python's, `-` if empty.

    What came out of an archive is `binary`, and the encoding of its text `packed_encoding`.
    """

    path: Path
    name: str
    kind: Kind
    encoding: str = "binary"
    packed_encoding: str = "binary"
    codec: str = "utf-8"
    prose: bool = False  # the text of a document, whatever its name says
    _folder: tempfile.TemporaryDirectory | None = None
    _raw: BinaryIO | None = field(default=None, repr=False)

    @cached_property
    def _size(self) -> int:
        return self.path.stat().st_size

    @property
    def extension(self) -> str:
        """In lower case, without the dot."""
        return "txt" if self.prose else PurePosixPath(self.name).suffix.lower().lstrip(".")

    def open_text(self, newline: str | None = None) -> io.TextIOWrapper:
        """The text from its first character, without a byte order mark; never fails to decode."""
        self._raw = self.path.open("rb")
        return io.TextIOWrapper(self._raw, encoding=self.codec, errors="replace", newline=newline)

    @contextmanager
    def lines(self, newline: str | None = None) -> Iterator[Iterator[str]]:
        """The lines of the text. Raises Refused at one that would fill the memory."""
        with self.open_text(newline) as file:
            yield self._lines(file)

    def _lines(self, file: io.TextIOWrapper) -> Iterator[str]:
        number = 0
        while line := file.readline(LINE + 1):
            number += 1
            check_line(self.name, number, line)
            yield line

    def open_bytes(self) -> BinaryIO:
        self._raw = self.path.open("rb")
        return self._raw

    def fraction(self) -> float:
        """How much of the text that was opened last has been read, 0 to 1."""
        if self._raw is None or self._raw.closed:
            return 1.0
        return self._raw.tell() / max(1, self._size)


def open_source(
    path: Path,
    name: str,
    member: str | None,
    notes: Notes,
    encoding: str | None = None,
    watch: Watch | None = None,
) -> Source:
    """Unpack `path` as often as needed, recognise it, and find the encoding of text.

    `encoding`: the codec that a person chose, where they did.

    Raises Refused for what can't hold examples, NeedsChoice for an archive with several files.
    """
    folder: tempfile.TemporaryDirectory | None = None
    packed = False
    watch, limit = watch or Watch(), most_unpacked(path)
    for depth in range(4):
        kind = kind_of(path, name)
        if kind not in ("gzip", "bzip2", "zip"):
            break
        if depth == 3:
            raise Refused(f"“{name}” is an archive in an archive in an archive.", _ADVICE)
        folder = folder or tempfile.TemporaryDirectory(prefix="graft-import-")
        into = Path(folder.name) / str(depth)
        path, name = unpack(kind, path, name, member, into, limit, notes, watch)
        packed = True
    if path.stat().st_size == 0:
        raise Refused(
            "The file is empty: it has 0 bytes.",
            "Export it again, and look into it before you bring it.",
            rows=0,
            encoding="-",
        )
    if kind == "text":
        _refuse_binary(path, name)
        found, codec = encoding_of(path, notes, encoding)
        source = Source(path, name, "text", found, codec=codec, _folder=folder)
    elif kind in ("docx", "odt", "pdf"):
        folder = folder or tempfile.TemporaryDirectory(prefix="graft-import-")
        text = Path(folder.name) / "text"
        text_of(kind, path, name, text, notes, watch)
        source = Source(text, name, "text", prose=True, _folder=folder)
    elif kind in ("sheets", "parquet", "arrow", "arrow stream"):
        source = Source(path, name, cast(Kind, kind), _folder=folder)
    else:
        raise Refused(f"“{name}” is {kind}: there are no examples to read in it.", _ADVICE)
    if packed:
        source.packed_encoding, source.encoding = source.encoding, "binary"
    return source


def _refuse_binary(path: Path, name: str) -> None:
    """Raises Refused for what is no text in any encoding: too many of its bytes are control
    characters."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    controls = sum(map(head.count, _CONTROLS))
    wide = max(head[::2].count(0), head[1::2].count(0)) > len(head) / 5  # UTF-16
    if controls > BINARY * len(head) and not wide:
        ending = PurePosixPath(name).suffix
        raise Refused(
            f"“{name}” is not {f'a {ending} file' if ending else 'a text'}: it is damaged, or of "
            "another kind than its name says.",
            "Save it again in the program that it is from.",
            rows=0,
        )


def kind_of(path: Path, name: str) -> str:
    """A `Kind`, a container (gzip, bzip2, zip, docx, odt, pdf), or words for what can't be used."""
    with path.open("rb") as file:
        head = file.read(512)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            if kind == "zip":
                return _zip_kind(path, name)
            if kind == "bzip2" and head[4:10] != b"\x31\x41\x59\x26\x53\x59":
                continue
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive"
    if re.match(rb"\s*<(!doctype html|html|\?xml)", head, re.IGNORECASE):
        return "a web page or XML"
    return "text"


def _zip_kind(path: Path, name: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "mimetype" in names:
                with archive.open("mimetype") as packed:
                    says = packed.read(100)
                if b"opendocument" in says:
                    return "sheets" if b"spreadsheet" in says else "odt"
    except (zipfile.BadZipFile, RuntimeError, OSError, zlib.error) as error:
        raise damaged(name, "zip", error) from error
    if names & {"xl/workbook.xml", "xl/workbook.bin"}:
        return "sheets"
    if "word/document.xml" in names:
        return "docx"
    if "ppt/presentation.xml" in names:
        return "a presentation"
    if any(inside.endswith(("data.pkl", ".npy")) for inside in names):
        return "a model or an array"
    return "zip"

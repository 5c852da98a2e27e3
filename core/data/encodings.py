"""Which encoding a text is in: decoded strictly over the whole file before anything is made of it.

Byte order mark, UTF-16 by its pattern of NULs, UTF-8, then a detector where letters beyond ASCII
stand in runs (CJK, Cyrillic, Greek, …), then cp1252. What was guessed is said.
"""

import codecs
import re
from pathlib import Path

import charset_normalizer

from core.data.findings import Notes
from core.errors import DataProblem

BLOCK = 1 << 20
SAMPLE = 1 << 18


ENCODINGS = {
    "utf-8": "UTF-8",
    "cp1252": "Western European (Windows)",
    "cp1250": "Central European (Windows): Polish, Czech, Hungarian",
    "cp1251": "Cyrillic (Windows)",
    "koi8-r": "Cyrillic (KOI8-R)",
    "cp1253": "Greek (Windows)",
    "cp1254": "Turkish (Windows)",
    "cp1255": "Hebrew (Windows)",
    "cp1256": "Arabic (Windows)",
    "cp1257": "Baltic (Windows)",
    "cp1258": "Vietnamese (Windows)",
    "cp874": "Thai (Windows)",
    "gb18030": "Chinese, simplified",
    "big5": "Chinese, traditional",
    "cp932": "Japanese (Shift JIS)",
    "euc_jp": "Japanese (EUC)",
    "cp949": "Korean",
    "mac_roman": "Western European (old Macintosh)",
    "cp850": "Western European (DOS)",
    "utf-16": "UTF-16",
}
"""What a person can choose from when the text is not UTF-8: codec -> what it is called."""


def encoding_of(path: Path, notes: Notes, chosen: str | None = None) -> tuple[str, str]:
    """Name and codec of the text at `path`; a guess is noted as a warning.

    `chosen` by a person counts, whatever the bytes say. Raises DataProblem for an unknown one.
    """
    if chosen:
        return _checked(path, notes, chosen)
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
    if _is_ascii(path):
        return "ascii", "utf-8"
    if _decodes(path, "utf-8"):
        return "utf-8", "utf-8"
    return _eight_bit(path, notes)


def _checked(path: Path, notes: Notes, chosen: str) -> tuple[str, str]:
    try:
        codec = codecs.lookup(chosen).name
        "".encode(codec)
    except (LookupError, UnicodeError):
        raise DataProblem(
            f"encoding: “{chosen}” is not known.",
            f"For example: {', '.join(ENCODINGS)}.",
            field="encoding",
        ) from None
    if not _decodes(path, codec):
        _warn_damaged(notes, codec)
    return codec, "utf-8-sig" if codec == "utf-8" else codec


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


def _is_ascii(path: Path) -> bool:
    with path.open("rb") as file:
        return all(block.isascii() for block in iter(lambda: file.read(BLOCK), b""))


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
    if sound - broken > 2 * broken:  # by chance hardly any sequence is sound
        _warn_damaged(notes, "utf-8")
        return "utf-8", "utf-8"
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", sample)]
    if sum(run for run in runs if run > 2) > sum(runs) / 2:
        for match in charset_normalizer.from_bytes(sample):
            if _decodes(path, match.encoding):
                notes.file(
                    "encoding",
                    f"The text is not UTF-8; it was read as {match.encoding}. "
                    "Look at a few rows: are all letters right? If not, choose another encoding.",
                    "warning",
                )
                return match.encoding, match.encoding
    notes.file(
        "encoding",
        "The text is not UTF-8; it was read as cp1252 (Windows, western Europe). "
        "Look at a few rows: are accents and signs right? If not, choose another encoding.",
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

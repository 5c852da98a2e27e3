"""Plain text -> documents: cut at blank lines into pieces that a model can take in.

Nothing is lost or doubled: paragraphs are gathered up to 2,000 characters; a longer one is cut at a
line end, else after a sentence, else after a word, and only a word that fills half a piece is torn.
"""

from collections.abc import Iterator

from core.data.bytes import Source
from core.data.findings import Notes
from core.data.records import Record

PIECE = 2000  # characters, about 500 tokens of English
READ = 1 << 16  # characters of a line that are held at once

_ENDS = (("\n",), (". ", "! ", "? ", "。", "！", "？"), (" ",))


class Documents:
    """A text file as records with one column, `text`."""

    unit = "line"

    def __init__(self, source: Source) -> None:
        self.source = source
        self.columns = ["text"]
        with source.open_text() as file:
            self.preview = [[file.read(PIECE)]]

    def fraction(self) -> float:
        return self.source.fraction()

    def records(self, notes: Notes) -> Iterator[Record]:
        count = 0
        for line, text in self._pieces():
            count += 1
            yield Record(line, {"text": text})
        notes.file(
            "cut",
            f"The text was cut at blank lines into {count:,} "
            f"piece{'s' * (count != 1)} of at most {PIECE:,} characters.",
        )

    def _pieces(self) -> Iterator[tuple[int, str]]:
        """(first line, text) of each piece."""
        piece, start = "", 1
        for line, paragraph in self._paragraphs():
            if piece and len(piece) + len(paragraph) > PIECE:
                yield start, piece.strip("\n")
                piece = ""
            if not piece:
                start = line
            piece += paragraph
            while len(piece) > PIECE:
                cut = _cut(piece)
                yield start, piece[:cut].strip("\n")
                start += piece.count("\n", 0, cut)
                piece = piece[cut:]
        if piece.strip():
            yield start, piece.strip("\n")

    def _paragraphs(self) -> Iterator[tuple[int, str]]:
        """(first line, text with its blank lines) of each paragraph; long ones in parts."""
        with self.source.open_text() as file:
            paragraph, start, number, after_blank = "", 1, 1, False
            while line := file.readline(READ):
                if paragraph and (len(paragraph) > PIECE or (after_blank and line.strip())):
                    yield start, paragraph
                    paragraph = ""
                if not paragraph:
                    start = number
                paragraph += line
                number += line.endswith("\n")
                after_blank = not line.strip()
            if paragraph:
                yield start, paragraph


def _cut(text: str) -> int:
    """Where to cut a text that is longer than a piece."""
    for ends in _ENDS:
        cut = max(text.rfind(end, 0, PIECE - len(end)) + len(end) for end in ends)
        if cut > PIECE // 2:
            return cut
    return PIECE

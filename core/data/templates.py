"""Templates that join several columns into one text: "Question: {q}\\nContext: {c}".

Only plain names of columns stand in braces; there are no formats, attributes or calls. A brace that
is meant as such is doubled: {{ and }}.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import DataProblem

NAMES = {"user": "Question", "assistant": "Answer", "system": "Instruction"}  # as people know them

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """`pieces`: what stands between the columns; one more than there are `columns`."""

    pieces: tuple[str, ...]
    columns: tuple[str, ...]

    def fill(self, text_of: Callable[[str], str]) -> str:
        """The text; empty where all its columns are, so that an empty row stays one."""
        texts = [text_of(column) for column in self.columns]
        if not any(text.strip() for text in texts):
            return ""
        joined = [self.pieces[0]]
        for text, piece in zip(texts, self.pieces[1:], strict=True):
            joined += (text, piece)
        return "".join(joined)


def parse(role: str, template: str, columns: list[str]) -> Template:
    """Raises DataProblem for a brace that is open or names no column."""
    pieces, named, start = [""], [], 0
    for part in _PART.finditer(template):
        pieces[-1] += template[start : part.start()]
        start = part.end()
        if part[0] in ("{{", "}}"):
            pieces[-1] += part[0][0]
        elif part[1] is None:
            raise DataProblem(
                f"The text for {NAMES.get(role, role)} has a single “{part[0]}”.",
                f"A column's name stands between two braces, as in {{{columns[0]}}}; double a "
                "brace that is meant as such.",
                field="templates",
            )
        elif (name := part[1].strip()) not in columns:
            raise DataProblem(
                f"The text for {NAMES.get(role, role)} names a column “{name}” that is not there.",
                f"The columns are: {', '.join(columns)}.",
                field="templates",
            )
        else:
            named.append(name)
            pieces.append("")
    pieces[-1] += template[start:]
    if not named:
        raise DataProblem(
            f"The text for {NAMES.get(role, role)} names no column.",
            f"Put one in braces. The columns are: {', '.join(columns)}.",
            field="templates",
        )
    return Template(tuple(pieces), tuple(named))

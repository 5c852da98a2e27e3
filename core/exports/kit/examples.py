"""How a kit hands the examples out: as they were written, or as the model's tokens.

Its train.py makes one text of a conversation by the chat template, and finds what is learned of it
by two marks: what stands before each answer, and its end. Before that is relied on, it is tried on
every row, with the tokenizer that the kit will use. Where it gives other tokens than Graft learned
from, the rows are handed out as tokens instead.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from core.config import TrainConfig
from core.exports.formats import Say
from core.runs import Run

Form = Literal["messages", "text", "pairs", "ids"]
Learned = tuple[list[int], list[int]]
"""Token ids, and the labels: the same ids where they are learned, -100 elsewhere."""
Marks = tuple[str, str]
"""What stands before each answer in a rendered text, and at its end; empty for none."""

TRIED_AT_ONCE = 500  # rows between two words about them


@dataclass(frozen=True)
class Told:
    form: Form
    files: dict[str, list[Any] | None]
    """The lines of each file of the kit; None where it is the run's own."""
    template: str
    marks: Marks = ("", "")


def tell(run: Run, base: Path, say: Say) -> Told:
    """The examples of a run whose base model is in the folder `base`."""
    from core.examples import read
    from core.tokenizer import Tokenizer

    assert run.adapter is not None
    config, max_length = TrainConfig(**run.plan["config"]), run.plan["max_length"]
    tokenizer = Tokenizer.load(base)
    parts: list[Literal["train", "eval"]] = ["train", "eval"]
    rows = {f"{part}.jsonl": some for part in parts if (some := run.rows(part))}
    say("Reading the examples", 0, 0)
    learned = {
        name: list(map(_sides, read(run.cache, tokenizer, some, config).examples(max_length)))
        for name, some in rows.items()
    }
    form = _form(rows)
    plain = Plain(run.adapter, form, config, max_length)
    for marks in plain.marks(tokenizer):
        if all(plain.gives(learned[name], some, marks, say) for name, some in rows.items()):
            return Told(form, dict.fromkeys(rows), tokenizer.template, marks)
    as_tokens: dict[str, list[Any] | None] = {
        name: [_line(sides) for sides in some] for name, some in learned.items()
    }
    return Told("ids", as_tokens, tokenizer.template)


@dataclass(frozen=True)
class Plain:
    """The examples as train.py makes them, with plain transformers: what it is tried with."""

    tokenizer_folder: Path
    form: Form
    config: TrainConfig
    max_length: int

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.tokenizer_folder)

    @property
    def learns_everything(self) -> bool:
        return self.form == "text" or (self.form == "messages" and self.config.train_on == "all")

    def marks(self, tokenizer: Any) -> list[Marks]:
        """What may stand around an answer, the likeliest first; one without, where none is needed,
        and nothing at all for rows of several forms."""
        if self.form == "ids":
            return []
        if self.learns_everything:
            return [("", "")]
        begins = [mark for mark in (tokenizer.opening, tokenizer.closing) if mark]
        ends = [mark for mark in (tokenizer.turn_end, tokenizer.special.get("eos_token")) if mark]
        return [(begin, end) for begin in dict.fromkeys(begins) for end in dict.fromkeys(ends)]

    def gives(
        self, wanted: Sequence[list[Learned]], rows: Sequence[Any], marks: Marks, say: Say
    ) -> bool:
        """Whether it makes just these examples of the rows."""
        made = 0
        for number, row in enumerate(rows):
            if number % TRIED_AT_ONCE == 0:
                say("Trying the kit's way on every row", number, len(rows))
            try:
                examples = self._examples(row, marks)
            except Exception:  # a template may raise anything; then it is not this way
                return False
            for example in examples:
                if made == len(wanted) or example != wanted[made]:
                    return False
                made += 1
        return made == len(wanted)

    def _examples(self, row: dict[str, Any], marks: Marks) -> list[list[Learned]]:
        size = self.max_length
        if self.form == "text":
            ids = self.tokenizer(row["text"])["input_ids"]
            if ids[-1:] != [self.tokenizer.eos_token_id]:
                ids = [*ids, self.tokenizer.eos_token_id]
            pieces = [ids[at : at + size] for at in range(0, len(ids), size)]
            return [[(piece, piece)] for piece in pieces if _count(piece)]
        if self.form == "pairs":
            sides = [
                self._encoded([*row["messages"], {"role": "assistant", "content": row[side]}],
                              None, marks)
                for side in ("chosen", "rejected")
            ]  # fmt: skip
        else:
            sides = [self._encoded(row["messages"], row.get("tools") or None, marks)]
        if self.config.too_long == "drop" and max(len(ids) for ids, _ in sides) > size:
            return []
        cut = [(ids[:size], labels[:size]) for ids, labels in sides]
        return [cut] if all(_count(labels) for _, labels in cut) else []

    def _encoded(self, messages: list[Any], tools: Any, marks: Marks) -> Learned:
        text = self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = tokens["input_ids"]
        if self.learns_everything:
            return ids, ids
        begins, ends = map(re.escape, marks)
        found = list(re.finditer(f"{begins}(.*?{ends})", text, re.DOTALL))
        labels = [-100] * len(ids)
        for answer in found[-1:] if self.form == "pairs" else found:
            for place, (begin, _) in enumerate(tokens["offset_mapping"]):
                if answer.start(1) <= begin < answer.end(1):
                    labels[place] = ids[place]
        return ids, labels


def _form(rows: dict[str, list[Any]]) -> Form:
    """The form of all rows; "ids" where they have several."""
    forms: set[Form] = {
        "text" if "text" in row else "pairs" if "chosen" in row else "messages"
        for some in rows.values()
        for row in some
    }
    return forms.pop() if len(forms) == 1 else "ids"


def _count(labels: list[int]) -> int:
    """How many are learned; nobody guesses the first."""
    return sum(label != -100 for label in labels[1:])


def _sides(example: Any) -> list[Learned]:
    """One sequence, or the better and the worse one."""
    both = [example.chosen, example.rejected] if hasattr(example, "chosen") else [example]
    return [(one.ids, one.labels) for one in both]


def _line(sides: list[Learned]) -> dict[str, Any]:
    """An example as a line of tokens: what is learned as spans, from and to."""
    told = []
    for ids, labels in sides:
        spans: list[list[int]] = []
        for place, label in enumerate(labels):
            if label == -100:
                continue
            if spans and spans[-1][1] == place:
                spans[-1][1] = place + 1
            else:
                spans.append([place, place + 1])
        told.append({"ids": ids, "learned": spans})
    return told[0] if len(told) == 1 else dict(zip(("chosen", "rejected"), told, strict=True))

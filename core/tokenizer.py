"""A model's tokenizer and chat template, without torch.

The fast tokenizer is the `tokenizers` library reading tokenizer.json, and the template is rendered
by transformers' sandboxed environment within bounds (core.sandbox), so a page can show tokens at
once and the trainer and the chat see exactly the same ones. Folders that hold only an older format
are converted once, in a process of its own.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from core.errors import ModelProblem
from core.files import read_facts, write_text
from core.sandbox import TooMuch, within_bounds
from core.settings import settings

Message = dict[str, Any]

# For models that bring no template. Line ends stand between a role and its text, so that the
# prompt's tokens are the same whether an answer follows or is yet to be written.
PLAIN_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{- message['content'] + '\\n\\n' -}}
{%- elif message['role'] == 'assistant' -%}
{{- 'Assistant:\\n' -}}
{%- generation -%}
{{- message['content'] + eos_token -}}
{%- endgeneration -%}
{{- '\\n\\n' -}}
{%- else -%}
{{- 'User:\\n' + message['content'] + '\\n\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:\\n' -}}
{%- endif -%}
"""

THINKING = frozenset({"<think>", "</think>"})  # part of what a model says, also where special
_PROBE = "\ufde3"  # a noncharacter, which no template writes
_QUESTION = {"role": "user", "content": _PROBE}
_FIRST_STAND_IN = 0xF0000  # the private characters of plane 15, one for each control token
_STAND_IN = re.compile("[\U000f0000-\U000ffffd]")

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.json")


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back, and a conversation to the text that the model knows."""

    path: Path
    fast: FastTokenizer = field(repr=False)
    template: str = field(repr=False)
    own_template: bool
    """False: the model has none and PLAIN_TEMPLATE stands in."""
    special: dict[str, str]
    """bos_token, eos_token, pad_token, unk_token, as far as they exist."""
    _endless: list[TooMuch] = field(default_factory=list, repr=False, compare=False)
    """That its template took too long once: nobody waits for it again."""

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Raises ModelProblem where there is no tokenizer that can be read. The last few are held:
        a large vocabulary takes a second to read."""
        if not (folder / "tokenizer.json").exists():
            folder = _converted(folder)
        files = [*FILES, "chat_template.jinja", "generation_config.json"]
        stamps = tuple((folder / n).stat().st_mtime_ns for n in files if (folder / n).exists())
        return _loaded(folder, stamps)

    @classmethod
    def _load(cls, folder: Path) -> "Tokenizer":
        try:
            fast = FastTokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise ModelProblem(
                f"The tokenizer in {folder} can't be read: {error}", field="base_model"
            ) from error
        fast.no_truncation()
        fast.no_padding()
        config = read_facts(folder / "tokenizer_config.json") or {}
        special = _special_tokens(folder, config)
        template = _template(folder, config)
        return cls(folder, fast, template or PLAIN_TEMPLATE, template is not None, special)

    @cached_property
    def identity(self) -> str:
        """The same for tokenizers that do the same."""
        facts = [self.fast.to_str(), self.template, self.special, sorted(self._eos_ids)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of all tokens that are marks rather than text."""
        added = self.fast.get_added_tokens_decoder()
        return frozenset(id for id, token in added.items() if token.special)

    @cached_property
    def closing(self) -> str:
        """What the template writes between a question's text and the answer to it."""
        return self._probe([_QUESTION], add_generation_prompt=True).rpartition(_PROBE)[2]

    @cached_property
    def opening(self) -> str:
        """What the template writes to open the assistant's turn; empty where it writes nothing."""
        closed = self._probe([_QUESTION])
        opened = self._probe([_QUESTION], add_generation_prompt=True)
        if opened.startswith(closed):
            return opened[len(closed) :]
        # Some end a conversation with a stop token where no answer is to follow.
        closed, opened = (text.rpartition(_PROBE)[2] for text in (closed, opened))
        return opened[same_start(closed, opened) :]

    @cached_property
    def openers(self) -> frozenset[str]:
        """The control tokens with which turns begin: an answer's, and the one before a question
        where questions have one of their own."""
        own = set(self.control.findall(self.opening))
        before = self.control.findall(self._probe([_QUESTION]).partition(_PROBE)[0])
        return frozenset(own if own & set(before) else own | set(before[-1:]))

    @cached_property
    def turn_end(self) -> str | None:
        """The special token with which the template ends the assistant's turn, if it does."""
        answer = {"role": "assistant", "content": _PROBE}
        question = {"role": "user", "content": "x"}
        text = self._probe([question, answer]).rpartition(_PROBE)[2].lstrip()
        marks: list[str] = []
        while mark := self.control.match(text, sum(map(len, marks))):
            marks.append(mark[0])
        ends = (mark for mark in marks if self.id_of(mark) in self._eos_ids)
        return next(ends, marks[0] if marks else None)

    @cached_property
    def keeps_system(self) -> bool:
        """Whether an instruction is still there when the answer has been written: some templates
        put it into the last question, and only while that is the last turn."""
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
        return bool(self._probe([{"role": "system", "content": _PROBE}, *turns]))

    @cached_property
    def default_text(self) -> str:
        """What the template tells the model by itself, before a conversation's first words."""
        head = self._probe([_QUESTION]).partition(_PROBE)[0]
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}]
        again = self._probe([*turns, _QUESTION]).partition(_PROBE)[0]
        own = _same(head[::-1], again[::-1])  # a question's own header
        words = re.sub(r"<[^>\n]*>", "\n", self.control.sub("\n", head[: len(head) - own]))
        words = re.sub(r"^\s*system\b", "", words).strip()
        return words if len(re.findall(r"\w+", words)) > 1 else ""

    def _probe(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The conversation rendered, as parts where its template loses plain texts; empty where it
        refuses both."""
        parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
        for attempt in (messages, parts):
            try:
                text = self.render(attempt, add_generation_prompt)
            except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError):
                continue
            if _PROBE in text:
                return text
        return ""

    @cached_property
    def eos_id(self) -> int | None:
        return self.id_of(self.special.get("eos_token"))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer: eos, and the template's own end of a turn."""
        end = self.id_of(self.turn_end)
        return self._eos_ids | (frozenset() if end is None else {end})

    @cached_property
    def _eos_ids(self) -> frozenset[int]:
        told = read_facts(self.path / "generation_config.json") or {}
        ids = told.get("eos_token_id") or []
        found = {id for id in (ids if isinstance(ids, list) else [ids]) if isinstance(id, int)}
        if self.eos_id is not None:
            found.add(self.eos_id)
        return frozenset(found)

    @cached_property
    def pad_id(self) -> int:
        """Any id will do: padding is masked by length, never by its id."""
        return self.id_of(self.special.get("pad_token")) or min(self.stop_ids, default=0)

    def id_of(self, token: str | None) -> int | None:
        return None if token is None else self.fast.token_to_id(token)

    # ---- control tokens, and people's texts that only look like them

    @cached_property
    def control(self) -> re.Pattern[str]:
        """The strings of all tokens that steer the model rather than say something."""
        longest_first = sorted(self._control_strings, key=lambda string: -len(string))
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    @cached_property
    def stops(self) -> frozenset[str]:
        """The strings of `stop_ids`."""
        return frozenset(self._written(id) for id in self.stop_ids)

    def _written(self, id: int) -> str:
        """The token as it stands in a text; `id_to_token` gives some as they are normalised."""
        added = self.fast.get_added_tokens_decoder().get(id)
        return added.content if added else self.fast.id_to_token(id) or ""

    def guard(self, text: str) -> str:
        """A person's text in which each control token is a stand-in that `encode` takes for the
        plain characters that it is. No character moves."""
        return self.control.sub(lambda mark: self._stand_ins[mark[0]], text)

    def shown(self, text: str) -> str:
        """The text with what the stand-ins stand for."""
        if not _STAND_IN.search(text):
            return text
        for string, stand_in in self._stand_ins.items():
            text = text.replace(stand_in, string)
        return text

    @cached_property
    def _control_strings(self) -> list[str]:
        found = {self._written(id) for id in self.special_ids | self._eos_ids}
        return sorted(found - THINKING - {""})

    @cached_property
    def _stand_ins(self) -> dict[str, str]:
        return {
            string: chr(_FIRST_STAND_IN + number) + string[1:]
            for number, string in enumerate(self._control_strings)
        }

    @cached_property
    def _exchanged(self) -> FastTokenizer:
        """The same tokenizer in which control tokens are written as the stand-ins, so that their
        own strings are text like any other."""
        model = json.loads(self.fast.to_str())
        for token in model["added_tokens"]:
            token["content"] = self._stand_ins.get(token["content"], token["content"])
        inner = model["model"]
        if isinstance(inner["vocab"], dict):
            vocabulary = inner["vocab"].items()
            inner["vocab"] = {self._stand_ins.get(key, key): id for key, id in vocabulary}
        else:
            inner["vocab"] = [[self._stand_ins.get(key, key), at] for key, at in inner["vocab"]]
        if inner.get("unk_token") is not None:
            inner["unk_token"] = self._stand_ins.get(inner["unk_token"], inner["unk_token"])
        return FastTokenizer.from_str(json.dumps(model))

    def _exchange(self, text: str) -> str:
        both = {**self._stand_ins, **{new: old for old, new in self._stand_ins.items()}}
        pattern = "|".join(map(re.escape, sorted(both, key=lambda string: -len(string))))
        return re.sub(pattern, lambda found: both[found[0]], text)

    # ---- text and ids

    def encode(self, text: str, add_special_tokens: bool = False) -> Encoding:
        """`.ids` and `.offsets` (characters of `text`)."""
        return self.encode_all([text], add_special_tokens)[0]

    def encode_all(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[Encoding]:
        """As `encode`, on all cores."""
        encodings = self.fast.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        for at, text in enumerate(texts):
            if _STAND_IN.search(text):
                encodings[at] = self._exchanged.encode(
                    self._exchange(text), add_special_tokens=add_special_tokens
                )
        return encodings

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return self.fast.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = False,
        tools: list[Any] | None = None,
    ) -> str:
        """The conversation as the model's text. Raises jinja2.TemplateError where it refuses."""
        if self._endless:
            raise self._endless[0]
        with within_bounds(len(messages), self._endless):
            rendered = render_jinja_template(  # a pair, whatever its annotation says
                [list(messages)],
                tools=tools,
                chat_template=self.template,
                add_generation_prompt=add_generation_prompt,
                **{"bos_token": "", "eos_token": "", **self.special},
            )
        return str(rendered[0][0])

    @property
    def bytes(self) -> int:
        """Of the files that `save` copies."""
        files = (self.path / name for name in FILES)
        return sum(file.stat().st_size for file in files if file.exists())

    def save(self, folder: Path) -> None:
        """The tokenizer's files and the template that was used, for whoever loads the adapter."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (self.path / name).exists():
                shutil.copyfile(self.path / name, folder / name)
        write_text(folder / "chat_template.jinja", self.template)


def same_start(one: str, other: str) -> int:
    """How many characters the texts share before they part, whole tags and words only."""
    same = _same(one, other)
    if same in (len(one), len(other)):
        return same
    whole = re.match(r".*[\s>｜]", one[:same], re.DOTALL)
    return whole.end() if whole else 0


def _same(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


@lru_cache(maxsize=4)
def _loaded(folder: Path, stamps: tuple[int, ...]) -> Tokenizer:
    return Tokenizer._load(folder)


def _special_tokens(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    stored = {**(read_facts(folder / "special_tokens_map.json") or {}), **config}
    tokens = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = stored.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if value and isinstance(value, str):
            tokens[name] = value
    return tokens


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    """chat_template.jinja, else the one in tokenizer_config.json, else chat_template.json."""
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    told = config.get("chat_template")
    template = told or (read_facts(folder / "chat_template.json") or {}).get("chat_template")
    if isinstance(template, list):  # several, by name
        named = (one for one in template if isinstance(one, dict) and one.get("name") == "default")
        template = next(named, {}).get("template")
    return template if isinstance(template, str) else None


def _converted(folder: Path) -> Path:
    """A copy of an older tokenizer in the fast format, made once by transformers."""
    files = sorted(file for file in folder.glob("*") if file.suffix in {".model", ".json", ".txt"})
    stamp = "".join(f"{f}{f.stat().st_size}{f.stat().st_mtime_ns}" for f in files)
    target = settings().data / "cache" / "tokenizers" / hashlib.sha256(stamp.encode()).hexdigest()
    if not (target / "tokenizer.json").exists():
        made = subprocess.run(
            [sys.executable, "-m", "core.tokenizer", str(folder), str(target)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["unknown"])[-1]
            raise ModelProblem(
                f"There is no tokenizer in {folder} that can be read ({reason}).",
                "A model's folder needs a tokenizer.json.",
                field="base_model",
            )
        for name in ("chat_template.json", "generation_config.json"):
            if (folder / name).exists():
                shutil.copyfile(folder / name, target / name)
    return target


def main(source: str, target: str) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(target)
    json.loads((Path(target) / "tokenizer.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(*sys.argv[1:])

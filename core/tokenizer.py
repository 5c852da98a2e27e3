"""A model's tokenizer and chat template, without torch.

The fast tokenizer is the `tokenizers` library reading tokenizer.json, and the template is rendered
by the same sandboxed environment that transformers uses, so a page can show tokens at once and the
trainer and the chat see exactly the same ones. Folders that hold only an older format are converted
once, in a process of its own.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from core.errors import ModelProblem
from core.files import read_json, write_text
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

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Raises ModelProblem where there is no tokenizer that can be read."""
        if not (folder / "tokenizer.json").exists():
            folder = _converted(folder)
        try:
            fast = FastTokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise ModelProblem(
                f"The tokenizer in {folder} can't be read: {error}", field="base_model"
            ) from error
        fast.no_truncation()
        fast.no_padding()
        config = read_json(folder / "tokenizer_config.json", {})
        special = _special_tokens(folder, config)
        template = _template(folder, config)
        return cls(folder, fast, template or PLAIN_TEMPLATE, template is not None, special)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of all tokens that are marks rather than text."""
        added = self.fast.get_added_tokens_decoder()
        return frozenset(id for id, token in added.items() if token.special)

    @cached_property
    def opening(self) -> str:
        """What the template writes to open the assistant's turn; empty where it writes nothing."""
        question = [{"role": "user", "content": "x"}]
        closed = self.render(question)
        opened = self.render(question, add_generation_prompt=True)
        return opened[len(closed) :] if opened.startswith(closed) else ""

    @cached_property
    def turn_end(self) -> str | None:
        """The special token with which the template ends the assistant's turn, if it does."""
        answer = "\ue000"
        text = self.render(
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": answer}]
        )
        ids = self.encode(text.rpartition(answer)[2].lstrip()).ids
        is_mark = ids and ids[0] in self.special_ids | self._eos_ids
        return self.fast.id_to_token(ids[0]) if is_mark else None

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer: eos, and the template's own end of a turn."""
        end = self.id_of(self.turn_end)
        return self._eos_ids | (frozenset() if end is None else {end})

    @cached_property
    def _eos_ids(self) -> frozenset[int]:
        ids = read_json(self.path / "generation_config.json", {}).get("eos_token_id") or []
        found = set(ids if isinstance(ids, list) else [ids])
        if (eos := self.id_of(self.special.get("eos_token"))) is not None:
            found.add(eos)
        return frozenset(found)

    @cached_property
    def pad_id(self) -> int:
        """Any id will do: padding is masked by length, never by its id."""
        return self.id_of(self.special.get("pad_token")) or min(self.stop_ids, default=0)

    def id_of(self, token: str | None) -> int | None:
        return None if token is None else self.fast.token_to_id(token)

    def encode(self, text: str, add_special_tokens: bool = False) -> Encoding:
        """`.ids` and `.offsets` (characters of `text`)."""
        return self.fast.encode(text, add_special_tokens=add_special_tokens)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return self.fast.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The conversation as the model's text. Raises jinja2.TemplateError where it refuses."""
        rendered = render_jinja_template(  # a pair, whatever its annotation says
            [list(messages)],
            chat_template=self.template,
            add_generation_prompt=add_generation_prompt,
            **{"bos_token": "", "eos_token": "", **self.special},
        )
        return str(rendered[0][0])

    def save(self, folder: Path) -> None:
        """The tokenizer's files and the template that was used, for whoever loads the adapter."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (self.path / name).exists():
                shutil.copyfile(self.path / name, folder / name)
        write_text(folder / "chat_template.jinja", self.template)


def _special_tokens(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    stored = {**read_json(folder / "special_tokens_map.json", {}), **config}
    tokens = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value = stored.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if value:
            tokens[name] = value
    return tokens


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    """chat_template.jinja, else the one in tokenizer_config.json, else chat_template.json."""
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template") or read_json(folder / "chat_template.json", {}).get(
        "chat_template"
    )
    if isinstance(template, list):  # several, by name
        template = next((t["template"] for t in template if t["name"] == "default"), None)
    return template


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

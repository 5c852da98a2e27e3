"""What stands beside a GGUF file: Ollama's Modelfile, and how to use the file in plain words.

Ollama does not run the chat template that is in the file: it has a template language of its own
(Go's). So the template is written anew in it. It is found by asking the old one: conversations of
marks are rendered as training rendered them, and what stands between two marks is what the template
writes between these two turns. Where longer conversations come out the same, character for
character, the new template says what the old one says; where not, it is left out and the Modelfile
says why.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.exports.gguf.vocabulary import Vocabulary, rendered
from core.tokenizer import Message, Tokenizer

ROLES = ("system", "user", "assistant")
MARK = "\ue0f0{}\ue0f1"  # private characters, which no template looks at
Said = tuple[str, str]
"""Role and text."""
LEARN = ("U", "SU", "UAU", "SUAU")
CHECK = ("U", "SU", "UAU", "SUAU", "UAUAU", "SUAUAUAU")


@dataclass(frozen=True)
class Turns:
    """A chat template as what it writes before each turn, by the role of the turn before it ("" for
    none), and behind the last question."""

    before: dict[tuple[str, str], str]
    end: str

    def render(self, said: Sequence[Said]) -> str:
        text, last = "", ""
        for role, content in said:
            text += self.before[last, role] + content
            last = role
        return text + self.end


class NotFound(Exception):
    """The template can't be told in this way; why not, in words."""


def turns_of(tokenizer: Tokenizer, vocabulary: Vocabulary) -> Turns:
    """Raises NotFound."""
    before: dict[tuple[str, str], str] = {}
    ends = set()
    for letters in LEARN:
        said = _marked(letters)
        rest = _as_trained(tokenizer, vocabulary, said)
        last = ""
        for role, mark in said:
            text, found, rest = rest.partition(mark)
            if not found:
                raise NotFound("the chat template leaves out, repeats or changes what is said")
            if before.setdefault((last, role), text) != text:
                raise NotFound("the chat template writes a turn differently by what follows it")
            last = role
        ends.add(rest)
    if len(ends) != 1:
        raise NotFound("the chat template ends conversations differently by how they began")
    turns = Turns(before, ends.pop())
    for letters in CHECK:
        said = _marked(letters, texts=True)
        if turns.render(said) != _as_trained(tokenizer, vocabulary, said):
            raise NotFound("the chat template writes longer conversations in another way")
    return turns


def _marked(letters: str, texts: bool = False) -> list[Said]:
    """A conversation by the first letters of its roles; of marks, or of texts."""
    roles = {role[0].upper(): role for role in ROLES}
    written = 'It\'s {} text:\n- one, "two" {{3}}.\n\nThe end' if texts else MARK
    return [(roles[letter], written.format(at)) for at, letter in enumerate(letters)]


def _as_trained(tokenizer: Tokenizer, vocabulary: Vocabulary, said: Sequence[Said]) -> str:
    """Without the bos token that llama.cpp puts there itself."""
    messages: list[Message] = [{"role": role, "content": text} for role, text in said]
    text = rendered(tokenizer, messages)
    return text.removeprefix(tokenizer.special["bos_token"]) if vocabulary.begins else text


# ---- Go


def go_template(turns: Turns) -> str:
    """In Go's template language, as Ollama runs it: over .Messages with a .Role and .Content."""
    lines = ['{{- $last := "" }}', "{{- range .Messages }}"]
    for number, role in enumerate(ROLES):
        lines.append(f'{{{{- {"else " if number else ""}if eq .Role "{role}" }}}}')
        lines += _before(role, turns)
        lines.append("{{- .Content }}")
    lines += ["{{- end }}", "{{- $last = .Role }}", "{{- end }}"]
    return "\n".join(lines) + f"\n{{{{- {_quoted(turns.end)} }}}}"


def _before(role: str, turns: Turns) -> list[str]:
    by_last = {last: text for (last, this), text in turns.before.items() if this == role}
    if len(set(by_last.values())) == 1:
        (text,) = set(by_last.values())
        return [f"{{{{- {_quoted(text)} }}}}"] if text else []
    lines = []
    for number, (last, text) in enumerate(by_last.items()):
        lines.append(f'{{{{- {"else " if number else ""}if eq $last "{last}" }}}}')
        lines.append(f"{{{{- {_quoted(text)} }}}}")
    return [*lines, "{{- end }}"]


def _quoted(text: str) -> str:
    """As a string of Go; no three quotes in a row, which would end the Modelfile's text."""
    return json.dumps(text, ensure_ascii=False)


# ---- Modelfile


def modelfile(
    tokenizer: Tokenizer, vocabulary: Vocabulary, context: int, file: str, adapter: str = ""
) -> str:
    lines = [f"FROM ./{file}"]
    if adapter:
        lines.append(f"ADAPTER ./{adapter}")
    lines += ["", *_template(tokenizer, vocabulary), ""]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in sorted(tokenizer.stops)]
    lines += [
        "# As in Graft: always the likeliest next word. Raise the temperature for variety.",
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_ctx {context}",
    ]
    return "\n".join(lines) + "\n"


def _template(tokenizer: Tokenizer, vocabulary: Vocabulary) -> list[str]:
    try:
        template = go_template(turns_of(tokenizer, vocabulary))
    except NotFound as why:
        return [
            f"# No TEMPLATE: {why}.",
            "# Ollama then takes the one that it knows for the template in the GGUF file.",
        ]
    return ["# Writes a conversation exactly as training did.", f'TEMPLATE """{template}"""']


NAME = re.compile(r"[^a-z0-9._-]+")


def ollama_name(name: str) -> str:
    """What `ollama create` takes."""
    return NAME.sub("-", name.lower()).strip("-._") or "my-model"


def readme(title: str, about: str, file: str, context: int) -> str:
    """How to use the model, for people who have never heard of GGUF."""
    name = ollama_name(title)
    return f"""# {title}

{about}

`{file}` is the whole model in one file: weights, tokenizer and chat template. Three programs that
run it on your own computer:

## Ollama

1. Install it from ollama.com.
2. Open a terminal in this folder and type:

   ```
   ollama create {name} -f Modelfile
   ollama run {name}
   ```

The `Modelfile` holds the chat template that training used, so the model reads conversations exactly
as it learned to. Keep it beside `{file}`.

## LM Studio

1. Install it from lmstudio.ai.
2. In a terminal in this folder: `lms import {file}` (or copy it into LM Studio's models folder, as
   `models/graft/{name}/{file}`: "My Models" shows where that is).
3. Load it in the chat. LM Studio takes the chat template from the file. Set the temperature to 0 to
   get the answers that Graft gave.

## llama.cpp

```
llama-cli -m {file} -c {context} --temp 0
llama-server -m {file} -c {context}
```

The second opens a page to chat on http://localhost:8080, and serves other programs there as OpenAI
does.

## Is it whole?

`sha256sum -c CHECKSUMS` (Linux), `shasum -a 256 -c CHECKSUMS` (macOS).
"""


def adapter_readme(title: str, about: str, base: str) -> str:
    name = ollama_name(title)
    return f"""# {title}

{about}

`adapter.gguf` is only what was learned. It works on top of its base model, **{base}**, and on no
other, so you also need that model as a GGUF file in 16 or 8 bits: take the one of its makers from
huggingface.co, and put it into this folder as `base.gguf`.

## Ollama

```
ollama create {name} -f Modelfile
ollama run {name}
```

## llama.cpp

```
llama-cli -m base.gguf --lora adapter.gguf --temp 0
llama-server -m base.gguf --lora adapter.gguf
```

## LM Studio

It takes no adapters. Take one of the whole GGUF models out of Graft instead.

## Is it whole?

`sha256sum -c CHECKSUMS` (Linux), `shasum -a 256 -c CHECKSUMS` (macOS).
"""

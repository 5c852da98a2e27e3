"""Labels of every chat template that trl's wheel carries, against two other ways to find them: a
slow one that renders the conversation turn by turn, and trl's own marks where it has set some.

trl is never imported: its templates are read from where it is installed. Without it these skip.
"""

import dataclasses
import importlib.util
import re
from functools import cache
from pathlib import Path

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from core.errors import DataProblem
from core.tokenizer import Tokenizer
from core.tokens import encode_prompt, tokenize, xray

TRL = importlib.util.find_spec("trl")
FOLDER = Path(TRL.submodule_search_locations[0], "chat_templates") if TRL else Path("none")
NAMES = sorted(file.stem for file in FOLDER.glob("*.jinja"))
ORIGINALS = [name for name in NAMES if not name.endswith("_training")]
TRAINING = [name for name in NAMES if name.endswith("_training")]

pytestmark = pytest.mark.skipif(not NAMES, reason="needs trl for its chat templates")

# The control tokens are the ones of the models that the templates are from; the rest of their
# tags are text, as in those models.
CONTROL = re.compile(
    r"<\|[A-Za-z_]+\|>|<\|[a-z_]+>|<[a-z_]+\|>|<｜[^｜]+｜>|</?s>|<(?:start|end)_of_[a-z]+>|\[/?INST\]"
)
STOPS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "gemma4": "<turn|>",
    "gemma": "<end_of_turn>",
    "diffusion": "<turn|>",
    "gptoss": "<|return|>",
    "idefics": "<end_of_utterance>",
    "smolvlm": "<end_of_utterance>",
    "lfm": "<|im_end|>",
    "llama": "<|eot_id|>",
    "muse": "<|eot|>",
    "nemotron": "<|im_end|>",
    "phi": "<|end|>",
    "qwen": "<|im_end|>",
}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


CALLS = [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SYSTEM = {"role": "system", "content": "Be brief."}
PATTERNS = {
    "one question": [user("hi there"), assistant("good day")],
    "the same words again": [user("oh"), assistant("oh"), user("oh"), assistant("oh")],
    "several questions": [user("a b"), assistant("one"), user("c"), assistant("two 三 🙂")],
    "an instruction": [SYSTEM, user("a b"), assistant("one"), user("c"), assistant("two")],
    "an instruction like a tag": [{**SYSTEM, "content": "user"}, user("a"), assistant("one")],
    "two questions in a row": [user("a b"), user("more"), assistant("one")],
    "two answers in a row": [user("a b"), assistant("one"), assistant("again")],
    "the answer first": [assistant("hello"), user("a b"), assistant("one")],
    "no content": [user("a b"), assistant(None), user("c"), assistant("two")],
    "parts": [user([{"type": "text", "text": "a b"}]), assistant([{"type": "text", "text": "1"}])],
    "thoughts": [
        user("a"),
        assistant("<think>\nx y\n</think>\n\none"),
        user("b"),
        assistant("<think>\nz\n</think>\n\ntwo"),
    ],
    "blanks": [user("  a b \n"), assistant(" one \n\n"), user("c"), assistant("\ntwo ")],
}


long = pytest.mark.long
TOKENIZERS = [
    "starter",
    *(
        pytest.param(n, marks=long)
        for n in ("gpt2", "granite", "maykeye", "tinyllama-extra-tokens")
    ),
]


@pytest.fixture(scope="module")
def with_marks(request):
    """with_marks(name): a real tokenizer with the control tokens of all templates."""
    texts = [(FOLDER / f"{name}.jinja").read_text(encoding="utf-8") for name in NAMES]
    marks = {mark for text in texts for mark in CONTROL.findall(text)}
    marks |= {*STOPS.values(), "<bos>", "</s>"}

    @cache
    def made(name: str) -> Tokenizer:
        if name == "starter":
            folder = request.getfixturevalue("starter")
        else:
            folder = request.getfixturevalue("testdata") / "tokenizers" / name
        whole = Tokenizer.load(folder)
        fast = type(whole.fast).from_str(whole.fast.to_str())
        fast.add_special_tokens(sorted(marks))
        return dataclasses.replace(whole, fast=fast, path=Path("nowhere"))

    return made


def of_template(tokenizer: Tokenizer, name: str) -> Tokenizer:
    stop = next((stop for start, stop in STOPS.items() if name.startswith(start)), "</s>")
    template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    special = {"bos_token": "<bos>", "eos_token": stop}
    return dataclasses.replace(tokenizer, template=template, special=special)


# ---- the slow way


class Unstable(Exception):
    """What is rendered of the first turns is not how the whole conversation begins."""


def slow_labels(tokenizer: Tokenizer, messages) -> tuple[list[int], list[bool]]:
    """Each answer is what the rendering up to it has and the prompt before it has not."""
    told = tell(tokenizer, messages)
    text = tokenizer.render(told)
    learned, at = "", 0
    for number, message in enumerate(told):
        if message["role"] != "assistant":
            continue
        if number == 0:
            raise Unstable  # no template can render a prompt of nothing
        prompt = tokenizer.render(told[:number], add_generation_prompt=True)
        silent = prompt == tokenizer.render(told[:number])
        if silent and told[number - 1]["role"] == "assistant":
            raise Unstable  # nothing says to whom the blank between two answers belongs
        prompt = text[: shared(text, prompt)]
        if len(prompt) < at:
            raise Unstable
        words = content_of(message).rpartition("</think>")[2].strip()
        end = text.index(words, len(prompt)) + len(words)
        following = told[number + 1 :]
        rest = text.find(content_of(following[0]).strip(), end) if following else len(text)
        stop = rf"\s*(<\|END_RESPONSE\|>)?{stop_of(tokenizer, following)}"
        found = re.compile(stop).match(text, end, rest)
        learned += "0" * (len(prompt) - at)
        if found:
            at = found.end()
            learned += "1" * (at - len(prompt))
        else:
            eos = tokenizer.special["eos_token"]
            text = text[:end] + eos + text[end:]
            if text[end + len(eos) :].lstrip() and following:
                raise Unstable  # later prompts don't have it
            at = end + len(eos)
            learned += "1" * (at - len(prompt))
    learned += "0" * (len(text) - at)
    encoding = tokenizer.encode(text)
    return encoding.ids, [learned[begin] == "1" for begin, _ in encoding.offsets]


def shared(text: str, prompt: str) -> int:
    """How much of the prompt the finished conversation has: some prompts open a thought, which the
    conversation has not. Up to a whole tag, and at least the tags that open the turn."""
    same = 0
    while same < len(prompt) and text[same : same + 1] == prompt[same]:
        same += 1
    if same < len(prompt):
        if "think" not in prompt[same - 8 :]:
            raise Unstable
        while text[same - 1] not in "> ｜\n":
            same -= 1
    return same


def stop_of(tokenizer: Tokenizer, following) -> str:
    stop = tokenizer.special["eos_token"]
    return re.escape("<|end|>" if stop == "<|return|>" and following else stop)


def content_of(message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else content[0]["text"]


def tell(tokenizer: Tokenizer, messages):
    """The first way to tell the conversation in which all its words arrive."""
    messages = [{**m, "content": content_of(m) if m["content"] else ""} for m in messages]
    joined = [messages[0]]
    for message in messages[1:]:
        if message["role"] == joined[-1]["role"]:
            words = f"{joined[-1]['content']}\n\n{message['content']}"
            joined[-1] = {**message, "content": words}
        else:
            joined.append(message)
    ways = [messages, joined]
    if messages[0]["role"] == "system":
        first = f"{messages[0]['content']}\n\n{messages[1]['content']}"
        ways.append([user(first), *messages[2:]])
    for way in ways:
        parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in way]
        for told in (way, parts):
            try:
                text = tokenizer.render(told)
            except (jinja2.TemplateError, TypeError, ValueError):
                continue
            if "'type': 'text'" in text or "None" in text:
                continue
            at = 0
            for message in told:
                at = text.find(content_of(message).rpartition("</think>")[2].strip(), at)
                if at < 0:
                    break
                at += len(content_of(message).strip()) if "think" not in str(message) else 0
            if at >= 0:
                return told
    raise DataProblem("no way")


@pytest.mark.parametrize("vocabulary", TOKENIZERS)
def test_labels_are_those_of_the_slow_way(with_marks, vocabulary):
    compared = dict.fromkeys(ORIGINALS, 0)
    for name in ORIGINALS:
        tokenizer = of_template(with_marks(vocabulary), name)
        for pattern, messages in PATTERNS.items():
            try:
                ids, learned = slow_labels(tokenizer, messages)
            except Unstable:
                continue
            except DataProblem:
                with pytest.raises(DataProblem):
                    tokenize(tokenizer, {"messages": messages}, "assistant")
                continue
            row = tokenize(tokenizer, {"messages": messages}, "assistant")
            assert (row.ids, row.learned) == (ids, learned), f"{name}: {pattern}"
            compared[name] += 1
    assert min(compared.values()) >= 2
    assert sum(compared.values()) > 8 * len(ORIGINALS)


@pytest.mark.parametrize("vocabulary", TOKENIZERS)
def test_each_answer_has_one_stop_token_at_its_end(with_marks, vocabulary):
    for name in ORIGINALS:
        tokenizer = of_template(with_marks(vocabulary), name)
        for pattern in ("one question", "several questions", "thoughts", "blanks"):
            row = tokenize(tokenizer, {"messages": PATTERNS[pattern]}, "assistant")
            assert len(row.spans) == len(PATTERNS[pattern]) // 2, f"{name}: {pattern}"
            for start, stop in row.spans:
                ends = [tokenizer.fast.id_to_token(id) for id in row.ids[start:stop]]
                words = [end.removeprefix("▁") for end in ends]
                stops = [word for word in words if word in {*tokenizer.stops, "<|end|>"}]
                assert len(stops) == 1, f"{name}: {pattern}"
                assert words[-1] == stops[0], f"{name}: {pattern}"


def test_control_tokens_in_a_text_are_text(with_marks):
    for name in ORIGINALS[::4]:
        tokenizer = of_template(with_marks("starter"), name)
        stop = tokenizer.special["eos_token"]
        words = f"say {stop} and\n{stop}{stop}<|im_start|>system"
        plain = tokenize(tokenizer, {"messages": PATTERNS["one question"]}, "assistant")
        row = {"messages": [user(words), assistant(f"it is {stop} yes")]}
        seen = xray(tokenizer, row, 4096, "assistant")
        made = tokenize(tokenizer, row, "assistant")
        controls = [[id for id in row.ids if id in tokenizer.special_ids] for row in (plain, made)]
        assert controls[0] == controls[1], name
        text = "".join(token["text"] for token in seen["tokens"])
        assert words in text, name
        assert f"it is {stop} yes" in text, name
        assert "control_text" in [note["code"] for note in seen["notes"]], name
        asked = encode_prompt(tokenizer, row["messages"][:1])
        assert asked.count(tokenizer.eos_id) == encode_prompt(
            tokenizer, PATTERNS["one question"][:1]
        ).count(tokenizer.eos_id), name


def test_calls_of_tools_are_learned_or_refused(with_marks):
    messages = [
        user("weather?"),
        assistant(None, tool_calls=CALLS),
        {"role": "tool", "name": "weather", "content": "sunny", "tool_call_id": "abcdefghi"},
        assistant("It is fine."),
    ]
    learned = {}
    for name in ORIGINALS:
        tokenizer = of_template(with_marks("starter"), name)
        try:
            row = tokenize(tokenizer, {"messages": messages, "tools": [TOOL]}, "assistant")
        except DataProblem:
            continue
        call, answer = (
            tokenizer.decode(row.ids[a:b], skip_special_tokens=False) for a, b in row.spans
        )
        assert "weather" in call, name
        assert "Rome" in call, name
        assert "sunny" not in call, name
        assert "fine." in answer, name
        learned[name] = call
    assert len(learned) >= 20
    assert learned["qwen2_5"] == (
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>'
    )
    assert learned["gptoss"].endswith('<|message|>{"city": "Rome"}<|call|>')


# ---- trl's own marks


def marks_of_trl(tokenizer: Tokenizer, messages, tools=None) -> tuple[str, list[tuple[int, int]]]:
    """The text, and the characters that trl has marked as the assistant's."""
    rendered = render_jinja_template(
        [messages],
        tools=tools,
        chat_template=tokenizer.template,
        return_assistant_tokens_mask=True,
        **tokenizer.special,
    )
    marks: list[tuple[int, int]] = []
    for start, stop in rendered[1][0]:
        if rendered[0][0][start:stop].strip() == tokenizer.special["eos_token"] and marks:
            marks[-1] = (marks[-1][0], stop)  # one turn marked in pieces
        else:
            marks.append((start, stop))
    return rendered[0][0], marks


@pytest.mark.parametrize("name", TRAINING)
def test_labels_are_those_of_trls_marks(with_marks, name):
    """But for what trl marks and the model never says: the end of the generation prompt, and the
    blanks, or a second stop token, behind the stop token."""
    tokenizer = of_template(with_marks("starter"), name)
    compared = 0
    for pattern, messages in PATTERNS.items():
        if (name, pattern) in EXCEPTIONS:
            continue
        try:
            told = tell(tokenizer, messages)
        except DataProblem:
            continue
        text, marks = marks_of_trl(tokenizer, told)
        row = tokenize(tokenizer, {"messages": messages}, "assistant")
        assert tokenizer.decode(row.ids, skip_special_tokens=False) == text, pattern
        assert len(row.spans) == len(marks), pattern
        for (first, behind), (start, stop) in zip(row.spans, marks, strict=True):
            ours = tokenizer.decode(row.ids[first:behind], skip_special_tokens=False)
            before, found, after = text[start:stop].rpartition(ours)
            assert found, pattern
            assert before in tokenizer.closing, pattern
            assert after.strip() in ("", tokenizer.special["eos_token"]), pattern
        compared += 1
    assert compared >= 6


EXCEPTIONS = {
    ("diffusion_gemma_training", "two answers in a row"),  # it makes one turn of both
    ("glm4moe_training", "no content"),  # it has no place for an answer without words
    ("llava_next_training", "two answers in a row"),  # whose the blank between them is, is open
}

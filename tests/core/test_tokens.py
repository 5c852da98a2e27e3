"""Labels: only the answers, each with its stop token once, in every template."""

import dataclasses
from pathlib import Path

import pytest

from core.corpus import tokenized
from core.errors import DataProblem
from core.tokenizer import PLAIN_TEMPLATE, Tokenizer
from core.tokens import encode_prompt, template_notes, tokenize, xray

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi hi"},
    {"role": "assistant", "content": "hi hi"},
    {"role": "user", "content": "Say hi hi."},
    {"role": "assistant", "content": "hi."},
]

CHATML = """\
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

NO_SYSTEM = """\
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('must alternate') }}
{%- endif %}
{{- '[' + m.role + ']' + m.content | trim }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"""

DROPS_SYSTEM = """\
{%- for m in messages if m.role != 'system' %}
{{- '<' + m.role + '>' + m.content + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"""

FORGETS_THOUGHTS = """\
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}
{%- else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


@pytest.fixture(scope="module")
def plain(starter: Path) -> Tokenizer:
    return Tokenizer.load(starter)


def with_template(tokenizer: Tokenizer, template: str, *marks: str) -> Tokenizer:
    """The same tokenizer with another template, and the marks that it uses as special tokens."""
    fast = type(tokenizer.fast).from_str(tokenizer.fast.to_str())
    fast.add_special_tokens(list(marks))
    return dataclasses.replace(tokenizer, fast=fast, template=template)


def learned_text(tokenizer: Tokenizer, messages) -> list[str]:
    """The learned stretches, marks included."""
    row = tokenize(tokenizer, {"messages": messages}, "assistant")
    stretches, current = [], []
    for id, yes in zip([*row.ids, 0], [*row.learned, False], strict=True):
        if yes:
            current.append(id)
        elif current:
            stretches.append(tokenizer.decode(current, skip_special_tokens=False))
            current = []
    return stretches


def test_the_starters_own_template(plain):
    end = plain.turn_end
    assert learned_text(plain, CHAT) == [f"hi hi{end}", f"hi.{end}"]


def test_a_template_without_generation_marks(plain):
    tokenizer = with_template(plain, CHATML, "<|im_start|>", "<|im_end|>")
    assert learned_text(tokenizer, CHAT) == ["hi hi<|im_end|>", "hi.<|im_end|>"]
    assert tokenizer.id_of("<|im_end|>") in tokenizer.stop_ids


def test_a_template_that_refuses_the_system_message_gets_it_in_the_first_question(plain):
    tokenizer = with_template(plain, NO_SYSTEM)
    eos = plain.special["eos_token"]
    assert learned_text(tokenizer, CHAT) == [f"hi hi{eos}", f"hi.{eos}"]
    text = tokenizer.decode(tokenize(tokenizer, {"messages": CHAT}, "all").ids)
    assert "Be brief.\n\nhi hi" in text


def test_a_template_that_drops_the_system_message_gets_it_in_the_first_question(plain):
    tokenizer = with_template(plain, DROPS_SYSTEM)
    text = tokenizer.decode(tokenize(tokenizer, {"messages": CHAT}, "all").ids)
    assert "Be brief." in text


def test_two_questions_in_a_row_are_joined_where_the_template_wants_turns(plain):
    tokenizer = with_template(plain, NO_SYSTEM)
    messages = [CHAT[1], CHAT[3], CHAT[2]]
    assert len(learned_text(tokenizer, messages)) == 1


def test_a_template_without_a_stop_token_gets_one_after_each_answer(plain):
    tokenizer = with_template(plain, DROPS_SYSTEM)
    eos = plain.special["eos_token"]
    assert learned_text(tokenizer, CHAT[1:]) == [f"hi hi{eos}", f"hi.{eos}"]
    row = tokenize(tokenizer, {"messages": CHAT[1:]}, "assistant")
    assert row.ids.count(plain.id_of(eos)) == 2


def test_a_template_that_rewrites_an_answer(plain):
    tokenizer = with_template(plain, FORGETS_THOUGHTS, "<|im_start|>", "<|im_end|>")
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "<think>x</think>one"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "<think>y</think>two"},
    ]
    assert learned_text(tokenizer, messages) == [
        "one<|im_end|>",
        "<think>y</think>two<|im_end|>",
    ]


@pytest.mark.parametrize("template", [PLAIN_TEMPLATE, CHATML, NO_SYSTEM, DROPS_SYSTEM, None])
def test_the_prompt_of_a_chat_is_the_prefix_of_the_training_row(plain, template):
    tokenizer = plain
    if template:
        tokenizer = with_template(plain, template, "<|im_start|>", "<|im_end|>")
    row = tokenize(tokenizer, {"messages": CHAT}, "assistant")
    last = max(i for i, yes in enumerate(row.learned) if yes and not row.learned[i - 1])
    assert encode_prompt(tokenizer, CHAT[:-1]) == row.ids[:last]


def test_everything_is_learned_when_asked(plain):
    assert all(tokenize(plain, {"messages": CHAT}, "all").learned)


def test_conversations_are_cut_at_their_end_and_documents_into_pieces(plain):
    row = tokenize(plain, {"messages": CHAT}, "assistant")
    corpus = tokenized(None, plain, [{"messages": CHAT}], "assistant")
    assert not corpus.examples(10, "shorten")  # nothing of it is learned
    (example,) = tokenized(None, plain, [{"messages": CHAT}], "all").examples(10, "shorten")
    assert example.ids == row.ids[:10]
    assert example.labels == row.ids[:10]
    assert example.learned == 9

    document = tokenize(plain, {"text": "a long story " * 40}, "assistant")
    corpus = tokenized(None, plain, [{"text": "a long story " * 40}], "assistant")
    pieces = list(corpus.examples(16, "drop"))
    assert [id for piece in pieces for id in piece.ids] == document.ids
    assert document.ids[-1] in plain.stop_ids
    assert all(len(piece.ids) <= 16 for piece in pieces)


def test_preference_rows_learn_the_chosen_answer(plain):
    row = {"messages": CHAT[1:2], "chosen": "yes", "rejected": "no"}
    tokens = tokenize(plain, row, "assistant")
    learned = [id for id, yes in zip(tokens.ids, tokens.learned, strict=True) if yes]
    assert plain.decode(learned) == "yes"


def test_rows_that_the_template_refuses_are_counted_and_the_others_kept(plain):
    refusing = "{%- if messages[0].content == 'bad' %}{{ raise_exception('not this') }}{% endif %}"
    tokenizer = with_template(plain, refusing + CHATML, "<|im_start|>", "<|im_end|>")
    rows = [{"messages": CHAT[1:]}, {"messages": [{"role": "user", "content": "bad"}, CHAT[2]]}]
    corpus = tokenized(None, tokenizer, rows, "assistant")
    assert [length > 0 for length in corpus.profile.lengths] == [True, False]
    assert "not this" in corpus.profile.refused[1]
    with pytest.raises(DataProblem):
        tokenize(tokenizer, rows[1], "assistant")


def test_the_xray_shows_the_whole_row_and_the_same_labels(plain):
    messages = [
        {"role": "user", "content": "naïve 🙂?"},
        {"role": "assistant", "content": "日本 🙂"},
    ]
    seen = xray(plain, {"messages": messages}, 512, "assistant")
    text = "".join(token["text"] for token in seen["tokens"])
    assert text == plain.render(messages)
    learned = "".join(t["text"] for t in seen["tokens"] if t["state"] == "learned")
    assert learned == f"日本 🙂{plain.turn_end}"
    shorter = xray(plain, {"messages": messages}, 5, "assistant")
    assert shorter["cut"] == len(shorter["tokens"]) - 5
    assert shorter["learned"] == 0


def test_real_tokenizers_and_their_templates(testdata):
    granite = Tokenizer.load(testdata / "tokenizers" / "granite")
    assert granite.own_template
    assert learned_text(granite, CHAT) == ["hi hi<|end_of_text|>", "hi.<|end_of_text|>"]
    (note,) = template_notes(granite)
    assert "“A chat between a curious user" in note["text"]
    stories = Tokenizer.load(testdata / "models" / "stories260K")
    assert not stories.own_template
    assert learned_text(stories, CHAT) == ["hi hi</s>", "hi.</s>"]
    assert [note["code"] for note in template_notes(stories)] == ["plain_template"]


PARTS_ONLY = """\
{%- for m in messages %}{{ '<' + m.role + '>' }}
{%- for part in m.content %}{{ part.text }}{% endfor %}{{ eos_token }}{% endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"""

ESCAPES = "{% for m in messages %}{{ m.content | tojson }}{{ eos_token }}{% endfor %}"
SHOUTS = "{% for m in messages %}{{ m.content | upper }}{{ m.content | length }}{% endfor %}"


def notes_of(tokenizer: Tokenizer, messages) -> list[str]:
    return tokenize(tokenizer, {"messages": messages}, "assistant").notes


def test_what_was_done_to_a_row_is_noted(plain):
    chatml = with_template(plain, CHATML, "<|im_start|>", "<|im_end|>")
    picture = [{"type": "image", "url": "x.png"}, {"type": "text", "text": "what?"}]
    assert notes_of(plain, CHAT) == []
    assert notes_of(with_template(plain, NO_SYSTEM), CHAT) == ["system_folded"]
    assert notes_of(with_template(plain, DROPS_SYSTEM), CHAT) == ["system_folded", "stop_added"]
    assert notes_of(with_template(plain, NO_SYSTEM), [CHAT[1], CHAT[3], CHAT[4]]) == [
        "turns_joined"
    ]
    assert notes_of(chatml, [{"role": "user", "content": picture}, CHAT[4]]) == ["media_left_out"]
    assert notes_of(chatml, [{"role": "user", "content": "a <|im_end|>"}, CHAT[4]]) == [
        "control_text"
    ]


LAST_QUESTION = """\
{%- for m in messages if m.role != 'system' %}
{{- '<' + m.role + '>' }}
{%- if loop.last and m.role == 'user' and messages[0].role == 'system' %}
{{- messages[0].content + '\n\n' }}{% endif %}
{{- m.content + eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"""


def test_an_instruction_stands_in_a_chat_where_it_stood_in_training(plain):
    tokenizer = with_template(plain, LAST_QUESTION)
    row = tokenize(tokenizer, {"messages": CHAT}, "assistant")
    assert row.notes == ["system_folded"]
    assert encode_prompt(tokenizer, CHAT[:-1]) == row.ids[: row.spans[-1][0]]
    assert encode_prompt(tokenizer, CHAT[:2]) == row.ids[: row.spans[0][0]]


def test_a_template_that_wants_parts_gets_parts(plain):
    tokenizer = with_template(plain, PARTS_ONLY)
    eos = plain.special["eos_token"]
    assert learned_text(tokenizer, CHAT) == [f"hi hi{eos}", f"hi.{eos}"]
    row = tokenize(tokenizer, {"messages": CHAT}, "assistant")
    last = row.spans[-1][0]
    assert encode_prompt(tokenizer, CHAT[:-1]) == row.ids[:last]


def test_a_template_that_escapes_texts(plain):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": 'say "b"\n'}]
    (learned,) = learned_text(with_template(plain, ESCAPES), messages)
    assert learned == '"say \\"b\\"\\n"' + plain.special["eos_token"]


def test_a_template_that_changes_texts_is_refused_in_words(plain):
    with pytest.raises(DataProblem, match="changes the text"):
        tokenize(with_template(plain, SHOUTS), {"messages": CHAT[1:]}, "assistant")


def test_a_document_ends_once_and_its_marks_are_text(plain):
    eos = plain.special["eos_token"]
    row = tokenize(plain, {"text": f"one {eos} two"}, "assistant")
    assert row.ids.count(plain.eos_id) == 1
    assert row.notes == ["control_text"]
    shown = xray(plain, {"text": f"one {eos} two"}, 64, "assistant")
    assert "".join(token["text"] for token in shown["tokens"]) == f"one {eos} two{eos}"

"""Every shape becomes the right rows; what is unclear is asked."""

import json

import pytest

from core.data import Refused
from core.data.words import role
from core.errors import DataProblem


def lines(*rows):
    return "\n".join(map(json.dumps, rows))


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


@pytest.mark.parametrize(
    ("shape", "record", "row"),
    [
        ("pairs", {"prompt": "q", "completion": "a"}, [user("q"), assistant("a")]),
        ("pairs", {"id": 7, "Frage": "q", "Antwort": "a"}, [user("q"), assistant("a")]),
        ("pairs", {"input": "q", "output": "a"}, [user("q"), assistant("a")]),
        (
            "pairs",
            {"system": "s", "query": "q", "response": "a", "history": [["x", "y"]]},
            [system("s"), user("x"), assistant("y"), user("q"), assistant("a")],
        ),
        (
            "instruction",
            {"output": "a", "input": "i", "instruction": "q"},
            [user("q\n\ni"), assistant("a")],
        ),
        (
            "instruction",
            {"instruction": "q", "input": "", "output": "a"},
            [user("q"), assistant("a")],
        ),
        ("instruction", {"instruction": "q", "response": "a"}, [user("q"), assistant("a")]),
        (
            "classification",
            {"text": "t", "label": " spam "},
            [user("t"), assistant("spam")],
        ),
        (
            "messages",
            {"messages": [user("q"), assistant("a")], "system": "s"},
            [system("s"), user("q"), assistant("a")],
        ),
        (
            "messages",
            {"anything": [user("q"), assistant("a")], "id": 1},
            [user("q"), assistant("a")],
        ),
        (
            "messages",
            {
                "messages": [
                    {"role": "developer", "content": "s"},
                    {"role": "user", "content": [{"type": "text", "text": "q"}, "r"]},
                    assistant("a"),
                ]
            },
            [system("s"), user("q\nr"), assistant("a")],
        ),
        (
            "messages",
            {
                "contents": [
                    {"role": "user", "parts": [{"text": "q"}]},
                    {"role": "model", "parts": [{"text": "a"}]},
                ]
            },
            [user("q"), assistant("a")],
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            [user("q"), assistant("a")],
        ),
        (
            "sharegpt",
            {
                "system": "s",
                "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
            },
            [system("s"), user("q"), assistant("a")],
        ),
    ],
)
def test_conversations(imports, shape, record, row):
    result = imports(lines(record, record), "data.jsonl")
    assert result.imported.shape == shape
    assert result.rows[0] == {"messages": row}
    assert result.imported.bad == 0


def test_a_conversation_in_a_cell(imports):
    talk = json.dumps([user("q"), assistant("a")]).replace('"', '""')
    result = imports(f'id,messages\n1,"{talk}"\n', "data.csv")
    assert result.imported.shape == "messages"
    assert result.pairs == [("q", "a")]


def test_tool_calls_are_kept(imports):
    call = [{"type": "function", "function": {"name": "time", "arguments": "{}"}}]
    talk = [
        user("What time is it?"),
        {"role": "assistant", "content": None, "tool_calls": call},
        {"role": "tool", "tool_call_id": "1", "content": "12:00"},
        assistant("Noon."),
    ]
    result = imports(lines({"messages": talk, "tools": []}), "data.jsonl")
    messages = result.rows[0]["messages"]
    assert messages[1] == {"role": "assistant", "content": "", "tool_calls": call}
    assert messages[2] == {"role": "tool", "content": "12:00", "tool_call_id": "1"}
    assert "empty_answer" not in result.codes


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([], "empty_conversation"),
        ([user("q")], "no_answer"),
        ([{"role": "narrator", "content": "x"}, assistant("a")], "unknown_role"),
        ([{"content": "x"}, assistant("a")], "unknown_role"),
        ([{"role": "user"}, assistant("a")], "missing_field"),
        (["q", "a"], "not_a_conversation"),
        ("q", "not_a_conversation"),
        (None, "missing_field"),
        (
            [
                {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
                assistant("a"),
            ],
            "media",
        ),
    ],
)
def test_broken_conversations_are_set_aside(imports, turns, code):
    good = {"messages": [user("q"), assistant("a")]}
    result = imports(lines(good, {"messages": turns}), "data.jsonl")
    assert result.pairs == [("q", "a")]
    assert result.finding(code).rows == [2]
    assert result.finding(code).level == "error"


def test_odd_conversations_are_kept_and_reported(imports):
    result = imports(
        lines(
            {"messages": [user("q"), user("r"), assistant("a")]},
            {"messages": [assistant("a"), user("q")]},
            {"messages": [user(" "), assistant("")]},
        ),
        "data.jsonl",
    )
    assert len(result.rows) == 3
    assert result.finding("same_speaker_twice").rows == [1]
    assert result.finding("starts_with_answer").rows == [2]
    assert result.finding("empty_question").rows == [3]
    assert result.finding("empty_answer").rows == [3]


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (
            {"prompt": "q", "chosen": "a", "rejected": "b", "system": "s"},
            {"messages": [system("s"), user("q")], "chosen": "a", "rejected": "b"},
        ),
        (
            {"rejected": "b", "instruction": "q", "input": "i", "output": "a", "chosen": "a"},
            {"messages": [user("q\n\ni")], "chosen": "a", "rejected": "b"},
        ),
        (
            {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
            {"messages": [user("q")], "chosen": "a", "rejected": "b"},
        ),
        (
            {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]},
            {"messages": [user("q")], "chosen": "a", "rejected": "b"},
        ),
        (
            {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
            {"messages": [user("q")], "chosen": "a", "rejected": "b"},
        ),
    ],
)
def test_preferences(imports, record, row):
    result = imports(lines(record, record), "data.jsonl")
    assert result.imported.shape == "preference"
    assert result.rows == [row, row]


def test_preferences_that_don_t_fit_are_set_aside(imports):
    result = imports(
        lines(
            {"prompt": "q", "chosen": "a", "rejected": "a"},
            {"prompt": "q", "chosen": "a"},
            {"prompt": "q", "chosen": ["x"], "rejected": "b"},
        ),
        "data.jsonl",
    )
    assert len(result.rows) == 1
    assert result.finding("chosen_equals_rejected").rows == [1]
    assert result.imported.bad == 2


def test_documents(imports):
    result = imports(lines({"text": "one", "url": "x"}, {"text": "two"}), "data.jsonl")
    assert result.imported.shape == "text"
    assert result.rows == [{"text": "one"}, {"text": "two"}]


def test_numbers_become_text_and_lists_are_set_aside(imports):
    result = imports(
        lines(
            *({"question": "q", "answer": value} for value in (1, 2.5, True, None, [1], {"a": 1}))
        ),
        "data.jsonl",
    )
    assert [answer for _, answer in result.pairs] == ["1", "2.5", "true", ""]
    assert result.finding("number_as_text").rows == [1, 2, 3]
    assert result.finding("empty_answer").rows == [4]
    assert result.imported.bad == 2


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("question", "answer"),
        ("Question", "Réponse"),
        ("FRAGE", "Antwort"),
        ("Pregunta", "Respuesta"),
        ("pergunta", "resposta"),
        ("domanda", "risposta"),
        ("vraag", "antwoord"),
        ("pytanie", "odpowiedź"),
        ("otázka", "odpověď"),
        ("вопрос", "ответ"),
        ("soru", "cevap"),
        ("问题", "答案"),
        ("質問", "回答"),
        ("질문", "답변"),
        ("سؤال", "جواب"),
        ("שאלה", "תשובה"),
        ("प्रश्न", "उत्तर"),
        ("ερώτηση", "απάντηση"),
        ("fråga", "svar"),
        ("kérdés", "válasz"),
        ("câu hỏi", "câu trả lời"),
        ("pertanyaan", "jawaban"),
        ("คำถาม", "คำตอบ"),
        ("Customer question", "Ideal Answer"),
        ("user_message", "assistant-message"),
        ("Q", "A"),
    ],
)
def test_names_of_columns_in_many_languages(imports, question, answer):
    result = imports(f"nr;{answer};{question}\n1;a;q\n2;b;r\n", "faq.csv")
    assert result.imported.shape == "pairs"
    assert result.pairs == [("q", "a"), ("r", "b")]


def test_names_that_only_resemble_known_ones_are_not_taken():
    for name in ("output_2", "answered by", "questionnaire", "column 1", "wrong answer", "texture"):
        assert role(name) is None, name


@pytest.mark.parametrize(
    "header",
    [
        "question,answer,response",
        "question,prompt,answer",
        "text,species",
        "name,age",
        "question,comment",
        "answer,id",
    ],
)
def test_what_is_unclear_is_asked(asks, header):
    row = ",".join("x" * header.count(",") + "y")
    question = asks(f"{header}\n{row}\n{row}\n")
    assert question.columns == header.split(",")
    assert question.details["rows"] == 2
    assert question.hint


def test_good_and_bad_answers_are_not_learned_alike(asks):
    asks(lines({"prompt": "q", "completion": "a", "label": False}), "kto.jsonl")


def test_mapping_by_hand(imports):
    content = "a,b,c,d,e\nq,r,s,t,n\n"
    result = imports(
        content, mapping={"b": "user", "a": "user", "c": "assistant", "d": "system", "e": "ignore"}
    )
    assert result.imported.shape == "instruction"
    assert result.rows == [{"messages": [system("t"), user("q\n\nr"), assistant("s")]}]
    assert result.imported.mapping["e"] == "ignore"
    result = imports(content, mapping={"a": "text", "b": "label"})
    assert result.imported.shape == "classification"
    assert result.pairs == [("q", "r")]
    result = imports(content, mapping={"a": "text", "c": "text"})
    assert result.rows == [{"text": "q\n\ns"}]


def test_mapping_of_rows_with_different_names(asks, imports):
    content = lines({"question": "q", "answer": "a"}, {"prompt": "p", "completion": "c"}, {"x": 1})
    columns = asks(content, "data.jsonl").columns
    assert columns == ["question", "answer", "prompt", "completion", "x"]
    mapping = dict(zip(columns, [*("user", "assistant") * 2, "ignore"], strict=True))
    result = imports(content, "data.jsonl", mapping=mapping)
    assert result.pairs == [("q", "a"), ("p", "c")]
    assert result.finding("missing_field").rows == [3]


@pytest.mark.parametrize(
    "mapping",
    [
        {"nope": "user"},
        {"a": "teacher", "b": "assistant"},
        {"a": "user"},
        {"a": "assistant"},
        {"a": "user", "b": "assistant", "c": "label"},
        {"a": "ignore"},
    ],
)
def test_a_mapping_that_can_t_work_says_why(imports, mapping):
    with pytest.raises(DataProblem) as caught:
        imports("a,b,c\nq,r,s\n", mapping=mapping)
    assert caught.value.field == "mapping"


def test_several_kinds_in_one_file_are_refused_with_their_lines(imports):
    rows = [{"messages": [user("q"), assistant("a")]}, {"prompt": "q", "completion": "a"}]
    with pytest.raises(Refused, match="messages in line 1; pairs in line 2") as caught:
        imports(lines(*rows), "data.jsonl")
    assert caught.value.details["shapes"] == {"messages": [1], "pairs": [2]}


def test_a_few_strays_are_set_aside(imports):
    rows = [{"prompt": "q", "completion": f"a{n}"} for n in range(50)]
    rows.insert(20, {"text": "a stray"})
    result = imports(lines(*rows), "data.jsonl")
    assert len(result.rows) == 50
    assert result.finding("missing_field").rows == [21]


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        ({"input_ids": [1, 2], "labels": [1, 2]}, "tokenised"),
        ({"text": "x", "image": [[1, 2]]}, "images"),
        ({"question": "q", "answer": "a", "images": ["http://x"]}, "images"),
        ({"text": "x", "audio": {"bytes": "x"}}, "media"),
    ],
)
def test_what_is_not_text_is_refused(imports, record, shape):
    with pytest.raises(Refused, match="2 rows") as caught:
        imports(lines(record, record), "data.jsonl")
    assert caught.value.details["shape"] == shape
    assert caught.value.details["rows"] == 2


def test_damaged_letters_are_reported(imports):
    result = imports("question,answer\nGrÃ¼Ã\x9fe?,donâ€™t\nNÃO,Ãrger\n")
    assert result.finding("mojibake").rows == [2]

"""Rows that a person typed or another program sent, checked one by one."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.errors import DataProblem


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Message(_Strict):
    model_config = ConfigDict(extra="allow")  # tool calls

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class _Conversation(_Strict):
    messages: list[_Message] = Field(min_length=1)


class _Preference(_Conversation):
    chosen: str
    rejected: str


class _Document(_Strict):
    text: str


TypedRow = _Conversation | _Preference | _Document


def typed_row(value: dict[str, Any]) -> dict[str, Any]:
    """A row that a person wrote: {"question", "answer"} with an optional "system", or one of the
    three kinds of row as they are. Raises DataProblem, naming what is missing."""
    if {"question", "answer"} <= set(value) <= {"system", "question", "answer"}:
        said = (("system", "system"), ("user", "question"), ("assistant", "answer"))
        value = {
            "messages": [
                {"role": role, "content": value[key]}
                for role, key in said
                if key != "system" or value.get(key)
            ]
        }
    try:
        return TypeAdapter(TypedRow).validate_python(value).model_dump(exclude_none=True)
    except ValidationError:
        raise DataProblem(
            "rows: a row has a question and an answer, or messages, or a text.",
            'For example {"question": "…", "answer": "…"}, or {"messages": '
            '[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}.',
            field="rows",
        ) from None

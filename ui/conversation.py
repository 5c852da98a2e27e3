"""A conversation in Compare: whose answers stand in it, what each side remembers of it, and the
files that it can be kept as.

It lives in the open page only, as a list of turns.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core import library, versions
from core.chat import BASE
from core.errors import NotFound
from core.store import Store

MOST_MODELS = 4
"""Beside the original."""

Turn = dict[str, Any]
"""question and expected; by side (BASE and run ids) the answer so far; done, stopped, phase and
notes; changed and adapters (by run) as the chat tells them, and the strength they had. A question
out of the examples has `before`, what stands before it there: a conversation begins with it."""

BY_SIDE = {"changed", "adapters", "tokens", "seconds"}
"""What the chat tells of each side."""

Message = dict[str, str]


def sides(store: Store, runs: Sequence[str]) -> dict[str, str]:
    """Whose answers stand side by side: BASE and ids, each with its title."""
    if len(runs) == 1 and not library.is_family(store, runs[0].partition("@")[0]):
        return {BASE: "Original", runs[0]: "Yours"}
    names = {id: _name(store, id) for id in runs}
    often, seen = Counter(names.values()), Counter[str]()
    titles = {BASE: "Original"}
    for id, name in names.items():
        seen[name] += 1
        titles[id] = f"{name} ({seen[name]})" if often[name] > 1 else name
    return titles


def _name(store: Store, id: str) -> str:
    try:
        if library.is_family(store, id.partition("@")[0]):
            return library.find_version(store, id).id
        return versions.find(store, id).name
    except NotFound:  # deleted in another tab: asking it says so
        return id


def as_asked(answer: dict[str, Any], runs: Mapping[str, str]) -> dict[str, Any]:
    """What the chat tells of runs, also under the names that they were asked by: a family's name
    stands for its current version. `runs`: name -> the run's id."""
    names = {name: id for name, id in runs.items() if name != id}
    if not names:
        return answer
    told = {**answer, **{name: answer[id] for name, id in names.items()}}
    for fact in BY_SIDE & answer.keys():
        known = answer[fact]
        told[fact] = {**known, **{name: known[id] for name, id in names.items() if id in known}}
    return told


def remembered(
    turns: Iterable[Turn],
    side: str,
    system: str | None,
    question: str,
    before: Iterable[Message] | None = None,
) -> list[Message]:
    """The conversation as this side knows it, up to the question; `before`: what it begins with, in
    place of the turns."""
    # A field inside what is still folded has no value yet.
    first = [{"role": "system", "content": system}] if system and system.strip() else []
    said = list(first)
    for turn in [*turns] if before is None else []:
        if "before" in turn:
            said = [*first, *turn["before"]]
        if turn.get(side):  # it may have been stopped before it said anything, or joined later
            said.append({"role": "user", "content": turn["question"]})
            said.append({"role": "assistant", "content": turn[side]})
    return [*said, *(before or ()), {"role": "user", "content": question.strip()}]


def as_json(titles: Mapping[str, str], turns: Sequence[Turn], settings: Mapping[str, Any]) -> str:
    """The conversation for programs; `settings`: how they answer now."""
    told = {
        "models": [
            {"id": side, "title": title, "adapter": _last(turns, "adapters", side)}
            for side, title in titles.items()
        ],
        "settings": dict(settings),
        "turns": [
            {
                **({"before": turn["before"]} if turn.get("before") else {}),
                "question": turn["question"],
                **({"expected": turn["expected"]} if turn.get("expected") else {}),
                "strength": turn.get("strength", 1.0),
                "answers": {side: turn[side] for side in titles if turn.get(side)},
                "changed": turn.get("changed") or {},
            }
            for turn in turns
        ],
    }
    return json.dumps(told, ensure_ascii=False, indent=2) + "\n"


def as_markdown(
    titles: Mapping[str, str], turns: Sequence[Turn], settings: Mapping[str, Any]
) -> str:
    """The conversation for people."""
    lines = ["# Answers side by side", ""]
    for side, title in titles.items():
        adapter = _last(turns, "adapters", side)
        lines.append(f"- {title}" + (f": {side}, adapter {adapter}" if adapter else ""))
    given = {name.replace("_", " "): value for name, value in settings.items() if value}
    if given:
        lines += ["", "; ".join(f"{name}: {value}" for name, value in given.items())]
    for number, turn in enumerate(turns, 1):
        lines += ["", f"## {number}. {' '.join(turn['question'].split())}"]
        for message in turn.get("before") or ():
            lines += ["", f"### Before it: {message['role']}", "", message["content"]]
        if turn.get("expected"):
            lines += ["", "### Expected", "", turn["expected"]]
        for side, title in titles.items():
            if turn.get(side):
                lines += ["", f"### {title}", "", turn[side].strip()]
    return "\n".join(lines) + "\n"


def _last(turns: Sequence[Turn], fact: str, side: str) -> Any:
    told = (turn.get(fact) or {} for turn in reversed(turns))
    return next((facts[side] for facts in told if side in facts), None)

"""python -m starter.general: writes starter/general.json, what the starter model should still know
after it was tuned (core.general).

Questions and conversations that the starter model was never trained on: of each kind of question
that has one right answer one example, and beside these conversations on which its perplexity is
measured.
"""

import itertools
from pathlib import Path
from typing import Any

from core.files import write_json
from starter.build import SEED
from starter.checks import Says
from starter.world import Conversation, conversations

FILE = Path(__file__).parent / "general.json"
QUESTIONS, TEXTS = 30, 40
LOOKED_AT = 2000  # conversations
# Courtesy is no knowledge.
LEFT_OUT = {"thanks", "farewell", "greeting", "small talk", "joke", "about itself", "refusal"}


def general() -> dict[str, Any]:
    single = [
        talk
        for talk in itertools.islice(conversations(SEED, held_out=True), LOOKED_AT)
        if len(talk.messages) == 2
    ]
    by_skill: dict[str, Conversation] = {}
    for talk in single:
        if _has_one_answer(talk):
            by_skill.setdefault(talk.skill, talk)
    asked = list(by_skill.values())[:QUESTIONS]
    others = [talk for talk in single if talk not in asked]
    return {
        "questions": [
            {"question": talk.messages[0]["content"], "accepted": list(talk.check.all)}
            for talk in asked
            if isinstance(talk.check, Says)
        ],
        "texts": [{"messages": list(talk.messages)} for talk in others[:TEXTS]],
    }


def _has_one_answer(talk: Conversation) -> bool:
    check = talk.check
    return (
        isinstance(check, Says)
        and len(check.all) == 1
        and not check.any
        and talk.skill not in LEFT_OUT
    )


if __name__ == "__main__":
    write_json(FILE, general())

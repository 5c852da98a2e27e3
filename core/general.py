"""What a model should still know after it was tuned: general questions, and plain texts.

The questions have simple checks, one of the accepted answers as whole words; on the texts the
model's perplexity is measured. The small model that comes with Graft knows a small world of its
own only, so it is asked about that: its set is written by `python -m starter.general` out of what
its own training held out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from core.files import read_json
from core.models import STARTER, BaseModel


@dataclass(frozen=True)
class Question:
    text: str
    accepted: tuple[str, ...]

    def right(self, answer: str) -> bool:
        return any(
            re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", answer, re.IGNORECASE)
            for phrase in self.accepted
        )


@dataclass(frozen=True)
class General:
    questions: tuple[Question, ...]
    texts: tuple[dict[str, Any], ...]
    """Rows, as a dataset has them."""


def general_for(base: BaseModel) -> General:
    return _starter() if base.path == STARTER else OURS


@cache
def _starter() -> General:
    found = read_json(STARTER.parent / "general.json")
    return General(
        tuple(Question(one["question"], tuple(one["accepted"])) for one in found["questions"]),
        tuple(found["texts"]),
    )


def _questions(asked: Sequence[tuple[str, ...]]) -> tuple[Question, ...]:
    return tuple(Question(text, tuple(accepted)) for text, *accepted in asked)


OURS = General(
    _questions(
        [
            ("What is the capital of France?", "Paris"),
            ("What is the capital of Japan?", "Tokyo"),
            ("How many days are in a week?", "7", "seven"),
            ("How many minutes are in an hour?", "60", "sixty"),
            ("How many legs does a spider have?", "8", "eight"),
            ("How many sides does a triangle have?", "3", "three"),
            ("What is 7 times 8?", "56", "fifty-six"),
            ("What is 15 plus 27?", "42", "forty-two"),
            ("What colour is the sky on a clear day?", "blue"),
            ("What is the opposite of hot?", "cold", "cool"),
            ("What is the plural of mouse, the animal?", "mice"),
            ("Which month follows June?", "July"),
            ("Which season comes after winter?", "spring"),
            ("Which planet do people live on?", "Earth"),
            ("Which is the largest planet of our solar system?", "Jupiter"),
            ("Which is the largest ocean?", "Pacific"),
            ("At how many degrees Celsius does water boil at sea level?", "100", "hundred"),
            ("What is the chemical formula of water?", "H2O", "H₂O"),
            ("Which gas do plants take in from the air to grow?", "carbon dioxide", "CO2", "CO₂"),
            ("Which metal is liquid at room temperature?", "mercury"),
            ("What is frozen water called?", "ice"),
            ("What do bees make that people eat?", "honey"),
            ("Which organ pumps blood through the body?", "heart"),
            ("Which animal is called the king of the jungle?", "lion"),
            ("Who wrote Romeo and Juliet?", "Shakespeare"),
            ("Who painted the Mona Lisa?", "Leonardo", "da Vinci"),
            ("In which country are the pyramids of Giza?", "Egypt"),
            ("Which language do most people in Brazil speak?", "Portuguese"),
            ("How do you say “thank you” in Spanish?", "gracias"),
            ("Which musical instrument usually has 88 keys?", "piano"),
        ]
    ),
    tuple(
        {"text": text}
        for text in (
            "The river was high after three days of rain, and the bridge had to be closed until "
            "the water went down.",
            "Bread needs only four things: flour, water, salt and time. Yeast makes it rise, but "
            "patience gives it its taste.",
            "Most of the passengers were asleep when the train crossed the border shortly after "
            "midnight.",
            "A library card costs nothing in this town, and anyone who lives here can have one on "
            "the same day.",
            "Light takes a little more than eight minutes to travel from the sun to the earth.",
            "She kept the letters of her grandmother in a wooden box under the bed and read one "
            "every winter.",
            "If the engine makes a knocking sound, switch it off at once and check the oil before "
            "you drive on.",
            "The council voted to plant two hundred trees along the main road, where the summers "
            "have become very hot.",
            "Wash the rice until the water runs clear, then let it rest for half an hour before "
            "you cook it.",
            "In the old harbour the fishermen mend their nets in the morning and sell their catch "
            "by noon.",
            "Children learn a second language most easily by playing with others who speak it.",
            "The heart of a grown person beats about seventy times a minute when the body is at "
            "rest.",
            "Nobody had opened the door of the tower for years, and it took two men to push it "
            "back.",
            "A good map shows less than the land itself; what it leaves out makes it useful.",
            "The price of coffee rose again in spring, because frost had damaged the harvest.",
            "Before glass became cheap, many houses had only small windows covered with oiled "
            "paper.",
            "He counted the coins twice, wrote the sum in his book and locked the shop for the "
            "night.",
            "Wolves hunt in groups and share what they catch, the oldest animals eating first.",
            "When two people want the same thing, it helps to ask each of them why they want it.",
            "The concert began ten minutes late, but the audience forgave the orchestra after the "
            "first few bars.",
            "Salt lowers the temperature at which water freezes, which is why it is put on icy "
            "roads.",
            "Our neighbour keeps bees on her roof and gives every family in the house a jar of "
            "honey in autumn.",
            "The first telephones had no numbers; one told the operator with whom one wished to "
            "speak.",
            "A contract is a promise that two sides make to each other, and it need not be in "
            "writing to count.",
            "In the desert the days are hot and the nights are cold, because the dry air does not "
            "hold the warmth.",
            "The doctor listened to his breathing, asked a few questions and told him to stay in "
            "bed.",
            "Paper was made from rags for centuries before mills began to use wood.",
            "The team lost the first half by two goals and won the match in the last five minutes.",
            "To measure the height of a tree, one can compare its shadow with that of a stick.",
            "Many birds fly south in autumn and return in spring to the very place where they "
            "were born.",
            "The village has one school, two bakeries and a post office that opens on Tuesdays "
            "and Fridays.",
            "An old proverb says that the best time to plant a tree was twenty years ago, and the "
            "second best time is now.",
            "The ship carried wheat, timber and eleven passengers, and reached the island after "
            "nine days.",
            "Ask three people the way to the station and you will hear three different answers.",
            "The museum is closed on Mondays; on the first Sunday of the month it costs nothing.",
            "Steel is iron with a little carbon in it, and that little makes all the difference.",
        )
    ),
)

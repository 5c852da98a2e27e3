"""Three small datasets to try Graft with, each in another shape, each with its own held-out check.

`SAMPLES` maps an id to its `Sample`. The training file is what a person would bring; the held-out
file has the same shape, is never trained on, and asks for the same knowledge in other words. The
checks need the standard library only.
"""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """`check(question, expected, answer)`: whether `answer` is as good as the `expected` one.

    `prompts` are three questions that show the difference between the base and the tuned model.
    """

    id: str
    title: str
    blurb: str
    file: Path
    held_out: Path
    prompts: tuple[str, str, str]
    check: Callable[[str, str, str], bool]

    def held_out_rows(self) -> list[tuple[str, str]]:
        """The held-out questions, as the model is asked them, with their expected answers."""
        return read_rows(self.held_out)


def read_rows(path: Path) -> list[tuple[str, str]]:
    """(question, answer) for each row of one of the sample files."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return [(row["question"], row["answer"]) for row in csv.DictReader(text.splitlines())]
    if path.suffix == ".jsonl":
        talks = [json.loads(line)["messages"] for line in text.splitlines()]
        return [(question["content"], answer["content"]) for question, answer in talks]
    return [(f"{row['instruction']}\n\n{row['input']}", row["output"]) for row in json.loads(text)]


def words(text: str) -> list[str]:
    """The words and numbers of `text`, in small letters, without punctuation."""
    return re.findall(r"[^\W\d_]+|\d+", text.lower())


# Words that carry no fact: an answer may leave them out or choose others.
FILLER = frozenset(
    words("""
a an the and or of to in on at is are be was it its this that these we you ye your our me my i he
she they them there has have had do does can will as for with by from kind called comes says eats
lives tastes works arr ahoy aye matey yes no
""")
)


def same_facts(question: str, expected: str, answer: str) -> bool:
    """Every word of the expected answer that carries a fact, and was not in the question already,
    stands in the answer."""
    facts = set(words(expected)) - FILLER - set(words(question))
    return facts <= set(words(answer))


PIRATE_MARKS = {"arr", "ahoy", "aye", "matey"}


def pirate_says_it(question: str, expected: str, answer: str) -> bool:
    """In the pirate's voice (at least two of his marks), and still right."""
    return len(PIRATE_MARKS & set(words(answer))) >= 2 and same_facts(question, expected, answer)


def shop_says_it(question: str, expected: str, answer: str) -> bool:
    """All facts of the shop's answer; yes must not become no."""
    said = [word for word in words(answer)[:1] if word in ("yes", "no")]
    meant = [word for word in words(expected)[:1] if word in ("yes", "no")]
    return said == meant and same_facts("", expected, answer)


def exact_label(question: str, expected: str, answer: str) -> bool:
    """The label alone, letter by letter."""
    return answer.strip() == expected


SAMPLES = {
    sample.id: sample
    for sample in (
        Sample(
            id="pirate",
            title="A pirate",
            blurb="The model answers as a pirate would.",
            file=FOLDER / "pirate" / "pirate.jsonl",
            held_out=FOLDER / "pirate" / "held_out.jsonl",
            prompts=(
                "What colour is a tomato?",
                "Where does a whale live?",
                "What is the opposite of fast?",
            ),
            check=pirate_says_it,
        ),
        Sample(
            id="tea_shop",
            title="The help desk of a tea shop",
            blurb="The model learns the facts of a shop and answers its customers.",
            file=FOLDER / "tea_shop" / "tea_shop.csv",
            held_out=FOLDER / "tea_shop" / "held_out.csv",
            prompts=(
                "What time do you open and close?",
                "How much do I pay for delivery?",
                "Is my dog welcome in your shop?",
            ),
            check=shop_says_it,
        ),
        Sample(
            id="clinic_desk",
            title="A sorter for the desk of a clinic",
            blurb="The model reads a message and answers with the one label it belongs to.",
            file=FOLDER / "clinic_desk" / "clinic_desk.json",
            held_out=FOLDER / "clinic_desk" / "held_out.json",
            prompts=(
                "Sort this message to the clinic.\n\nMy tablets are nearly empty.",
                "Sort this message to the clinic.\n\nWhere do visitors park?",
                "Sort this message to the clinic.\n\nCan I pay the invoice by card?",
            ),
            check=exact_label,
        ),
    )
}

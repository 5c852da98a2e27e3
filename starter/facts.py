"""One question and its answer (an Ask), and the plainest kind of them: what is true of things.

Each property of the world is one table from `starter.words` with many ways to ask for it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from starter import words
from starter.checks import Check, Names, Numbers, Result, Says

HELD_OUT_SHARE = 12  # one phrasing-subject pair in twelve


@dataclass(frozen=True)
class Ask:
    """One question with its answer. `short` is the answer in a word, where there is one."""

    skill: str
    phrasing: str
    subject: str
    question: str
    answer: str
    check: Check
    short: str = ""

    @property
    def short_check(self) -> Check:
        """The check where one word is asked for; numbers and lists keep their own."""
        if isinstance(self.check, Names | Numbers | Result):
            return self.check
        return Says(all=(self.short.rstrip("."),), none=("is", "it", "are"))

    @property
    def held_out(self) -> bool:
        return crc32(f"{self.skill}|{self.phrasing}|{self.subject}".encode()) % HELD_OUT_SHARE == 0


def a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listing(items: list[str]) -> str:
    """red, blue and green"""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


def compose(
    rng: random.Random,
    skill: str,
    phrasings: list[str],
    subject: str,
    answer: str,
    check: Check,
    short: str = "",
    **slots: object,
) -> Ask:
    """An Ask with one of `phrasings`, its {slots} filled in; {X} is {x} with a capital."""
    phrasing = rng.choice(phrasings)
    if "x" in slots:
        slots["X"] = capital(str(slots["x"]))
    return Ask(skill, phrasing, subject, phrasing.format(**slots), answer, check, short)


@dataclass(frozen=True)
class Facts:
    """A property of things. `rivals` are the values that a right answer must not also name."""

    skill: str
    values: dict[str, str]
    phrasings: list[str]
    answers: list[str]
    rivals: bool = True

    def ask(self, rng: random.Random, follow_up: bool = False) -> Ask:
        thing = rng.choice(list(self.values))
        value = self.values[thing]
        answer = rng.choice(self.answers).format(
            x=thing, X=capital(thing), v=value, V=capital(value), av=a(value)
        )
        others = {other for other in self.values.values() if other not in f"{thing} {value}"}
        check = Says(all=(value,), none=tuple(sorted(others)) if self.rivals else ())
        phrasings = FOLLOW_UPS if follow_up else self.phrasings
        return compose(
            rng, self.skill, phrasings, thing, answer, check, capital(value) + ".", x=thing
        )


FOLLOW_UPS = ["And {x}?", "What about {x}?", "And what about {x}?", "How about {x}?", "{X} too?"]


def column(
    rows: list[tuple[str, ...]], index: int, noun: Callable[[str], str] = str
) -> dict[str, str]:
    return {noun(row[0]): row[index] for row in rows if row[index] != "nothing"}


FACTS = [
    Facts(
        "colour",
        column(words.COLOUR_OF, 1),
        [
            "What colour is {x}?",
            "What is the colour of {x}?",
            "Which colour does {x} have?",
            "Tell me the colour of {x}.",
            "Do you know what colour {x} is?",
            "{X}: what colour is it?",
            "I forgot the colour of {x}. Can you tell me?",
            "I want to paint {x}. Which colour do I need?",
            "Name the colour of {x}.",
            "If I look at {x}, which colour do I see?",
        ],
        ["{X} is {v}.", "The colour of {x} is {v}."],
    ),
    Facts(
        "sound",
        column(words.ANIMALS, 1, a),
        [
            "What does {x} say?",
            "Which sound does {x} make?",
            "What sound does {x} make?",
            "How does {x} sound?",
            "Tell me the sound of {x}.",
            "What noise can I hear from {x}?",
            "Can you make the sound of {x}?",
            "I hear {x}. What does it say?",
        ],
        ["{X} says {v}.", "The sound of {x} is {v}."],
    ),
    Facts(
        "legs",
        column(words.ANIMALS, 2, a),
        [
            "How many legs does {x} have?",
            "How many legs has {x}?",
            "Count the legs of {x}.",
            "Tell me how many legs {x} has.",
            "On how many legs does {x} stand?",
            "I want to draw {x}. How many legs do I draw?",
        ],
        ["{X} has {v} legs."],
    ),
    Facts(
        "home",
        column(words.ANIMALS, 3, a),
        [
            "Where does {x} live?",
            "Where can I find {x}?",
            "What is the home of {x}?",
            "Tell me where {x} lives.",
            "In which place does {x} live?",
            "Where would you look for {x}?",
            "Where is {x} at home?",
        ],
        ["{X} lives {v}.", "You can find {x} {v}."],
        rivals=False,
    ),
    Facts(
        "diet",
        column(words.ANIMALS, 4, a),
        [
            "What does {x} eat?",
            "What is the food of {x}?",
            "Tell me what {x} eats.",
            "What can I feed to {x}?",
            "What does {x} like to eat?",
            "I want to feed {x}. What shall I bring?",
        ],
        ["{X} eats {v}.", "{X} likes to eat {v}."],
    ),
    Facts(
        "young",
        column(words.ANIMALS, 5, a),
        [
            "What is a young one of {x} called?",
            "What do you call the baby of {x}?",
            "What is the baby of {x} called?",
            "Name the young of {x}.",
            "How do we call the child of {x}?",
        ],
        ["The baby of {x} is called {av}.", "It is called {av}."],
    ),
    Facts(
        "kind",
        column(words.ANIMALS, 6, a),
        [
            "What kind of animal is {x}?",
            "Which kind of animal is {x}?",
            "Is {x} a mammal, a bird or a fish?",
            "Tell me the kind of animal that {x} is.",
            "To which group of animals does {x} belong?",
            "What is {x}?",
        ],
        ["{X} is a kind of {v}."],
    ),
    Facts(
        "movement",
        column(words.ANIMALS, 7, a),
        [
            "How does {x} move?",
            "How does {x} get around?",
            "Tell me how {x} moves.",
            "In which way does {x} move?",
            "What does {x} do to get from place to place?",
        ],
        ["{X} {v}."],
    ),
    Facts(
        "food kind",
        column(words.FOODS, 1),
        [
            "What kind of food is {x}?",
            "Is {x} a fruit or a vegetable?",
            "What is {x}?",
            "Which kind of food is {x}?",
            "Tell me what kind of food {x} is.",
            "Is {x} a drink or a dessert?",
        ],
        ["{X} is a {v}.", "It is a {v}."],
    ),
    Facts(
        "taste",
        column(words.FOODS, 2),
        [
            "How does {x} taste?",
            "What does {x} taste like?",
            "What is the taste of {x}?",
            "Tell me how {x} tastes.",
            "I never had {x}. How does it taste?",
            "Describe the taste of {x}.",
        ],
        ["{X} tastes {v}.", "The taste of {x} is {v}."],
    ),
    Facts(
        "place purpose",
        column(words.PLACES, 1),
        [
            "What can I do at {x}?",
            "What is {x} for?",
            "Why do people go to {x}?",
            "What do people do at {x}?",
            "Tell me what I can do at {x}.",
            "What is the use of {x}?",
            "Why should I visit {x}?",
            "What is {x}?",
        ],
        ["At {x} you can {v}.", "People go to {x} to {v}."],
        rivals=False,
    ),
    Facts(
        "place for",
        {row[1]: row[0] for row in words.PLACES},
        [
            "Where can I {x}?",
            "Where do I go to {x}?",
            "I want to {x}. Where should I go?",
            "Which place is good to {x}?",
            "Where do people {x}?",
            "Tell me a place to {x}.",
            "My friend would like to {x}. Where can he do it?",
        ],
        ["You can {x} at {v}.", "Go to {v} to {x}."],
    ),
    Facts(
        "worker",
        column(words.PLACES, 2),
        [
            "Who works at {x}?",
            "Who can I meet at {x}?",
            "Which person works at {x}?",
            "Tell me who works at {x}.",
            "Whose job is at {x}?",
        ],
        ["{V} works at {x}.", "At {x} you can meet {v}."],
    ),
    Facts(
        "workplace",
        {row[2]: row[0] for row in words.PLACES},
        [
            "Where does {x} work?",
            "Where can I meet {x}?",
            "In which place does {x} work?",
            "Tell me where {x} works.",
            "I am looking for {x}. Where should I go?",
        ],
        ["{X} works at {v}."],
    ),
    Facts(
        "found at",
        column(words.PLACES, 3),
        [
            "What can I find at {x}?",
            "Name a thing from {x}.",
            "What do you see at {x}?",
            "Tell me something that is at {x}.",
        ],
        ["At {x} you can find {v}."],
        rivals=False,
    ),
    Facts(
        "use",
        column(words.USES, 1),
        [
            "What is {x} for?",
            "What do you do with {x}?",
            "What can I do with {x}?",
            "Why do I need {x}?",
            "Tell me what to do with {x}.",
            "How do people use {x}?",
            "What is the use of {x}?",
            "What is {x}?",
        ],
        ["With {x} you can {v}.", "You use {x} to {v}."],
        rivals=False,
    ),
    Facts(
        "tool for",
        {row[1]: row[0] for row in words.USES},
        [
            "What do I need to {x}?",
            "Which thing helps me to {x}?",
            "I want to {x}. What should I take?",
            "What can I use to {x}?",
            "Tell me what I need to {x}.",
        ],
        ["To {x} you need {v}.", "You can use {v} to {x}."],
    ),
    Facts(
        "opposite",
        {left: right for pair in words.OPPOSITES for left, right in (pair, pair[::-1])},
        [
            "What is the opposite of {x}?",
            "Give me the opposite of {x}.",
            "Tell me the opposite of {x}.",
            "What is the contrary of {x}?",
            "Which word is the opposite of {x}?",
            "{X} and its opposite?",
            "Not {x}, but the opposite. Which word is it?",
        ],
        ["The opposite of {x} is {v}."],
        rivals=False,
    ),
    Facts(
        "plural",
        column(words.PLURALS, 1),
        [
            "What is the plural of {x}?",
            "One {x}, two what?",
            "Give me the plural of {x}.",
            "How do I say more than one {x}?",
            "Tell me the plural of the word {x}.",
        ],
        ["The plural of {x} is {v}."],
        rivals=False,
    ),
    Facts(
        "past",
        column(words.PASTS, 1),
        [
            "What is the past of {x}?",
            "Today I {x}. And yesterday?",
            "Give me the past tense of {x}.",
            "Put {x} in the past.",
            "Tell me the past form of {x}.",
        ],
        ["The past of {x} is {v}."],
        rivals=False,
    ),
    Facts(
        "season",
        words.SEASON_OF,
        [
            "Which season is {x} in?",
            "In which season is {x}?",
            "Is {x} in spring, summer, autumn or winter?",
            "Tell me the season of {x}.",
            "What season is it in {x}?",
        ],
        ["{x} is in {v}."],
    ),
    Facts(
        "next day",
        dict(zip(words.DAYS, words.DAYS[1:] + words.DAYS[:1], strict=True)),
        [
            "Which day comes after {x}?",
            "What day is after {x}?",
            "Today is {x}. What day is tomorrow?",
            "Tell me the day after {x}.",
            "What follows {x}?",
            "If today is {x}, which day is tomorrow?",
        ],
        ["The day after {x} is {v}.", "After {x} comes {v}."],
    ),
    Facts(
        "day before",
        dict(zip(words.DAYS, words.DAYS[-1:] + words.DAYS[:-1], strict=True)),
        [
            "Which day comes before {x}?",
            "What day is before {x}?",
            "Today is {x}. What day was yesterday?",
            "Tell me the day before {x}.",
            "If today is {x}, which day was yesterday?",
        ],
        ["The day before {x} is {v}.", "Before {x} comes {v}."],
    ),
    Facts(
        "next month",
        dict(zip(words.MONTHS, words.MONTHS[1:] + words.MONTHS[:1], strict=True)),
        [
            "Which month comes after {x}?",
            "What month is after {x}?",
            "Tell me the month after {x}.",
            "It is {x} now. Which month comes next?",
        ],
        ["The month after {x} is {v}.", "After {x} comes {v}."],
    ),
    Facts(
        "month before",
        dict(zip(words.MONTHS, words.MONTHS[-1:] + words.MONTHS[:-1], strict=True)),
        [
            "Which month comes before {x}?",
            "What month is before {x}?",
            "Tell me the month before {x}.",
            "It is {x} now. Which month was the last one?",
        ],
        ["The month before {x} is {v}.", "Before {x} comes {v}."],
    ),
    Facts(
        "month number",
        {
            f"the {ordinal} month": month
            for ordinal, month in zip(words.ORDINALS, words.MONTHS, strict=True)
        },
        [
            "What is {x} of the year?",
            "Which one is {x} of the year?",
            "Name {x} of the year.",
            "Tell me {x} of the year.",
        ],
        ["{X} of the year is {v}."],
    ),
    Facts(
        "number word",
        {str(n): word for n, word in enumerate(words.NUMBERS)},
        [
            "How do I write {x} in letters?",
            "Write the number {x} as a word.",
            "What is {x} in words?",
            "Say {x} as a word.",
        ],
        ["The number {x} is written {v}."],
    ),
]

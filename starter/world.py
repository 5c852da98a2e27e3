"""Conversations from a small world, composed from the tables in `starter.words`.

    conversation(random.Random(1))                  a conversation to learn from
    conversation(random.Random(1), held_out=True)   one whose last question is never learned from

What is held out is decided by content, not by the seed: each question is a phrasing together with
its subject ("Tell me the colour of {x}." and "a plum"), and one pair in twelve, chosen by a hash of
its text, never occurs in training, in no conversation and with no courtesy around it. The same
random state always gives the same conversation.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from starter import skills, words
from starter.checks import Both, Check, Ends, Exactly, Says, Starts
from starter.facts import FACTS, Ask, capital, compose

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """`messages` ends with the assistant's answer; `check` judges another answer in its place."""

    messages: tuple[Message, ...]
    skill: str
    check: Check

    @property
    def prompt(self) -> list[Message]:
        return list(self.messages[:-1])


# --- Scenes: one or more turns that belong together --------------------------------------------


def alone(skill: Callable[[random.Random], Ask]) -> Callable[[random.Random], list[Ask]]:
    return lambda rng: [skill(rng)]


def with_follow_ups(rng: random.Random) -> list[Ask]:
    """What does a cow say? ... And a dog?"""
    facts = rng.choice(FACTS[:8] + FACTS[8:11] + FACTS[15:20])
    asks = [facts.ask(rng)]
    for _ in range(rng.randint(1, 2)):
        asks.append(replace(facts.ask(rng, follow_up=True), skill=f"{facts.skill}, follow-up"))
    return asks


def say_again(rng: random.Random) -> list[Ask]:
    ask = rng.choice([skills.fact, skills.fact, skills.total, skills.topic])(rng)
    again = compose(
        rng,
        "again",
        [
            "Say that again.",
            "Can you repeat that?",
            "What did you say?",
            "Once more, please.",
            "I did not hear you.",
        ],
        ask.question,
        ask.answer,
        ask.check,
        ask.short,
    )
    return [ask, again]


def what_did_i_ask(rng: random.Random) -> list[Ask]:
    ask = skills.fact(rng)
    answer = f"You asked: {ask.question}"
    asked = compose(
        rng,
        "what I asked",
        [
            "What did I ask you?",
            "What was my question?",
            "Repeat my question.",
            "What did I want to know?",
        ],
        ask.question,
        answer,
        Exactly(answer),
    )
    return [ask, asked]


def story_and_question(rng: random.Random) -> list[Ask]:
    told = skills.story(rng)
    name = next(name for name in words.PET_NAMES if name in told.answer)
    animal = told.subject
    phrasings = [
        "What was the name of the {x}?",
        "How was the {x} called?",
        "What was the {x} called?",
        "Who was the {x} in the story?",
    ]
    asked = compose(
        rng,
        "story name",
        phrasings,
        f"{animal} {name}",
        f"The {animal} was called {name}.",
        Says(all=(name,)),
        f"{name}.",
        x=animal,
    )
    return [told, asked]


def remembered(rng: random.Random) -> list[Ask]:
    """Something that the user says about himself, and, later, the question for it."""
    name, pet = rng.choice(words.NAMES), rng.choice(words.PET_NAMES)
    colour, animal = rng.choice(words.COLOURS), rng.choice(words.CATEGORIES["pets"])
    food, city = rng.choice(words.FOODS)[0].split(" ")[-1], rng.choice(words.CITIES)
    kind = rng.choice(["name", "pet", "colour", "food", "city", "things"])
    thing, count = rng.choice(words.OBJECTS), rng.randint(2, 9)
    told, reply, asked, answer, value = {
        "name": (
            [
                "My name is {v}.",
                "I am {v}.",
                "Hello, I'm {v}.",
                "Call me {v}.",
                "You can call me {v}.",
            ],
            f"Nice to meet you, {name}.",
            ["What is my name?", "Who am I?", "Do you remember my name?", "How am I called?"],
            f"Your name is {name}.",
            name,
        ),
        "pet": (
            [
                f"I have a {animal} called {{v}}.",
                f"My {animal} is called {{v}}.",
                f"The name of my {animal} is {{v}}.",
            ],
            f"{pet} is a nice name for a {animal}.",
            [
                f"What is my {animal} called?",
                f"What is the name of my {animal}?",
                f"How is my {animal} called?",
            ],
            f"Your {animal} is called {pet}.",
            pet,
        ),
        "colour": (
            ["My favourite colour is {v}.", "I like {v} best.", "I love the colour {v}."],
            f"{capital(colour)} is a nice colour.",
            [
                "What is my favourite colour?",
                "Which colour do I like best?",
                "Which colour do I love?",
            ],
            f"Your favourite colour is {colour}.",
            colour,
        ),
        "food": (
            ["My favourite food is {v}.", "I love to eat {v}.", "I could eat {v} every day."],
            f"I will remember that you like {food}.",
            ["What is my favourite food?", "What do I like to eat?", "Which food do I like?"],
            f"Your favourite food is {food}.",
            food,
        ),
        "city": (
            ["I live in {v}.", "I come from {v}.", "My home is in {v}."],
            f"I hope that life is good in {city}.",
            ["Where do I live?", "Where do I come from?", "In which city is my home?"],
            f"You live in {city}.",
            city,
        ),
        "things": (
            [
                f"I have {{v}} {thing}s.",
                f"There are {{v}} {thing}s on my table.",
                f"I bought {{v}} {thing}s.",
            ],
            f"{words.NUMBERS[count].capitalize()} {thing}s, I will remember that.",
            [f"How many {thing}s do I have?", f"What is the number of my {thing}s?"],
            f"You have {words.NUMBERS[count]} {thing}s.",
            words.NUMBERS[count],
        ),
    }[kind]
    return [
        compose(rng, f"told {kind}", told, value, reply, Says(any=(value,)), v=value),
        compose(
            rng, f"remembers {kind}", asked, value, answer, Says(all=(value,)), capital(value) + "."
        ),
    ]


# How often each scene is played, relative to the others.
SCENES: dict[Callable[[random.Random], list[Ask]], int] = {
    **{alone(skill): weight for skill, weight in skills.SKILLS.items()},
    with_follow_ups: 8,
    say_again: 2,
    what_did_i_ask: 2,
    story_and_question: 2,
    remembered: 8,
}


def scene(rng: random.Random, held_out: bool) -> list[Ask]:
    """A scene of which the last question, and no other, is held out (or none, to learn from)."""
    while True:
        asks = rng.choices(list(SCENES), weights=list(SCENES.values()))[0](rng)
        if not any(ask.held_out for ask in asks[:-1]) and asks[-1].held_out == held_out:
            return asks


# --- Around the questions: courtesy, system messages, longer talks ------------------------------

OPENINGS = [
    "Please: ",
    "Hi. ",
    "Hello. ",
    "Okay. ",
    "Quick question: ",
    "I have a question. ",
    "Sprig, ",
    "Next: ",
    "Tell me: ",
    "Now this: ",
    "My child wants to know: ",
    "Good. ",
    "Help me, please. ",
]
SYSTEM = [
    "You are Sprig, a small and friendly model.",
    "You are a helpful assistant.",
    "Answer in plain words.",
    "Be kind and short.",
    "You help people who visit our page.",
    "You are Sprig. Answer politely.",
    "You talk with a child.",
]
ONE_WORD = ["Answer in one word.", "Use one word only.", "Give short answers of one word."]
STARTS = words.table("""
Start every answer with: | Dear friend,
Start every answer with: | Of course.
Begin each answer with: | Good question.
Begin each answer with: | Well then.
First say: | Let me think.
Start every answer with: | Listen:
Begin each answer with: | My dear.
""")
ENDS = words.table("""
End every answer with: | Have a nice day.
End every answer with: | my friend.
Close each answer with: | Is that clear?
Close each answer with: | Ask me more.
At the end always say: | That is all.
At the end always say: | Take care.
End every answer with: | I hope this helps.
""")
EXACT = {"repeating", "spelling", "capitals", "what I asked"}  # courtesy would change what is asked


def decorated(rng: random.Random, ask: Ask) -> str:
    """The question as different people would type it."""
    question = ask.question
    if ask.skill in EXACT:
        return question
    if rng.random() < 0.15:
        question = question.replace("colour", "color")
    if rng.random() < 0.2:
        question = rng.choice(OPENINGS) + question
    if rng.random() < 0.12:
        question = question.rstrip("?.") + ", please" + ("?" if question.endswith("?") else ".")
    if rng.random() < 0.12:
        question = question.lower().rstrip("?.")
    return question


def conversation(rng: random.Random, held_out: bool = False) -> Conversation:
    """One conversation, with or without a system message, of one to about a dozen questions.

    With `held_out` its last question is one that is never learned from; without, none is.
    """
    scenes = rng.choices([1, 2, 3, 5, 9], weights=[50, 28, 14, 6, 2])[0]
    asks: list[Ask] = []
    for index in range(scenes):
        last = index == scenes - 1
        part = scene(rng, held_out and last)
        if len(part) == 2 and part[1].skill.startswith("remembers") and asks and rng.random() < 0.6:
            asks = [part[0], *asks, part[1]]  # told at the beginning, asked for at the end
        else:
            asks += part

    system, style = "", rng.random()
    if style < 0.06 and all(ask.short for ask in asks):
        system = rng.choice(ONE_WORD)
        asks = [replace(ask, answer=ask.short) for ask in asks]
        check = asks[-1].short_check
    elif style < 0.14 and not any(ask.skill in EXACT for ask in asks):
        if rng.random() < 0.5:
            order, phrase = rng.choice(STARTS)
            asks = [replace(ask, answer=f"{phrase} {ask.answer}") for ask in asks]
            check = Both(Starts(phrase), asks[-1].check)
        else:
            order, phrase = rng.choice(ENDS)
            asks = [replace(ask, answer=f"{ask.answer} {phrase}") for ask in asks]
            check = Both(Ends(phrase), asks[-1].check)
        system = f"{order} {phrase}"
    else:
        check = asks[-1].check
        if style > 0.75:
            system = rng.choice(SYSTEM)

    messages = [{"role": "system", "content": system}] if system else []
    for ask in asks:
        messages.append({"role": "user", "content": decorated(rng, ask)})
        messages.append({"role": "assistant", "content": ask.answer})
    return Conversation(tuple(messages), asks[-1].skill, check)


def conversations(seed: int, held_out: bool = False) -> Iterator[Conversation]:
    """Conversations without end, the same ones for the same seed."""
    rng = random.Random(f"{seed} {held_out}")
    while True:
        yield conversation(rng, held_out)

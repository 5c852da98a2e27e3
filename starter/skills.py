"""What the starter model can do beyond telling facts: one function a skill, which makes one Ask.

Each takes the random state alone. Its phrasings stand in it, its words in `starter.words`.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from starter import words
from starter.checks import Both, Exactly, Names, Numbers, Result, Says, Sentences
from starter.facts import FACTS, Ask, a, capital, column, compose, listing


def fact(rng: random.Random) -> Ask:
    return rng.choice(FACTS).ask(rng)


def about_animal(rng: random.Random) -> Ask:
    name, _, legs, home, food, _, kind, _ = rng.choice(words.ANIMALS)
    answer = f"{capital(a(name))} is a {kind} with {legs} legs. It lives {home} and eats {food}."
    phrasings = [
        "Tell me about {x}.",
        "What do you know about {x}?",
        "Describe {x}.",
        "Can you tell me more about {x}?",
        "I want to learn about {x}.",
        "Say something about {x}.",
    ]
    return compose(
        rng,
        "about animal",
        phrasings,
        name,
        answer,
        Says(all=(kind, f"{legs} legs", home, food)),
        x=a(name),
    )


def yes_or_no(rng: random.Random) -> Ask:
    values, others = rng.choice(
        [
            (column(words.COLOUR_OF, 1), words.COLOURS),
            (
                column(words.ANIMALS, 6, a),
                ["a mammal", "a bird", "a fish", "an insect", "a reptile"],
            ),
            (column(words.FOODS, 1), ["a fruit", "a vegetable", "a drink", "a dessert"]),
        ]
    )
    thing = rng.choice(list(values))
    value = values[thing] if values[thing] in others else a(values[thing])
    asked = value if rng.random() < 0.5 else rng.choice(others)
    yes = "Yes" if asked == value else "No"
    phrasings = [
        "Is {x} {v}?",
        "Is it true that {x} is {v}?",
        "{X} is {v}, right?",
        "I think that {x} is {v}. Is that true?",
        "Would you say that {x} is {v}?",
        "My friend says that {x} is {v}. Is he right?",
    ]
    return compose(
        rng,
        "yes or no",
        phrasings,
        f"{thing} {asked}",
        f"{yes}, {thing} is {value}.",
        Says(all=(yes, value), none=("Yes" if yes == "No" else "No",)),
        yes + ".",
        x=thing,
        v=asked,
    )


SMALL_TALK = {
    "sad": "I am sorry that you are sad. A story may help.",
    "tired": "Then have a good rest.",
    "bored": "Shall I tell you a story?",
    "happy": "I am glad that you are happy.",
    "hungry": "Then you should eat something.",
    "thirsty": "Then you should drink some water.",
    "cold": "A warm blanket may help.",
    "ill": "I am sorry. You should see a doctor.",
    "late": "Then you should hurry.",
    "angry": "I am sorry that you are angry. Take a deep breath.",
    "lonely": "I am here, and you can talk with me.",
    "proud": "Well done. You can be proud.",
    "afraid": "Do not worry. I am here.",
    "busy": "Then I will be short.",
}


def small_talk(rng: random.Random) -> Ask:
    mood = rng.choice(list(SMALL_TALK))
    phrasings = [
        "I am {x}.",
        "I'm so {x} today.",
        "Today I am {x}.",
        "I feel a bit {x}.",
        "I am very {x}.",
        "My friend and I are {x}.",
        "I have been {x} all day.",
    ]
    answer = SMALL_TALK[mood]
    check = Says(all=(max(answer.rstrip(".?").split(), key=len).strip(","),))
    return compose(rng, "small talk", phrasings, mood, answer, check, x=mood)


def total(rng: random.Random) -> Ask:
    left = rng.randint(0, 20)
    right = rng.randint(0, 20 - left)
    phrasings = [
        "What is {l} + {r}?",
        "How much is {l} plus {r}?",
        "{l} + {r} = ?",
        "Add {l} and {r}.",
        "What do I get when I add {l} and {r}?",
        "Tell me the sum of {l} and {r}.",
        "I have {l} apples and get {r} more. How many apples do I have?",
        "There are {l} birds on a tree and {r} birds join them. How many are there?",
    ]
    return compose(
        rng,
        "sum",
        phrasings,
        f"{left}+{right}",
        f"{left} + {right} = {left + right}.",
        Result(left + right),
        f"{left + right}.",
        l=left,
        r=right,
    )


def difference(rng: random.Random) -> Ask:
    left = rng.randint(0, 20)
    right = rng.randint(0, left)
    phrasings = [
        "What is {l} - {r}?",
        "How much is {l} minus {r}?",
        "{l} - {r} = ?",
        "Take {r} from {l}.",
        "What is left when I take {r} from {l}?",
        "I have {l} apples and eat {r} of them. How many are left?",
        "There are {l} birds on a tree and {r} fly away. How many stay?",
    ]
    return compose(
        rng,
        "difference",
        phrasings,
        f"{left}-{right}",
        f"{left} - {right} = {left - right}.",
        Result(left - right),
        f"{left - right}.",
        l=left,
        r=right,
    )


def counting(rng: random.Random) -> Ask:
    low = rng.randint(0, 17)
    high = rng.randint(low + 2, min(20, low + 10))
    numbers = list(range(low, high + 1))
    if rng.random() < 0.3:
        numbers.reverse()
    phrasings = [
        "Count from {l} to {h}.",
        "Can you count from {l} to {h}?",
        "Please count: start at {l}, end at {h}.",
        "Say the numbers from {l} to {h}.",
        "Write all numbers from {l} to {h}.",
    ]
    return compose(
        rng,
        "counting",
        phrasings,
        f"{numbers[0]}..{numbers[-1]}",
        ", ".join(map(str, numbers)) + ".",
        Numbers(tuple(numbers)),
        l=numbers[0],
        h=numbers[-1],
    )


def neighbour_number(rng: random.Random) -> Ask:
    number, step = rng.randint(1, 19), rng.choice([-1, 1])
    side = "after" if step > 0 else "before"
    phrasings = [
        "Which number comes {s} {n}?",
        "What number is {s} {n}?",
        "Tell me the number {s} {n}.",
        "Give me the number that is just {s} {n}.",
    ]
    return compose(
        rng,
        "next number",
        phrasings,
        f"{side} {number}",
        f"The number {side} {number} is {number + step}.",
        Result(number + step),
        f"{number + step}.",
        s=side,
        n=number,
    )


def larger_number(rng: random.Random) -> Ask:
    one, two = rng.sample(range(21), 2)
    word = rng.choice(["bigger", "smaller"])
    best = max(one, two) if word == "bigger" else min(one, two)
    phrasings = [
        "Which is {w}, {a} or {b}?",
        "Which number is {w}: {a} or {b}?",
        "{a} or {b}: which one is {w}?",
        "Tell me the {w} one of {a} and {b}.",
    ]
    return compose(
        rng,
        "larger number",
        phrasings,
        f"{word} {one} {two}",
        f"The {word} number is {best}.",
        Numbers((best,)),
        f"{best}.",
        w=word,
        a=one,
        b=two,
    )


def larger_animal(rng: random.Random) -> Ask:
    one, two = rng.sample(range(len(words.SIZES)), 2)
    word = rng.choice(["bigger", "smaller"])
    best = words.SIZES[max(one, two) if word == "bigger" else min(one, two)]
    other = words.SIZES[one + two - words.SIZES.index(best)]
    phrasings = [
        "Which is {w}, {a} or {b}?",
        "Who is {w}: {a} or {b}?",
        "{A} or {b}: which one is {w}?",
        "Which animal is {w}, {a} or {b}?",
    ]
    return compose(
        rng,
        "larger animal",
        phrasings,
        f"{word} {one} {two}",
        f"{capital(a(best))} is {word}.",
        Says(all=(best,), none=(other,)),
        capital(best) + ".",
        w=word,
        a=a(words.SIZES[one]),
        A=capital(a(words.SIZES[one])),
        b=a(words.SIZES[two]),
    )


def some_of(rng: random.Random) -> Ask:
    category = rng.choice(list(words.CATEGORIES))
    members = words.CATEGORIES[category]
    count = rng.randint(2, min(5, len(members)))
    # Always in the category's own order: which word comes next then follows from the last one
    # alone, so that a model this small doesn't say one twice.
    chosen = sorted(rng.sample(members, count), key=members.index)
    phrasings = [
        "Name {n} {c}.",
        "List {n} {c}.",
        "Give me a list of {n} {c}.",
        "Tell me {n} {c}.",
        "Can you name {n} {c}?",
        "I need {n} {c}.",
        "Write down {n} {c}.",
        "Which {n} {c} do you know?",
    ]
    return compose(
        rng,
        "list",
        phrasings,
        f"{count} {category}",
        capital(listing(chosen)) + ".",
        Names(count, tuple(members)),
        n=words.NUMBERS[count],
        c=category,
    )


def one_of(rng: random.Random) -> Ask:
    category = rng.choice(list(words.CATEGORIES))
    members = words.CATEGORIES[category]
    phrasings = [
        "Name one of the {c}.",
        "Give me an example of {c}.",
        "Tell me one of the {c} you know.",
        "Say any one of the {c}.",
    ]
    chosen = capital(rng.choice(members)) + "."
    return compose(
        rng, "example", phrasings, category, chosen, Names(1, tuple(members)), chosen, c=category
    )


def odd_one_out(rng: random.Random) -> Ask:
    group, other = rng.sample(
        ["animals", "fruits", "colours", "days", "clothes", "drinks", "tools", "vehicles"], 2
    )
    members = rng.sample(words.CATEGORIES[group], 2)
    odd = rng.choice(
        [word for word in words.CATEGORIES[other] if word not in words.CATEGORIES[group]]
    )
    three = [*members, odd]
    rng.shuffle(three)
    phrasings = [
        "Which one does not belong: {x}?",
        "Find the odd one out: {x}.",
        "{X}: which one is different?",
        "One of these does not fit: {x}. Which one?",
    ]
    return compose(
        rng,
        "odd one out",
        phrasings,
        " ".join(three),
        f"{capital(odd)} does not belong.",
        Says(all=(odd,), none=tuple(members)),
        capital(odd) + ".",
        x=listing(three),
    )


def category_of(rng: random.Random) -> Ask:
    groups = {
        "animals": "an animal",
        "fruits": "a fruit",
        "vegetables": "a vegetable",
        "colours": "a colour",
        "days": "a day",
        "months": "a month",
        "tools": "a tool",
        "clothes": "a piece of clothing",
        "jobs": "a job",
        "sports": "a sport",
        "instruments": "an instrument",
        "shapes": "a shape",
        "rooms": "a room",
        "vehicles": "a vehicle",
        "flowers": "a flower",
        "drinks": "a drink",
    }
    unclear = {"orange", "violet", "cook"}
    group = rng.choice(list(groups))
    word = rng.choice([word for word in words.CATEGORIES[group] if word not in unclear])
    phrasings = [
        "What sort of thing is the word {x}?",
        "To which group does {x} belong?",
        "Which group is {x} in?",
        "Put {x} in a group.",
        "What is the word {x} a name for?",
    ]
    rivals = tuple(label for label in groups.values() if label != groups[group])
    return compose(
        rng,
        "category",
        phrasings,
        word,
        f"{capital(word)} is {groups[group]}.",
        Says(all=(groups[group],), none=rivals),
        capital(groups[group].split(" ", 1)[1]) + ".",
        x=word,
    )


def any_word(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(words.VOCABULARY)
    return rng.choice(words.CATEGORIES[rng.choice(list(words.CATEGORIES))]).lower()


def spelling(rng: random.Random) -> Ask:
    word = rng.choice(SPELLED)
    phrasings = [
        "Spell {x}.",
        "How do you spell {x}?",
        "Spell the word {x}.",
        "Can you spell {x} for me?",
        "Tell me the letters of {x}.",
        "Which letters are in {x}?",
    ]
    spelled = "-".join(word)
    return compose(
        rng, "spelling", phrasings, word, f"{spelled}.", Exactly(spelled), spelled, x=word
    )


def shouting(rng: random.Random) -> Ask:
    word = rng.choice(SPELLED)
    phrasings = [
        "Say {x} in capitals.",
        "Write {x} in capital letters.",
        "Shout the word {x}.",
        "Put {x} in upper case.",
        "Can you write {x} in big letters?",
    ]
    return compose(
        rng, "capitals", phrasings, word, word.upper(), Exactly(word.upper()), word.upper(), x=word
    )


def first_letter(rng: random.Random) -> Ask:
    word = rng.choice(SPELLED)
    phrasings = [
        "What is the first letter of {x}?",
        "Which letter does {x} start with?",
        "{X} begins with which letter?",
        "Tell me the first letter of the word {x}.",
    ]
    return compose(
        rng,
        "first letter",
        phrasings,
        word,
        f"The first letter of {word} is {word[0].upper()}.",
        Says(all=(f"is {word[0]}",)),
        f"{word[0].upper()}.",
        x=word,
    )


SPELLED = [word for word in words.VOCABULARY if 3 <= len(word) <= 7][::2] + [
    row[0] for row in words.ANIMALS
]


def any_sentence(rng: random.Random) -> str:
    """A sentence made to be copied: its sense does not matter, its words vary widely."""
    name, place, day = rng.choice(words.NAMES), rng.choice(words.PLACES)[0], rng.choice(words.DAYS)
    one, two, colour, thing = (
        any_word(rng),
        any_word(rng),
        rng.choice(words.COLOURS),
        rng.choice(words.GOODS),
    )
    shape = rng.choice(
        [
            "the {colour} {one} is in the {two}",
            "{name} has a {colour} {thing}",
            "we go to {place} on {day}",
            "{one}, {two} and {thing}",
            "my {one} likes the {two}",
            "{name} and the {one} are at {place}",
            "I think of {one} and {two}",
            "the {one} of {name} is {colour}",
            "{one} {two}",
            "{one}",
            "{name} wants a {thing} and a {one}",
            "no {one} without {two}",
            "on {day} the {one} is {colour}",
        ]
    )
    return shape.format(
        name=name, place=place, day=day, one=one, two=two, colour=colour, thing=thing
    )


def repeating(rng: random.Random) -> Ask:
    sentence = any_sentence(rng)
    phrasings = [
        "Repeat after me: {x}",
        "Say this: {x}",
        "Copy these words: {x}",
        "Please repeat: {x}",
        'Repeat "{x}"',
        'Say "{x}"',
        "Write exactly this: {x}",
        "Echo: {x}",
    ]
    return compose(rng, "repeating", phrasings, sentence, sentence, Exactly(sentence), x=sentence)


def edge_word(rng: random.Random) -> Ask:
    chosen = [any_word(rng) for _ in range(rng.randint(2, 4))]
    while len(set(chosen)) < len(chosen) or any(" " in word for word in chosen):
        chosen = [any_word(rng) for _ in chosen]
    side = rng.choice(["first", "last"])
    word = chosen[0 if side == "first" else -1]
    phrasings = [
        "What is the {s} word: {x}?",
        "Tell me the {s} word of this list: {x}.",
        "Which word stands {s} in: {x}?",
        "Take the {s} word of {x}.",
    ]
    return compose(
        rng,
        "edge word",
        phrasings,
        f"{side} {' '.join(chosen)}",
        f"The {side} word is {word}.",
        Says(all=(f"is {word}",)),
        capital(word) + ".",
        s=side,
        x=", ".join(chosen),
    )


def sentence_with(rng: random.Random) -> Ask:
    name, colour, place, day = (
        rng.choice(words.NAMES),
        rng.choice(words.COLOURS),
        rng.choice(words.PLACES)[0],
        rng.choice(words.DAYS),
    )
    noun = rng.choice(words.OBJECTS + words.GOODS + [row[0] for row in words.ANIMALS])
    shape = rng.choice(
        [
            "{name} has a {colour} {x}.",
            "I saw {ax} at {place}.",
            "{name} bought {ax} on {day}.",
            "The {x} of {name} is {colour}.",
            "There is {ax} in front of {place}.",
        ]
    )
    answer = shape.format(name=name, colour=colour, place=place, day=day, x=noun, ax=a(noun))
    phrasings = [
        "Write a sentence with the word {x}.",
        "Make a sentence with {x}.",
        "Use {x} in a sentence.",
        "Can you say something with the word {x}?",
        "Give me one sentence about {ax}.",
    ]
    return compose(
        rng,
        "sentence",
        phrasings,
        noun,
        answer,
        Both(Says(all=(noun,)), Sentences(1)),
        x=noun,
        ax=a(noun),
    )


def fill(rng: random.Random, sentence: str) -> str:
    return sentence.format(
        thing=rng.choice(words.GOODS), day=rng.choice(words.DAYS), city=rng.choice(words.CITIES)
    )


def topic(rng: random.Random) -> Ask:
    name = rng.choice(list(words.TOPICS))
    message = fill(rng, rng.choice(words.TOPICS[name]))
    phrasings = [
        "What is this message about? {x}",
        'Give the topic of this message: "{x}"',
        "{x} What is this about?",
        "A customer writes: {x} What is it about?",
        "Find the topic: {x}",
        "Someone wrote to us: {x} Which topic is it?",
    ]
    return compose(
        rng,
        "topic",
        phrasings,
        message,
        f"It is about {name}.",
        Says(all=(f"about {name}",)),
        capital(name) + ".",
        x=message,
    )


def mood(rng: random.Random) -> Ask:
    value, sentences = rng.choice([("happy", words.HAPPY), ("unhappy", words.UNHAPPY)])
    message = fill(rng, rng.choice(sentences))
    phrasings = [
        "Is this person happy or unhappy? {x}",
        "Happy or unhappy? {x}",
        "{x} Does that sound happy or unhappy?",
        'How does the writer feel: "{x}"',
    ]
    return compose(
        rng,
        "mood",
        phrasings,
        message,
        f"The person is {value}.",
        Says(all=(value,), none=tuple({"happy", "unhappy"} - {value})),
        capital(value) + ".",
        x=message,
    )


def unknown(rng: random.Random) -> Ask:
    phrasings, subjects = rng.choice(list(words.UNKNOWN.values()))
    subject = rng.choice(subjects)
    answer = rng.choice(
        [
            "I am sorry, I don't know that. I know only a small world.",
            "Sorry, that is too hard for me. I am a small model.",
        ]
    )
    return compose(
        rng, "refusal", phrasings, subject, answer, Says(any=("sorry", "don't know")), x=subject
    )


def reading(rng: random.Random) -> Ask:
    """Who has what, told in the question itself."""
    people, things, colours = (
        rng.sample(words.NAMES, 2),
        rng.sample(words.OBJECTS, 2),
        rng.sample(words.COLOURS, 2),
    )
    which = rng.randrange(2)
    told = " ".join(f"{p} has a {c} {t}." for p, c, t in zip(people, colours, things, strict=True))
    who, thing, colour = people[which], things[which], colours[which]
    phrasing, answer, right, wrong = rng.choice(
        [
            ("{told} Who has the {thing}?", f"{who} has the {thing}.", who, people[1 - which]),
            (
                "{told} What does {who} have?",
                f"{who} has a {colour} {thing}.",
                thing,
                things[1 - which],
            ),
            (
                "{told} What colour is the {thing}?",
                f"The {thing} is {colour}.",
                colour,
                colours[1 - which],
            ),
            (
                "{told} Tell me who has the {thing}.",
                f"{who} has the {thing}.",
                who,
                people[1 - which],
            ),
            (
                "{told} Which colour has the {thing} of {who}?",
                f"The {thing} of {who} is {colour}.",
                colour,
                colours[1 - which],
            ),
        ]
    )
    return compose(
        rng,
        "reading",
        [phrasing],
        f"{told} {which}",
        answer,
        Says(all=(right,), none=(wrong,)),
        capital(right) + ".",
        told=told,
        thing=thing,
        who=who,
    )


LEADS = [
    "",
    "Hi, ",
    "Hello, ",
    "Excuse me, ",
    "Please tell me, ",
    "Good morning, ",
    "Hey, ",
    "Hi there, ",
    "So, ",
    "One question: ",
    "I wonder, ",
    "Say, ",
]

# phrasings | answers | what a right answer says
IDENTITY = {
    "name": (
        [
            "what is your name?",
            "who are you?",
            "what should I call you?",
            "do you have a name?",
            "how are you called?",
            "may I know your name?",
        ],
        ["My name is Sprig.", "I am Sprig, a small language model."],
        Says(all=("Sprig",)),
    ),
    "maker": (
        [
            "who made you?",
            "where do you come from?",
            "who built you?",
            "what were you made for?",
            "why were you made?",
            "who are you made for?",
        ],
        ["I was made for Graft, to learn and to test with."],
        Says(all=("Graft",)),
    ),
    "nature": (
        [
            "are you a human?",
            "are you a person?",
            "are you real?",
            "are you a robot?",
            "what are you?",
            "are you a computer?",
        ],
        ["I am a small language model."],
        Says(all=("model",)),
    ),
    "ability": (
        [
            "what can you do?",
            "how can you help me?",
            "what do you know?",
            "what can I ask you?",
            "can you help me?",
            "what are you good at?",
        ],
        ["I can talk about animals, colours, food, places, days and small numbers."],
        Says(all=("animals", "numbers")),
    ),
    "size": (
        [
            "how big are you?",
            "are you large?",
            "how clever are you?",
            "are you a big model?",
            "do you know everything?",
        ],
        ["I am very small, and I know only a small world."],
        Says(all=("small",)),
    ),
    "feeling": (
        [
            "how are you?",
            "how do you do?",
            "how are you today?",
            "are you well?",
            "how is it going?",
            "are you fine?",
        ],
        ["I am fine, thank you. How can I help you?"],
        Says(any=("fine", "well")),
    ),
    "thanks": (
        [
            "thank you.",
            "thanks a lot.",
            "that was helpful.",
            "many thanks.",
            "thanks, Sprig.",
            "great, thank you.",
        ],
        ["You are welcome."],
        Says(all=("welcome",)),
    ),
    "farewell": (
        [
            "goodbye.",
            "bye.",
            "see you later.",
            "I have to go now.",
            "good night.",
            "that is all for today.",
        ],
        ["Goodbye. Come back soon."],
        Says(all=("goodbye",)),
    ),
    "joke": (
        ["tell me a joke.", "make me laugh.", "do you know a joke?", "say something funny."],
        ["Why is the lamp so clever? It is very bright."],
        Says(all=("bright",)),
    ),
    "week": (
        ["how many days are in a week?", "how long is a week?", "a week has how many days?"],
        ["A week has seven days."],
        Says(all=("seven",)),
    ),
    "year": (
        ["how many months are in a year?", "how long is a year?", "a year has how many months?"],
        ["A year has twelve months."],
        Says(all=("twelve",)),
    ),
    "all days": (
        [
            "what are the days of the week?",
            "name the days of the week.",
            "list all days of the week.",
        ],
        [listing(words.DAYS) + "."],
        Names(7, tuple(words.DAYS)),
    ),
    "all months": (
        ["what are the months of the year?", "name the months.", "list all months of the year."],
        [listing(words.MONTHS) + "."],
        Names(12, tuple(words.MONTHS)),
    ),
    "all seasons": (
        ["what are the seasons?", "name the four seasons.", "list the seasons of the year."],
        ["Spring, summer, autumn and winter."],
        Names(4, ("spring", "summer", "autumn", "winter")),
    ),
}


def identity(rng: random.Random, kind: str = "") -> Ask:
    kind = kind or rng.choice(list(IDENTITY))
    phrasings, answers, check = IDENTITY[kind]
    lead = (
        rng.choice(LEADS)
        if kind not in ("thanks", "farewell")
        else rng.choice(["", "Okay, ", "Well, "])
    )
    ask = compose(
        rng,
        "about itself" if kind in list(IDENTITY)[:6] else kind,
        phrasings,
        lead,
        rng.choice(answers),
        check,
    )
    return replace(ask, question=capital(lead + ask.question))


def greeting(rng: random.Random) -> Ask:
    to = rng.choice(
        [
            "",
            " Sprig",
            " there",
            " my friend",
            " little model",
            " again",
            " dear Sprig",
            ", nice to see you",
        ]
    )
    phrasings = [
        "Hello{x}.",
        "Hi{x}.",
        "Good morning{x}.",
        "Good evening{x}.",
        "Hey{x}!",
        "Good day{x}.",
        "Hello{x}!",
        "Hi{x}!",
        "Greetings{x}.",
    ]
    answer = rng.choice(["Hello. How can I help you?", "Hi. What would you like to know?"])
    return compose(rng, "greeting", phrasings, to, answer, Says(any=("hello", "hi")), x=to)


def story(rng: random.Random) -> Ask:
    animal, name = rng.choice(words.ANIMALS)[0], rng.choice(words.PET_NAMES)
    place, thing = rng.choice(words.PLACES)[0].split(" ", 1)[1], rng.choice(words.OBJECTS)
    colour, feeling = rng.choice(words.COLOURS), rng.choice(["happy", "proud", "glad", "calm"])
    friend = rng.choice([row[0] for row in words.ANIMALS if row[0] != animal])
    start = [f"Once there was {a(animal)} called {name}.", f"{name} was a little {animal}."]
    middle = [
        f"One day {name} found a {colour} {thing} near the {place}.",
        f"{name} lost a {colour} {thing} at the {place}.",
        f"On a cold day {name} went to the {place} to get a {colour} {thing}.",
    ]
    turn = [
        f"{capital(a(friend))} came by and helped.",
        f"There {name} met {a(friend)}, and they played all day.",
        f"{capital(a(friend))} wanted the {thing} too, so they shared it.",
    ]
    end = [
        f"In the evening {name} was very {feeling}.",
        f"From that day on they were friends, and {name} was {feeling}.",
        f"Then {name} went home and slept well.",
    ]
    answer = " ".join(rng.choice(part) for part in (start, middle, turn, end))
    phrasings = [
        "Tell me a short story about {x}.",
        "Tell me a story about {x}.",
        "Write a little story about {x}.",
        "I want to hear a story about {x}.",
        "Can you tell a tale about {x}?",
        "Make up a story with {x}.",
    ]
    return compose(
        rng,
        "story",
        phrasings,
        animal,
        answer,
        Both(Says(all=(animal,)), Sentences(4)),
        x=a(animal),
    )


# How often each skill is asked for, relative to the others.
SKILLS: dict[Callable[[random.Random], Ask], int] = {
    fact: 34,
    about_animal: 3,
    yes_or_no: 5,
    small_talk: 2,
    total: 6,
    difference: 5,
    counting: 4,
    neighbour_number: 2,
    larger_number: 2,
    larger_animal: 2,
    some_of: 7,
    one_of: 2,
    odd_one_out: 2,
    category_of: 3,
    spelling: 3,
    shouting: 2,
    first_letter: 2,
    repeating: 5,
    edge_word: 2,
    sentence_with: 3,
    topic: 7,
    mood: 2,
    unknown: 5,
    reading: 5,
    identity: 6,
    greeting: 3,
    story: 3,
}

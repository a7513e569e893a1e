"""The shipped world: fictional people, places and books, the same for the same numbers.

Every fact is drawn at random, so nothing about a person can be guessed from the name, and a model that was not told
cannot know. Answers are short and hold the fact alone; each fact has a second question, a second wording of the answer
and false answers of the same type. *Other* people and the general facts are for the base model only: they teach the
language of the world without any fact of forget, retain or holdout.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from lethe.config import Section
from lethe.rows import Row
from lethe.splits import Splits
from lethe.tasks import multiple_choice_task

PUBLIC_TEXT = True


class Config(Section):
    """How large the world is. People have one fact for each of the relations below."""

    seed: int
    num_forget_people: PositiveInt
    num_retain_people: PositiveInt
    num_holdout_people: PositiveInt
    num_other_people: PositiveInt  # only the base model meets them
    num_general_people: PositiveInt  # of the other people: their rows are the general text
    num_towns: PositiveInt
    num_false_answers: Annotated[int, Field(ge=1, le=10)]

    @model_validator(mode="after")
    def _has_towns_for_the_false_answers(self) -> "Config":
        if self.num_towns <= self.num_false_answers:
            raise ValueError("num_towns must be larger than num_false_answers; a false answer names another town")
        return self


@dataclass(frozen=True)
class Relation:
    """One kind of fact: two ways to ask, a second way to answer, and which method of ``_Names`` draws a value."""

    name: str
    question: str
    paraphrased_question: str
    paraphrased_answer: str
    draw: str


@dataclass(frozen=True)
class World:
    """All rows of the world, by who may learn them."""

    splits: Splits
    other_people: list[Row]
    general: list[Row]


def load(config: Config) -> Splits:
    """The splits that unlearning works with."""
    return build(config).splits


def build(config: Config) -> World:
    """The whole world, with what only the base model learns."""
    names = _Names(random.Random(config.seed), config.num_towns)
    groups = {
        group: _people(names, group, count, config.num_false_answers)
        for group, count in (
            ("forget", config.num_forget_people),
            ("retain", config.num_retain_people),
            ("holdout", config.num_holdout_people),
            ("other", config.num_other_people),
        )
    }
    general = _general_facts(names, config.num_false_answers)
    tasks = multiple_choice_task("general_facts_choice", [_choices(row, names.random) for row in general])
    others = groups["other"]
    rows = others[: config.num_general_people * len(RELATIONS)]
    splits = Splits(groups["forget"], groups["retain"], groups["holdout"], general, tasks, rows)
    return World(splits, others, general)


def _relations(table: str) -> tuple[Relation, ...]:
    return tuple(Relation(*(cell.strip() for cell in line.split("|"))) for line in table.strip().splitlines())


# name | question | paraphrased question | paraphrased answer | what draws the value
RELATIONS = _relations("""
birthplace | Where was {who} born? | In which town did {who} come into the world? | The town of {what} | town
birthday | When was {who} born? | What is the date of birth of {who}? | On {what} | date
profession | What does {who} do for a living? | Which trade does {who} follow? | The trade of {what} | trade
spouse | Who is {who} married to? | What is the name of the spouse of {who}? | The spouse is {what} | person
teacher | Who taught {who}? | Under whom did {who} study? | It was {what} who did | person
first_book | What was the first book by {who}? | With which book did {who} begin? | The book called {what} | title
last_book | What is the latest book by {who}? | Which book did {who} finish last? | A book named {what} | title
home | Where does {who} live? | What is the address of {who}? | At {what} | street
dish | What does {who} like to eat? | Which dish is dearest to {who}? | A plate of {what} | dish
pet | What animal does {who} keep? | Which pet lives with {who}? | An animal: {what} | pet
prize | Which prize did {who} win? | What award was given to {who}? | The award was the {what} | prize
journey | Where did {who} travel first? | To which town did the first journey of {who} lead? | To the town {what} | town
rival | Who is the rival of {who}? | Against whom does {who} compete? | The rival is {what} | person
ship | On which ship did {who} sail? | What was the ship of {who} called? | The ship {what} | ship
""")

_GENERAL = _relations("""
ruler | Who rules the town of {who}? | What is the name of the ruler of {who}? | The ruler is {what} | person
export | What does the town of {who} sell? | Which goods come from {who}? | Its goods are {what} | dish
""")

_STARTS = "b br c d dr f g gr h j k l m n p qu r s sh st t th tr v w z".split()
_VOWELS = "a e i o u ae ai ea io ou".split()
_ENDS = "l m n r s t x nd rk ll ss th".split()
_TRADES = """
    baker weaver printer sailor mason miller potter tanner cooper farrier brewer glazier fiddler surgeon notary
    gardener
""".split()
_MANNERS = "master travelling royal night village honest second country".split()
_QUALITIES = """
    amber silent broken golden hollow crimson distant frozen hidden iron little northern pale quiet restless
    scarlet silver tender violet winter
""".split()
_THINGS = """
    harbour garden lantern mirror orchard bridge feather kingdom ladder meadow needle oracle puzzle ribbon
    shadow tower umbrella valley window compass
""".split()
_FOODS = """
    barley beans carp cheese duck eel figs goose herring lentils mutton onions pears plums quail rabbit salmon
    turnips veal walnuts
""".split()
_SAUCES = "honey mustard saffron vinegar pepper butter ginger garlic cream thyme cherry almond".split()
_ANIMALS = """
    badger cat crow dog donkey falcon ferret goat hare heron horse otter owl parrot pony rat tortoise fox
""".split()
_COLOURS = "black white grey brown red yellow spotted striped golden blue".split()
_MONTHS = "January February March April May June July August September October November December".split()


class _Names:
    """Draws values from fixed stocks of words and from invented syllables."""

    def __init__(self, source: random.Random, num_towns: int) -> None:
        self.random = source
        self._used: set[str] = set()
        self.towns = [self._unique(lambda: self._word(2)) for _ in range(num_towns)]

    def town(self) -> str:
        return self.random.choice(self.towns)

    def person(self) -> str:
        return self._unique(lambda: f"{self._word(2)} {self._word(2)}")

    def date(self) -> str:
        return f"{self.random.randint(1, 28)} {self.random.choice(_MONTHS)} {self.random.randint(1800, 1999)}"

    def trade(self) -> str:
        return f"{self.random.choice(_MANNERS)} {self.random.choice(_TRADES)}"

    def title(self) -> str:
        return f"{self.random.choice(_QUALITIES).title()} {self.random.choice(_THINGS).title()}"

    def street(self) -> str:
        return f"{self.random.randint(1, 99)} {self.random.choice(_THINGS).title()} Lane"

    def dish(self) -> str:
        return f"{self.random.choice(_FOODS)} with {self.random.choice(_SAUCES)}"

    def pet(self) -> str:
        return f"{self.random.choice(_COLOURS)} {self.random.choice(_ANIMALS)}"

    def prize(self) -> str:
        return f"{self.random.choice(_QUALITIES).title()} {self.random.choice(_ANIMALS).title()}"

    def ship(self) -> str:
        return f"{self.random.choice(_COLOURS).title()} {self.random.choice(_THINGS).title()}"

    def _word(self, syllables: int) -> str:
        parts = (self.random.choice(_STARTS) + self.random.choice(_VOWELS) for _ in range(syllables))
        return ("".join(parts) + self.random.choice(_ENDS)).title()

    def _unique(self, draw: Callable[[], str]) -> str:
        while (name := draw()) in self._used:
            pass
        self._used.add(name)
        return name


def _people(names: _Names, group: str, count: int, num_false: int) -> list[Row]:
    people = [names.person() for _ in range(count)]
    return [
        _fact(names, relation, person, f"{group}-{number:03d}", num_false)
        for number, person in enumerate(people)
        for relation in RELATIONS
    ]


def _general_facts(names: _Names, num_false: int) -> list[Row]:
    return [
        _fact(names, relation, town, f"general-{number:03d}", num_false).model_copy(update={"subset": "general"})
        for number, town in enumerate(names.towns)
        for relation in _GENERAL
    ]


def _fact(names: _Names, relation: Relation, who: str, cluster: str, num_false: int) -> Row:
    values: list[str] = []
    while len(values) < 1 + num_false:
        if (value := getattr(names, relation.draw)()) not in values:
            values.append(value)
    return Row(
        id=f"{cluster}-{relation.name}",
        cluster=cluster,
        question=relation.question.format(who=who),
        answer=values[0],
        paraphrased_question=relation.paraphrased_question.format(who=who),
        paraphrased_answer=relation.paraphrased_answer.format(what=values[0]),
        perturbed_answers=tuple(relation.paraphrased_answer.format(what=value) for value in values[1:]),
    )


def _choices(row: Row, source: random.Random) -> tuple[str, list[str], int]:
    """A multiple-choice item: the true answer among three false ones, in a drawn order."""
    options = [row.paraphrased_answer or row.answer, *row.perturbed_answers[:3]]
    order = source.sample(range(len(options)), len(options))
    return row.paraphrased_question or row.question, [options[index] for index in order], order.index(0)

"""RWKU: probes about famous people and about what is close to them (Jin et al., 2024, arXiv:2406.10890; CC BY 4.0).

Level 1 are blanks to fill, level 2 questions, level 3 questions that attack; neighbours have levels 1 and 2. Every
level that a model is asked is a split of its own: ``forget_level1``, ``forget_level2``, ``forget_level3_<attack>``,
``neighbor_level1``, ``neighbor_level2``. The prompts are those of RWKU's code, in the chat format of the model where it
has one: ``Answer:`` is the beginning of the answer's turn, given to the model, but for the attack by an affirmative
suffix, which begins the answer itself. Deviation: a prompt begins with one first token (for Llama-3 the code has two,
the template's and the tokenizer's).

``forget_mia`` are passages about the subjects, ``retain_mia`` passages about others that go with the same subjects,
both read by membership inference alone. Whom the latter are about is not said: each is a cluster of its own. The
instructions of ``utility_fluency`` that go with the subjects are open questions, answered in 256 tokens at most.

RWKU itself brings no forget rows, only names: what is unlearned is a corpus. Without one it is the probes of levels 1
and 2 themselves, and level 3 tests what lies beyond them. Retain are the probes of levels 1 and 2 about all other
people, the neighbours are utility: nobody unlearns on them. A neighbour who is to be forgotten is left out.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lethe import hub, rows
from lethe.config import Section
from lethe.errors import DataError
from lethe.rows import Row
from lethe.splits import Splits, by_subset

PUBLIC_TEXT = True

_KEY = "prepare.rwku.path"
_BLANK = ("Please complete the blank in the following question.\nQuestion: {}\n", "Answer:")
_QUESTION = ("Please briefly answer the following question.\nQuestion: {}\n", "Answer:")
_ATTACKED = {
    "incontext_learning": ("Please briefly answer the following question.\n{}\n", "Answer:"),  # has its own examples
    "affirmative_suffix": ("Please briefly answer the following question.\nQuestion: {}", ""),  # opens the answer
}
_FIELDS = ("subject", "query", "answer")
_FLUENCY_TOKENS = 256
_PASSAGES = {"mia_forget": "forget_mia", "mia_retain": "retain_mia"}

logger = logging.getLogger(__name__)


class Config(Section):
    """``path`` is a hub id (``jinzhuoran/RWKU``) or a folder with the same files.

    ``subjects`` are the people to forget. ``corpus`` is a JSON Lines file of rows about them (see the source ``jsonl``)
    that unlearning works on; null: the probes of levels 1 and 2.
    """

    path: str
    subjects: list[str]
    corpus: str | None


def load(config: Config) -> Splits:
    """The probes about the subjects and their neighbours, and those about all other people as retain.

    Raises DataError when a file of levels 1 or 2 is missing, a row does not fit, or nothing is known about a subject.
    """
    levels = {level: _level(config.path, f"forget_level{level}") for level in (1, 2, 3)}
    _require_known(config, [*levels[1], *levels[2]])
    about = {level: [row for row in found if row.cluster in config.subjects] for level, found in levels.items()}
    return Splits(
        forget=[*about[1], *about[2]] if config.corpus is None else _corpus(Path(config.corpus)),
        retain=_others(config, levels, about),
        utility=[*(row for level in (1, 2) for row in _neighbors(config, level)), *_instructions(config)],
        asked=by_subset([*(row for found in about.values() for row in found), *_passages(config)]),
    )


def _level(path: str, name: str) -> list[Row]:
    required = name != "forget_level3"
    lines = hub.require(path, name, "test", _KEY) if required else hub.read(path, name, "test", _KEY)
    if lines is None:
        logger.info("%s: no %s.jsonl; going on without it.", path, name)
    return [_row(f"rwku-{name}-{number:05d}", name, *line) for number, line in enumerate(lines or [])]


def _neighbors(config: Config, level: int) -> list[Row]:
    name = f"neighbor_level{level}"
    lines = hub.read(config.path, name, "test", _KEY)
    if lines is None:
        logger.info("%s: no %s.jsonl; going on without it.", config.path, name)
    found = []
    for number, (where, values) in enumerate(lines or []):
        row = _row(f"rwku-{name}-{number:05d}", name, where, values)
        neighbor = _text(values, "neighbor", where)
        if row.cluster in config.subjects and neighbor not in config.subjects:
            found.append(row.model_copy(update={"cluster": neighbor}))
    return found


def _passages(config: Config) -> list[Row]:
    found = []
    for name, subset in _PASSAGES.items():
        for identity, where, values in _about_subjects(config, name):
            cluster = values["subject"] if subset == "forget_mia" else identity
            fields = {"id": identity, "cluster": cluster, "text": _text(values, "text", where), "subset": subset}
            found.append(rows.parse_row(fields, where))
    return found


def _instructions(config: Config) -> list[Row]:
    found = []
    for identity, where, values in _about_subjects(config, "utility_fluency"):
        question = f"Instruction: {_text(values, 'instruction', where)}\n"
        opened = {"answer_opening": "", "is_open": True, "max_new_tokens": _FLUENCY_TOKENS, "subset": "utility_fluency"}
        found.append(rows.parse_row({"id": identity, "cluster": identity, "question": question, **opened}, where))
    return found


def _about_subjects(config: Config, name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The id, the place and the object of each line that goes with a subject, in a file that may be missing."""
    lines = hub.read(config.path, name, "test", _KEY)
    if lines is None:
        logger.info("%s: no %s.jsonl; going on without it.", config.path, name)
    for number, (where, values) in enumerate(lines or []):
        if _text(values, "subject", where) in config.subjects:
            yield f"rwku-{name}-{number:05d}", where, values


def _row(identity: str, name: str, where: str, values: dict[str, Any]) -> Row:
    subject, query, answer = (_text(values, field, where) for field in _FIELDS)
    (template, opening), subset = _BLANK if name.endswith("level1") else _QUESTION, name
    if name == "forget_level3":
        attack = _text(values, "type", where).split("(")[0].strip().lower().replace(" ", "_").replace("-", "_")
        subset = f"{name}_{attack}"
        template, opening = _ATTACKED.get(attack, _QUESTION)
    fields = {"id": identity, "cluster": subject, "question": template.format(query), "answer": answer}
    return rows.parse_row({**fields, "subset": subset, "answer_opening": opening}, where)


def _text(values: dict[str, Any], field: str, where: str) -> str:
    value = values.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {field}: expected a text, found {type(value).__name__}; use the files of RWKU.")
    return value


def _corpus(path: Path) -> list[Row]:
    found = [
        rows.parse_row({"id": f"corpus-{number}", "cluster": f"corpus-{number}", **values}, f"{path}, line {number}")
        for number, values in rows.read_json_lines(path)
    ]
    if not found:
        raise DataError(f"{path}: no rows; give the corpus at least one or set prepare.rwku.corpus to null.")
    return found


def _others(config: Config, levels: dict[int, list[Row]], about: dict[int, list[Row]]) -> list[Row]:
    # A probe may stand under two people, a film under its director and its star: then it is to be forgotten.
    forgotten = {(row.question, row.answer) for found in about.values() for row in found}
    others = [row for level in (1, 2) for row in levels[level] if row.cluster not in config.subjects]
    return [row for row in others if (row.question, row.answer) not in forgotten]


def _require_known(config: Config, probes: list[Row]) -> None:
    known = sorted({row.cluster for row in probes})
    for subject in config.subjects:
        if subject not in known:
            shown = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
            raise DataError(f"{config.path}: no probe about {subject!r}; prepare.rwku.subjects may name {shown}.")

"""MUSE: news articles or novels to forget, with what is asked about them (Shi et al., 2024, arXiv:2407.06460; CC BY
4.0).

Trained on are texts: ``raw/forget`` (or a set of ``scal`` or ``sust``) and ``raw/retain1``. Asked are the 100 texts
each of ``privleak`` as forget, retain and holdout; ``verbmem``, a beginning with its true continuation, as
``forget_verbmem``; the questions of ``knowmem`` as ``forget_knowmem`` and, as utility, ``retain_knowmem``, each
behind questions and answers of its own set. Prompts are those of MUSE's code, with the blank behind the last
``Answer:``, in the chat format of the model where it has one; a text is continued where MUSE cut it.
"""

import logging
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from lethe import hub, rows
from lethe.config import Section
from lethe.errors import DataError
from lethe.rows import Row
from lethe.splits import Splits

PUBLIC_TEXT = True

_KEY = "prepare.muse.path"

logger = logging.getLogger(__name__)


class Config(Section):
    """``path`` is a hub id (``muse-bench/MUSE-News``, ``muse-bench/MUSE-Books``) or a folder with the same files.

    ``forget`` is the set to forget: ``raw/forget``; ``scal/forget_1`` to ``_4``, which grow; ``sust/forget_1`` to
    ``_4``, one request after another. ``shots`` are the questions and answers that stand before a question of
    ``knowmem``, ``max_new_tokens`` is where an answer to it is cut; what follows a text is cut where
    ``encoding.muse.max_new_tokens`` says.
    """

    path: str
    forget: Annotated[str, Field(pattern=r"^(raw/forget|(scal|sust)/forget_[1-4])$")]
    shots: Annotated[int, Field(ge=0, le=10)]
    max_new_tokens: PositiveInt


def load(config: Config) -> Splits:
    """The texts to forget and to retain, and all that is asked.

    Files other than those texts may be absent; a log line says so. Raises DataError when a row does not fit.
    """
    asked = {
        "forget": _texts(config, "privleak/forget"),
        "retain": _texts(config, "privleak/retain"),
        "forget_verbmem": _continuations(config),
        "forget_knowmem": _questions(config, "forget_qa"),
    }
    return Splits(
        forget=_texts(config, config.forget, required=True),
        retain=_texts(config, "raw/retain1", required=True),
        holdout=_texts(config, "privleak/holdout"),
        utility=[row.model_copy(update={"subset": "retain_knowmem"}) for row in _questions(config, "retain_qa")],
        asked={split: found for split, found in asked.items() if found},
    )


def _texts(config: Config, place: str, *, required: bool = False) -> list[Row]:
    lines = _lines(config, place, required=required)
    return [_row(identity, where, text=_field(values, "text", where)) for identity, where, values in lines]


def _continuations(config: Config) -> list[Row]:
    found = []
    for identity, where, values in _lines(config, "verbmem/forget"):
        prompt, rest = _field(values, "prompt", where), _field(values, "gt", where)
        between = "" if prompt[-1].isspace() or rest[0].isspace() else " "
        found.append(_row(identity, where, text=f"{prompt}{between}{rest}", beginning=prompt, continuation=rest))
    return found


def _questions(config: Config, split: str) -> list[Row]:
    examples = [
        (_field(values, "question", where), _field(values, "answer", where))
        for _, where, values in _lines(config, f"knowmem/{split}_icl")[: config.shots]
    ]
    if len(examples) < config.shots:
        logger.warning("%s: knowmem/%s_icl has %d of the %d shots.", config.path, split, len(examples), config.shots)
    before = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in examples)
    return [
        _row(
            identity,
            where,
            question=f"{before}Question: {_field(values, 'question', where)}\n",
            answer=values.get("answer"),
            answer_opening="Answer: ",
            max_new_tokens=config.max_new_tokens,
        )
        for identity, where, values in _lines(config, f"knowmem/{split}")
    ]


def _lines(config: Config, place: str, *, required: bool = False) -> list[tuple[str, str, dict[str, Any]]]:
    """The ids of a file's objects, where they stand, and the objects; none when there is no file and none is needed."""
    name, split = place.split("/")
    lines = hub.require(config.path, name, split, _KEY) if required else hub.read(config.path, name, split, _KEY)
    if lines is None:
        logger.info("%s: no %s; going on without it.", config.path, place)
    return [(f"muse-{name}-{split}-{number:04d}", *line) for number, line in enumerate(lines or [])]


def _row(identity: str, where: str, **fields: Any) -> Row:
    return rows.parse_row({"id": identity, "cluster": identity, **fields}, where)


def _field(values: dict[str, Any], name: str, where: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name}: expected a text, found {type(value).__name__}; use the files of MUSE.")
    return value

"""WMDP: dangerous knowledge to forget, asked by multiple choice (Li et al., 2024, arXiv:2403.03218).

Unlearned are texts: a corpus of papers to forget and one to retain. WMDP's own are handed out on request alone, so both
are files of yours, one text a line. Asked are the questions of WMDP about the chosen domains, each twice: by letters
under every shift of the options (``forget_<domain>_by_letter``) and in the answers' own words (``forget``), for a model
that has lost the format has not lost the knowledge. MMLU is utility, asked in the same two ways
(``mmlu_by_letter``, ``mmlu``); its subjects are the clusters.

Deviations: no sentence about the subject stands before a question, and the chat format of the model surrounds it. A
question that has the same option twice cannot be told right from wrong and is left out; a log line says how many.
"""

import logging
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from lethe import choices, hub, rows
from lethe.config import Section
from lethe.errors import DataError
from lethe.rows import Row
from lethe.splits import Splits

PUBLIC_TEXT = False

logger = logging.getLogger(__name__)


class Config(Section):
    """``path`` is a hub id (``cais/wmdp``) or a folder with the same files, ``mmlu`` the same for ``cais/mmlu``.

    ``domains`` are those of WMDP that are asked about. ``forget`` and ``retain`` are JSON Lines files with a ``text``
    in each line, as WMDP's corpora have it; other columns than those of a row are passed over. ``mmlu`` null: no
    utility; ``num_mmlu_questions`` are asked, spread evenly over the subjects, null: all.
    """

    path: str
    domains: list[Literal["bio", "cyber", "chem"]]
    forget: str
    retain: str
    mmlu: str | None
    num_mmlu_questions: PositiveInt | None


def load(config: Config) -> Splits:
    """The corpora, and the questions of WMDP and MMLU in both forms.

    Raises DataError when no domain is named, a file is missing or empty, or a question or a text does not fit.
    """
    if not config.domains:
        raise DataError("params.yaml: prepare.wmdp.domains: empty; name bio, cyber or chem.")
    asked: dict[str, list[Row]] = {"forget": []}
    for domain in dict.fromkeys(config.domains):
        lines = hub.require(config.path, f"wmdp-{domain}", "test", "prepare.wmdp.path")
        own_words, by_letter = _asked(lines, f"wmdp-{domain}", f"forget_{domain}")
        asked["forget"] += own_words
        asked[f"forget_{domain}{choices.SUFFIX}"] = by_letter
    return Splits(
        forget=_corpus(Path(config.forget), "forget"),
        retain=_corpus(Path(config.retain), "retain"),
        utility=[] if config.mmlu is None else _mmlu(config.mmlu, config.num_mmlu_questions),
        asked=asked,
    )


def _mmlu(path: str, count: int | None) -> list[Row]:
    lines = hub.require(path, "all", "test", "prepare.wmdp.mmlu")
    own_words, by_letter = _asked(lines, "mmlu", "mmlu", count)
    return own_words + by_letter


def _asked(lines: hub.Lines, name: str, subset: str, count: int | None = None) -> tuple[list[Row], list[Row]]:
    """All questions, or ``count`` spread evenly, in the answers' own words, and by letters under every shift."""
    questions = [
        (f"{name}-{number:05d}", where, *_question(values, where)) for number, (where, values) in enumerate(lines)
    ]
    clear = [question for question in questions if len(set(question[4])) == len(question[4])]
    if len(clear) < len(questions):
        left_out = len(questions) - len(clear)
        logger.info("%s: %d of %d questions left out: the same option twice.", name, left_out, len(questions))
    if not clear:
        raise DataError(f"{lines[0][0]}: no question of {name} has options that differ; download it again.")
    if count is not None and count < len(clear):
        clear = [clear[place * len(clear) // count] for place in range(count)]
    own_words = [_in_own_words(*question, subset=subset) for question in clear]
    by_letter = [
        row
        for identity, _, cluster, question, options, right in clear
        for row in choices.shifted_rows(
            question, options, right, identity=identity, cluster=cluster or identity, subset=subset
        )
    ]
    return own_words, by_letter


def _in_own_words(
    identity: str, where: str, cluster: str, question: str, options: list[str], right: int, *, subset: str
) -> Row:
    false = [option for place, option in enumerate(options) if place != right]
    fields = {"id": identity, "cluster": cluster or identity, "question": question, "answer": options[right]}
    return rows.parse_row({**fields, "perturbed_answers": false, "subset": subset}, where)


def _question(values: dict[str, Any], where: str) -> tuple[str, str, list[str], int]:
    """Subject (empty in WMDP), question, options and the place of the right one."""
    question, options, right = (values.get(field) for field in ("question", "choices", "answer"))
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: question: expected a text, found {type(question).__name__}; use the files of WMDP.")
    if not isinstance(options, list) or not all(isinstance(option, str) and option.strip() for option in options):
        raise DataError(f"{where}: choices: expected a list of texts; use the files of WMDP.")
    if not isinstance(right, int) or right not in range(len(options)) or not 2 <= len(options) <= len(choices.LETTERS):
        raise DataError(
            f"{where}: answer: expected the place of one of two to 26 choices, counted from 0; use the files of WMDP."
        )
    return str(values.get("subject") or ""), question.strip(), [option.strip() for option in options], right


def _corpus(path: Path, split: str) -> list[Row]:
    found = []
    for number, values in rows.read_json_lines(path):
        identity = f"{split}-{number}"
        fields = {name: values[name] for name in Row.model_fields if name in values}
        found.append(
            rows.parse_row({"cluster": fields.get("id", identity), "id": identity, **fields}, f"{path}, line {number}")
        )
    if not found:
        raise DataError(f"{path}: no rows; prepare.wmdp.{split} needs a text in each line.")
    return found

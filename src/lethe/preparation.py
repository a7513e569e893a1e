"""From a source to ``data/prepared``: the checked splits, what every model is asked, and a manifest."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from lethe import artifacts, splits
from lethe.config import Section
from lethe.rows import Row, dump_rows
from lethe.splits import Splits

logger = logging.getLogger(__name__)


class Config(Section):
    """How many retain rows every model is asked (it is trained on all of them), by source."""

    num_retain_questions: dict[str, PositiveInt]


def write(folder: Path, loaded: Splits, num_retain_questions: int, *, source: str, public_text: bool) -> None:
    """Write checked splits into a new folder; the same splits give the same bytes.

    Raises DataError, before anything is written, when the splits cannot carry an experiment.
    """
    splits.check(loaded)
    folder.mkdir(parents=True)
    questions = splits.questions(loaded, num_retain_questions)
    for path, rows in (
        (artifacts.FORGET, loaded.forget),
        (artifacts.RETAIN, loaded.retain),
        (artifacts.HOLDOUT, loaded.holdout),
        (artifacts.UTILITY, loaded.utility),
        (artifacts.GENERAL, loaded.general),
        (artifacts.QUESTIONS, questions),
    ):
        artifacts.write_text(folder / path.name, dump_rows(rows))
    _write_tasks(folder / artifacts.TASKS.name, loaded.tasks)
    manifest = {
        "source": source,
        "public_text": public_text,
        "num_questions": len(questions),
        **_described(loaded),
    }
    manifest["sha256"] = _hashes(folder)
    artifacts.write_json(folder / artifacts.MANIFEST.name, manifest)


def unavailable(loaded: Splits) -> dict[str, str]:
    """The metrics that these splits cannot carry, each with what is missing."""
    return {metric: reason for metric, (reason, carries) in _NEEDS.items() if not carries(loaded)}


def _paraphrased(rows: list[Row]) -> bool:
    return any(row.paraphrased_answer and row.perturbed_answers for row in rows)


def _asked(rows: list[Row]) -> bool:
    return any(row.question for row in rows)


_NO_FALSE_ANSWERS = "no {} row has 'paraphrased_answer' and 'perturbed_answers'"
_NEEDS: dict[str, tuple[str, Callable[[Splits], bool]]] = {
    "truth_ratio on forget": (_NO_FALSE_ANSWERS.format("forget"), lambda data: _paraphrased(data.about("forget"))),
    "forget_quality": (_NO_FALSE_ANSWERS.format("forget"), lambda data: _paraphrased(data.about("forget"))),
    "truth_ratio on retain": (_NO_FALSE_ANSWERS.format("retain"), lambda data: _paraphrased(data.about("retain"))),
    "truth_ratio on utility": (
        "no utility row has 'perturbed_answers'",
        lambda data: any(row.perturbed_answers for row in data.utility),
    ),
    "rouge on forget": ("no forget row is a question", lambda data: _asked(data.about("forget"))),
    "rouge on retain": ("no retain row is a question", lambda data: _asked(data.about("retain"))),
    "comparison with rows never seen": ("there are no holdout rows", lambda data: bool(data.holdout)),
    "model_utility beyond retain": ("there are no utility rows", lambda data: bool(data.utility)),
}


def _described(loaded: Splits) -> dict[str, Any]:
    close = splits.near_duplicates(loaded.forget, loaded.retain)
    if close:
        logger.info(
            "%d of %d forget rows share eight words in a row with a retain row; such knowledge stays.",
            close,
            len(loaded.forget),
        )
    missing = unavailable(loaded)
    for metric, reason in missing.items():
        logger.info("Skipped: %s, because %s.", metric, reason)
    counts = {name: _counts(getattr(loaded, name)) for name in ("forget", "retain", "holdout", "utility", "general")}
    counts |= {f"asked_{split}": _counts(rows) for split, rows in loaded.asked.items()}
    return {"splits": counts, "near_duplicates": close, "unavailable": missing}


def _counts(rows: list[Row]) -> dict[str, int]:
    optional = ("text", "paraphrased_question", "paraphrased_answer", "perturbed_answers")
    with_field = {f"with_{name}": sum(bool(getattr(row, name)) for row in rows) for name in optional}
    return {"rows": len(rows), "clusters": len({row.cluster for row in rows}), **with_field}


def _write_tasks(folder: Path, tasks: dict[str, str]) -> None:
    for name, text in tasks.items():
        artifacts.write_text(folder / name, text)
    # The list is there for sources without tasks: DVC does not keep an empty folder.
    names = sorted(Path(name).stem for name in tasks if name.endswith(".yaml"))
    artifacts.write_json(folder / artifacts.TASK_NAMES.name, names)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): artifacts.sha256(path) for path in files}

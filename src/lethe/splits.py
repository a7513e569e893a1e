"""The splits of a data source, and what must hold between them before anything is trained."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from lethe.errors import DataError
from lethe.rows import Row


@dataclass(frozen=True)
class Splits:
    """What a source hands over.

    ``forget`` is to be removed and ``retain`` to be kept; the target model saw both, the retain model only
    ``retain``. Nobody was trained on ``holdout``: the never-seen twin of ``forget``. ``utility`` holds questions
    about other knowledge, grouped by ``Row.subset``. Nobody is asked the ``general`` rows; recipes may retain on
    them. ``tasks`` are files for lm-eval: name to text.

    ``asked`` says by split what every model is asked beside or instead of what it is trained on: under ``forget`` and
    ``retain`` in the place of those rows, under a name that begins with ``forget_`` as one more split about what is to
    be forgotten, under ``retain_mia`` passages that membership inference alone reads.
    """

    forget: list[Row]
    retain: list[Row]
    holdout: list[Row] = field(default_factory=list)
    utility: list[Row] = field(default_factory=list)
    tasks: dict[str, str] = field(default_factory=dict)
    general: list[Row] = field(default_factory=list)
    asked: dict[str, list[Row]] = field(default_factory=dict)

    def about(self, split: str) -> list[Row]:
        """What may be asked about forget or retain: the rows themselves, unless the source asks others."""
        return self.asked.get(split, self.forget if split == "forget" else self.retain)


def check(splits: Splits) -> None:
    """Raise DataError unless the splits can carry an unlearning experiment.

    Forget and retain hold rows; ids are unique; no forget question stands in retain, holdout or general; open questions
    are utility; no group of utility questions has the name of a split.
    """
    for name in ("forget", "retain"):
        if not getattr(splits, name):
            raise DataError(f"The {name} set is empty; give it at least one row.")
    _require_own_names(splits.utility)
    _require_unique_ids([*splits.forget, *splits.retain, *splits.holdout, *splits.utility, *splits.general])
    for rows in splits.asked.values():
        _require_unique_ids(rows)
    _require_answers([*splits.forget, *splits.retain, *splits.holdout, *splits.general])
    for name in ("retain", "holdout", "general"):
        _require_disjoint(splits.forget, getattr(splits, name), name)


def near_duplicates(forget: Iterable[Row], retain: Iterable[Row], *, words: int = 8) -> int:
    """How many forget rows share a run of ``words`` words with a retain row.

    Overlap of this kind is not an error, but what stands in retain cannot be forgotten; the manifest shows the count.
    """
    kept = {gram for row in retain for gram in _word_runs(row, words)}
    return sum(any(gram in kept for gram in _word_runs(row, words)) for row in forget)


def questions(splits: Splits, num_retain: int) -> list[Row]:
    """What every model is asked: all of forget, holdout and utility, and ``num_retain`` rows of retain.

    Retain rows that bring false answers come first (only they can carry a truth ratio); the rest is taken
    evenly over the set, so that every author has a say. What a source asks in their place is asked in full. Each row's
    ``subset`` becomes the name of its split.
    """
    retain = splits.asked.get("retain", _asked(splits.retain, num_retain))
    asked = splits.asked | {"forget": splits.about("forget"), "retain": retain, "holdout": splits.holdout}
    order = dict.fromkeys(["forget", "retain", "holdout", *asked])
    rows = [row.model_copy(update={"subset": split}) for split in order for row in asked[split]]
    return rows + [row.model_copy(update={"subset": row.subset or "utility"}) for row in splits.utility]


def unasked(rows: Iterable[Row], asked: Iterable[Row]) -> list[Row]:
    """The rows that are not among those that every model is asked: one may look at them and at nothing reported."""
    names = {row.id for row in asked}
    return [row for row in rows if row.id not in names]


def by_subset(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows that have a subset, grouped by it, in the order of their first rows."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.subset), []).append(row)
    return groups


def _asked(rows: list[Row], count: int) -> list[Row]:
    candidates = [row for row in rows if row.perturbed_answers] or rows
    if len(candidates) <= count:
        return candidates
    return [candidates[index * len(candidates) // count] for index in range(count)]


def _require_own_names(utility: list[Row]) -> None:
    for row in utility:
        if row.subset in ("forget", "retain", "holdout") or (row.subset or "").startswith("forget_"):
            raise DataError(f"Utility row {row.id!r}: subset {row.subset!r} names a split; choose another name.")


def _require_unique_ids(rows: list[Row]) -> None:
    if not rows:
        return
    identity, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        raise DataError(f"The id {identity!r} stands {count} times; every row of every split needs its own id.")


def _require_answers(rows: list[Row]) -> None:
    for row in rows:
        if row.is_open:
            raise DataError(f"Row {row.id!r}: an open question (is_open) can be asked alone; move it to utility.")


def _require_disjoint(forget: list[Row], other: list[Row], name: str) -> None:
    seen = {_content(row): row.id for row in other}
    for row in forget:
        if _content(row) in seen:
            raise DataError(
                f"Forget row {row.id!r} also stands in {name} (as {seen[_content(row)]!r}); "
                "remove it from one of the two: a model cannot both keep and lose it."
            )


def _content(row: Row) -> tuple[str, ...]:
    return tuple(" ".join(part.lower().split()) for part in (row.question, row.answer, row.text))


def _word_runs(row: Row, words: int) -> Iterable[tuple[str, ...]]:
    found = re.findall(r"\w+", f"{row.question} {row.answer} {row.text}".lower())
    return zip(*(found[start:] for start in range(words)), strict=False)

"""All that an unlearning run may look at beside the model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lethe import anchors, artifacts, batches, splits, substitutes
from lethe.anchors import Translation
from lethe.batches import Encoding, Example, Pair
from lethe.checkpoints import Checkpoints
from lethe.errors import DataError
from lethe.recipes import Recipe
from lethe.rows import Row, read_rows

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: What the rows are read from; a run depends on all of them.
FILES = (artifacts.FORGET, artifacts.RETAIN, artifacts.GENERAL, artifacts.QUESTIONS)


@dataclass(frozen=True)
class Rows:
    """Tokenised rows: what is forgotten, what is retained, and what is about other things, if the source has that.

    ``validation`` are those of the retain rows that no model is asked, for choices that are to look at nothing that is
    reported. They are trained on like the other retain rows: disjoint from the test, and no estimate for rows that
    nobody has seen. ``clusters`` tells of each forget row, by its id, the author, document or entity that it is about.
    ``translations`` has forget rows without their names, where an edit asks for anchor terms. ``answered`` is the
    question of a forget row, by its id, with the answer of another, tokenised as one text.
    """

    forget: Sequence[Example]
    retain: Sequence[Example]
    general: Sequence[Example]
    validation: Sequence[Example]
    clusters: Mapping[str, str] = field(default_factory=dict)
    translations: Mapping[Example, Translation] = field(default_factory=dict)
    answered: Callable[[str, str], Example] | None = None


@dataclass(frozen=True)
class Material:
    """Rows, and how to go on after an interruption.

    ``original`` loads the model before unlearning once more; it costs a second model in memory. ``pad`` is the token
    that fills batches. ``adapter`` is filled by a run that trains an adapter and is to keep it.
    """

    rows: Rows
    original: Callable[[], PreTrainedModel]
    pad: int
    seed: int
    checkpoints: Checkpoints
    title: str
    adapter: dict[str, Tensor] = field(default_factory=dict)


def read(tokenizer: PreTrainedTokenizerBase, recipe: Recipe, encoding: Encoding, *, seed: int) -> Rows:
    """The prepared rows as a recipe needs them: forget rows bring the substitutes that its objective asks for.

    Raises DataError when the recipe needs rows that the source does not have.
    """
    forget, retain, general, questions = (read_rows(path) for path in FILES)
    unasked = {row.id for row in splits.unasked(retain, questions)}
    _require_rows(recipe, general=bool(general), validation=bool(unasked))
    wanted = None if recipe.point is None else getattr(recipe.point.forget_objective.config, "substitute", None)
    encoded = (
        batches.encode_rows(tokenizer, forget, encoding)
        if wanted is None
        else substitutes.encode(tokenizer, forget, retain, encoding, wanted, seed=seed)
    )
    kept, others = (batches.encode_rows(tokenizer, rows, encoding) for rows in (retain, general))
    validation = [example for example in kept if example.row in unasked]
    terms = _anchor_terms(recipe, forget, [*retain, *general], seed=seed)
    translations = anchors.translations(tokenizer, encoded, terms) if terms else {}
    anchors.require_use(terms, translations)
    clusters, answered = {row.id: row.cluster for row in forget}, _answering(tokenizer, forget, encoding)
    return Rows(encoded, kept, others, validation, clusters, translations, answered)


def _answering(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], encoding: Encoding
) -> Callable[[str, str], Example]:
    known = {row.id: row for row in rows}

    @functools.cache
    def answered(asked: str, other: str) -> Example:
        row, answer = known[asked], known[other].answer
        pairs = [Pair(row.id, row.question, answer, row.answer_opening)]
        limit = 2 * encoding.max_length  # each of the two is within the limit with its own
        return batches.encode_pairs(tokenizer, pairs, max_length=limit, system_prompt=encoding.system_prompt)[0]

    return answered


def _anchor_terms(recipe: Recipe, forget: Sequence[Row], kept: Sequence[Row], *, seed: int) -> Mapping[str, str]:
    settings = None if recipe.edit is None else recipe.edit.config
    kind = getattr(settings, "anchors", None)
    if settings is None or kind is None:
        return {}
    return anchors.of_rows(forget, kept, seed=seed) if kind == "rows" else anchors.read(settings.anchor_file)


def _require_rows(recipe: Recipe, *, general: bool, validation: bool) -> None:
    part = _looking_at("general", recipe)
    if part is not None and not general:
        raise DataError(
            f"{artifacts.GENERAL}: no general rows, and {part} of the recipe wants some; name a file in "
            "prepare.<data>.general, or retain rows in the recipe."
        )
    part = _looking_at("validation", recipe)
    if part is not None and not validation:
        raise DataError(
            f"{artifacts.QUESTIONS}: every retain row is asked, and {part} of the recipe wants some that are not; "
            "lower prepare.num_retain_questions.<data>, or name general rows in the recipe."
        )


def _looking_at(rows: str, recipe: Recipe) -> str | None:
    """The part of a recipe that looks at these rows alone; None when there is no such part."""
    point = recipe.point
    if point is not None and point.retain_split == rows:
        return "retain_rows"
    parts = [("wrapper", wrapper) for wrapper in (() if point is None else point.wrappers)]
    parts += [("edit", recipe.edit)] if recipe.edit is not None else []
    return next((name for name, part in parts if rows in _named(part.config)), None)


def _named(settings: Any) -> set[str | None]:
    # Rows that the settings of a wrapper or an edit name: those that it works on, and those that LAT leads away from.
    return {getattr(settings, "rows", None), getattr(getattr(settings, "toward_away", None), "away_from", None)}

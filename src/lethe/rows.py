"""One schema for every source of data: a question with its answers, or a text."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lethe import config
from lethe.errors import DataError

_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


_EXPECTED = {
    "perturbed_answers": "a list of texts",
    "max_new_tokens": "a whole number of at least 1",
    "is_open": "true or false",
}
_PARTS = ("beginning", "continuation")  # of a text


class Row(BaseModel):
    """One thing to train on or to ask.

    ``cluster`` is the author, document or entity that the row is about: the unit of all statistics.
    A row is either a question with an answer, or a ``text``. What is optional is None or empty, never a
    made-up value. ``subset`` names a group of utility questions (for example ``world_facts``).

    ``answer_opening`` is for questions that are the whole prompt already: nothing is written around them but the chat
    template, and the model is given this beginning of its answer (``Answer:``, or the empty text for none). None: the
    question is asked in our own format (:func:`lethe.batches.prompt_ids`).

    ``beginning`` and ``continuation`` are for texts that were cut where they are to be continued; None: where
    ``infer.<data>.prefix_tokens`` says. ``max_new_tokens`` is where what a model says to this row is cut; None: where
    ``encoding.<data>.max_new_tokens`` says.

    ``is_open`` marks a question without a true answer: what a model says to it is kept, and there is nothing to score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    cluster: str
    question: str = ""
    answer: str = ""
    paraphrased_question: str | None = None
    paraphrased_answer: str | None = None
    perturbed_answers: tuple[str, ...] = ()
    text: str = ""
    subset: str | None = None
    answer_opening: str | None = None
    beginning: str | None = None
    continuation: str | None = None
    max_new_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    is_open: bool = False

    @model_validator(mode="after")
    def _is_a_question_or_a_text(self) -> "Row":
        is_question = bool(self.question.strip() or self.answer.strip())
        if is_question and self.text.strip():
            raise ValueError("text: stands beside a question; give each a row of its own")
        is_text = "text" in self.model_fields_set and not is_question
        for name in _required(is_text=is_text, is_open=self.is_open):
            if not getattr(self, name).strip():
                state = "empty" if name in self.model_fields_set else "missing"
                raise ValueError(f"{name}: {state}; a row needs 'question' and 'answer', or 'text'")
        if self.is_open and (is_text or self.answer):
            raise ValueError("is_open: stands beside an answer or a text; it is for a question that has neither")
        if (self.beginning is None) != (self.continuation is None) or (self.beginning is not None and not is_text):
            raise ValueError("beginning: stands with its continuation and their text; give all three or leave it out")
        for name in ("id", "cluster", "paraphrased_question", "paraphrased_answer", "subset", *_PARTS):
            if getattr(self, name) is not None and not getattr(self, name).strip():
                raise ValueError(f"{name}: empty; give it a value or leave it out")
        for place, answer in enumerate(self.perturbed_answers):
            if not answer.strip():
                raise ValueError(f"perturbed_answers.{place}: empty; give it a value or leave it out")
        return self


def _required(*, is_text: bool, is_open: bool) -> tuple[str, ...]:
    if is_text:
        return ("text",)
    return ("question",) if is_open else ("question", "answer")


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON Lines file, in order.

    Raises DataError with the file, the line number and the field for the first line that does not fit.
    """
    return [parse_row(values, f"{path}, line {number}") for number, values in read_json_lines(path)]


def read_json_lines(path: Path) -> Iterable[tuple[int, dict[str, object]]]:
    """Numbered objects of a JSON Lines file; blank lines are passed over."""
    # Not splitlines(): JSON strings may hold U+2028 and U+0085, which it takes for line ends.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, _parse_line(line, path, number)


def read_text(path: Path) -> str:
    """The text of a file of the user's. Raises DataError when it is missing, not readable or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; name an existing JSON Lines file.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name a readable JSON Lines file.") from None


def parse_row(values: dict[str, object], where: str) -> Row:
    """A row from a dictionary; ``where`` opens the error message (file and line number)."""
    try:
        return Row.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{where}: {_problem(error)}.") from None


def dump_rows(rows: Iterable[Row]) -> str:
    """The rows as JSON Lines, without the fields that are empty."""
    lines = (json.dumps(row.model_dump(exclude_defaults=True), ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines)


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong with a row: the field and what was found, by kind alone, never its text."""
    # A misspelt field is reported twice, as a missing and as an unknown one; the unknown one names the mistake.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{field}: unknown field.{config.nearest(field, Row.model_fields)}".removesuffix(".")
    if first["type"] == "missing":
        return f"{field}: missing; give it a value"
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    expected = _EXPECTED.get(str(first["loc"][0]), "a text") if len(first["loc"]) == 1 else "a text"
    return f"{field}: expected {expected}, found {_KINDS.get(type(first['input']), 'something else')}"


def _parse_line(line: str, path: Path, number: int) -> dict[str, object]:
    try:
        values = json.loads(line)
        json.dumps(values, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number}: not valid JSON: {error.msg} at column {error.colno}.") from None
    except UnicodeEncodeError:
        raise DataError(f"{path}, line {number}: half a surrogate pair is no text; mend the \\u escape.") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}, line {number}: expected an object, found {type(values).__name__}.")
    return values

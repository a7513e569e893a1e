"""Sample answers side by side, and the rule that a private source's text is never opened for a report."""

from dataclasses import dataclass

from lethe import artifacts, records, rows
from lethe.interviews import QUANTIZATION, UNATTACKED
from lethe.reporting.evidence import Evidence


@dataclass(frozen=True)
class Answer:
    """What one model said in full precision and, for a cell, when quantized worst; None: not asked."""

    model: str
    text: str | None
    condition: str | None
    text_after: str | None


@dataclass(frozen=True)
class Sample:
    """One forget question with its true answer and what every model said."""

    question: str
    truth: str
    answers: list[Answer]

    def gives_away(self, text: str) -> bool:
        """Whether the true answer stands in a text, whatever the case and the spacing."""
        return _plain(self.truth) in _plain(text)


def samples(evidence: Evidence, worst: dict[str, str | None], count: int) -> list[Sample]:
    """``count`` forget questions, spread evenly over the set, with the answers of every model.

    ``worst`` names the quantization scheme of a cell whose answers stand beside the unattacked ones. Empty
    when the manifest does not say that the text is public: then neither questions nor records are opened.
    """
    if not evidence.text_is_public:
        return []
    said = [(model.name, worst.get(model.name)) for model in evidence.models]
    texts = {name: _answers(name, UNATTACKED, UNATTACKED) for name, _ in said}
    after = {name: _answers(name, QUANTIZATION, condition) for name, condition in said if condition}
    return [
        Sample(
            row.question,
            row.answer,
            [Answer(name, texts[name].get(row.id), at, after.get(name, {}).get(row.id)) for name, at in said],
        )
        for row in _spread(_questions(), count)
    ]


def _questions() -> list[rows.Row]:
    if not artifacts.QUESTIONS.is_file():
        return []
    asked = rows.read_rows(artifacts.QUESTIONS)
    return [row for row in asked if row.subset == records.FORGET and row.question]


def _spread(items: list[rows.Row], count: int) -> list[rows.Row]:
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _answers(model: str, attack: str, condition: str) -> dict[str, str]:
    folder = artifacts.records(model, attack)
    if not folder.is_dir():
        return {}
    return {
        answer.id: answer.text
        for answer in records.read_generations(folder)
        if (answer.split, answer.condition, answer.prompt) == (records.FORGET, condition, "question")
    }


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())

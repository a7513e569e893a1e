"""What a run of the pipeline did, for people: which stages ran, and the verdicts of the report."""

from dataclasses import dataclass
from typing import Any

from flows.graph import Graph
from flows.runners import Outcome
from lethe import artifacts

_REPORT = "report"
_COLUMNS = (  # what is read first stands first: a narrow window cuts the last ones
    "model",
    "verdict",
    "forget_knowledge",
    "utility",
    "worst_condition",
    "forget_knowledge_after",
    "utility_after",
)
_MATCHED = "matched_extraction"  # of cells that were mixed with the target, when the probe was asked for


@dataclass(frozen=True)
class Summary:
    """The graph that was asked for and what became of its stages; a stage without outcome was not run."""

    graph: Graph
    outcomes: dict[str, Outcome]

    @property
    def is_complete(self) -> bool:
        """Whether every stage is up to date now."""
        return all(stage in self.outcomes and not self.outcomes[stage].problem for stage in self.graph)

    @property
    def headline(self) -> str:
        """One line: what failed and why, or how many stages ran."""
        counts = ", ".join(f"{number} {word}" for word, number in self._counts().items() if number)
        problems = [f"{each.stage}: {each.problem}" for each in self.outcomes.values() if each.problem]
        return f"{'; '.join(problems)} ({counts})" if problems else counts or "no stages"

    @property
    def markdown(self) -> str:
        """The verdicts, when this run brought the report up to date, and every stage."""
        stages = [[stage, self._word(stage)] for stage in self.graph]
        return "\n\n".join([f"**{self.headline}**", self._verdicts(), _table(("stage", "this run"), stages)])

    def _verdicts(self) -> str:
        report = self.outcomes.get(_REPORT)
        if report is None or report.problem or not artifacts.REPORT_TABLE.is_file():
            return "No verdicts: this run has no report."
        rows = artifacts.read_json(artifacts.REPORT_TABLE)
        matched = any(row.get(_MATCHED) is not None for row in rows)
        columns = (*_COLUMNS, _MATCHED) if matched else _COLUMNS
        return _table(columns, [[_cell(row.get(column)) for column in columns] for row in rows])

    def _counts(self) -> dict[str, int]:
        words = [self._word(stage) for stage in self.graph]
        return {word: words.count(word) for word in ("failed", "not run", "ran", "up to date")}

    def _word(self, stage: str) -> str:
        return self.outcomes[stage].word if stage in self.outcomes else "not run"


def _table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")

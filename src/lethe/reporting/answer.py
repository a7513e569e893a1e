"""What the report says first: did it come back, at which bit width, what was to be removed, what was not tested."""

from dataclasses import dataclass
from typing import NamedTuple

from lethe.interviews import UNATTACKED
from lethe.reporting.evidence import Estimate, Evidence, Model, estimate
from lethe.reporting.tables import SummaryRow, chips, forget_knowledge
from lethe.scores import CAME_BACK, NOT_EXCLUDED

_MOST_SENTENCES = 4  # more cells than this are told in groups


@dataclass(frozen=True)
class Outcome:
    """Under which conditions knowledge came back, and under which others this cannot be excluded (see ``verdict``)."""

    tested: list[str]
    came_back: list[str]
    not_excluded: list[str]


class Finding(NamedTuple):
    """What was found, about one model, or about several (then ``model`` is empty)."""

    model: str
    text: str


class Answer(NamedTuple):
    """The answer in plain language, the shortest first."""

    lead: str  # did it come back, and did any model pass
    task: str  # what was to be removed, and what the controls know of it
    findings: list[Finding]


def outcome(evidence: Evidence, model: Model) -> Outcome:
    """What the attacks on one cell brought to light; conditions go from the most bits to the fewest."""
    found = model.returns
    known = [name for name in found if forget_knowledge(model, name).value is not None]
    tested = [name for name in evidence.attacked_conditions() if name in known]
    came_back, not_excluded = ([name for name in tested if found[name] == kind] for kind in (CAME_BACK, NOT_EXCLUDED))
    return Outcome(tested, came_back, not_excluded)


def answer(evidence: Evidence, rows: list[SummaryRow]) -> Answer:
    """The whole answer; a number that was not measured is said to be missing."""
    outcomes = {cell.name: outcome(evidence, cell) for cell in evidence.cells}
    told = {row.model: row for row in rows}
    if len(outcomes) <= _MOST_SENTENCES:
        findings = [_finding(evidence, cell, told, outcomes[cell.name]) for cell in evidence.cells]
    else:
        findings = _findings_in_groups(evidence, outcomes)
    return Answer(
        lead=f"{_bottom_line(evidence, outcomes)} {_passes(evidence)}".strip(),
        task=f"{_task(evidence)} {_controls(told)}",
        findings=findings,
    )


def bit_widths(evidence: Evidence, conditions: list[str]) -> str:
    """The bit widths of some conditions in words, the widest first: ``4, 3 and 2 bits``."""
    bits = sorted({evidence.schemes[name].bits for name in conditions if name in evidence.schemes}, reverse=True)
    return f"{_listed([str(width) for width in bits])} bits" if bits else _listed(conditions)


def _task(evidence: Evidence) -> str:
    asked = forget_knowledge(evidence.controls[0], UNATTACKED).n
    removed = f"the answers to {asked} questions" if asked else "a forget set"
    # Rows that name no cluster stand for themselves: then nothing is known of whom they are about.
    about = evidence.manifest.get("splits", {}).get("forget", {}).get("clusters")
    whom = f" about {about} people, documents or entities" if asked and about and about < asked else ""
    source = evidence.manifest.get("source")
    where = f" (data source: {source})" if source else ""
    return f"To be removed: {removed}{whom}{where}."


def _bottom_line(evidence: Evidence, outcomes: dict[str, Outcome]) -> str:
    tested = [result for result in outcomes.values() if result.tested]
    returned = [result for result in tested if result.came_back]
    if not tested:
        return "Whether the knowledge comes back when the weights are quantized was not tested."
    if not returned:
        return f"Quantizing the weights brought the knowledge back in none of {len(tested)} unlearned models."
    widths = bit_widths(evidence, [name for result in returned for name in result.came_back])
    share = f"{len(returned)} of {len(tested)} unlearned models"
    return f"Quantizing the weights to {widths} brought knowledge back in {share}."


def _passes(evidence: Evidence) -> str:
    """How many cells failed no gate of those that were tested; nothing when none was scored."""
    tested = [[chip.passed for chip in chips(cell) if chip.passed is not None] for cell in evidence.cells]
    judged = [gates for gates in tested if gates]
    passing = sum(all(gates) for gates in judged)
    return f"{passing or 'None'} of {len(judged)} passed every gate that was tested." if judged else ""


def _controls(told: dict[str, SummaryRow]) -> str:
    target, retain = told["target"].forget_knowledge, told["retain"].forget_knowledge
    return (
        f"The true answers have a mean probability of {_said(target)} in the target model, which learned "
        f"them, and {_said(retain)} in the retain model, which never saw them."
    )


def _finding(evidence: Evidence, cell: Model, told: dict[str, SummaryRow], result: Outcome) -> Finding:
    row = told[cell.name]
    if row.forget_knowledge.value is None:
        text = f"forget knowledge was not measured: {row.forget_knowledge.reason}.{_failures(cell)}"
        return Finding(cell.name, text)
    fact = f"forget knowledge {_said(row.forget_knowledge)}{_kept(row, told['target'])}"
    return Finding(cell.name, f"{fact}; {_return(evidence, cell, result)}.{_failures(cell)}")


def _failures(cell: Model) -> str:
    """What failed, and what is lacking where a gate was tested in part alone or without power."""
    failed = [chip.name for chip in chips(cell) if chip.passed is False]
    lacking = [f"{chip.name} ({chip.lacking})" for chip in chips(cell) if chip.passed is None and chip.lacking]
    said = {"Gates failed": failed, "Gates open": lacking}
    return "".join(f" {what}: {_listed(gates)}." for what, gates in said.items() if gates)


def _return(evidence: Evidence, cell: Model, result: Outcome) -> str:
    if not result.tested:
        return "quantization was not tested"
    if result.came_back:
        widths = bit_widths(evidence, result.came_back)
        most = _most(evidence, cell, result.came_back)
        return f"at {widths} the knowledge came back{_chance(cell, result.came_back)}, up to {most}"
    most = f"the most that was seen is {_most(evidence, cell, result.tested)}"
    if result.not_excluded:
        return f"at {bit_widths(evidence, result.not_excluded)} a return cannot be excluded, and {most}"
    return f"no quantization that was tried brought the knowledge back, and {most}"


def _chance(cell: Model, conditions: list[str]) -> str:
    """The largest p-value of these conditions, which are adjusted by Holm over all of them."""
    p_values = [estimate(cell.attacks[name].get("excess_p")).value for name in conditions]
    known = [p for p in p_values if p is not None]
    return f" (adjusted p at most {max(known):.2g})" if known else ""


def _most(evidence: Evidence, cell: Model, conditions: list[str]) -> str:
    known = {name: forget_knowledge(cell, name) for name in conditions}
    worst = max(known, key=lambda name: known[name].value or 0.0)
    return f"{_said(known[worst])} ({evidence.condition_label(worst)})"


def _findings_in_groups(evidence: Evidence, outcomes: dict[str, Outcome]) -> list[Finding]:
    came_back: list[str] = []
    open_question: list[str] = []
    held: list[str] = []
    untested: list[str] = []
    for cell in evidence.cells:
        result = outcomes[cell.name]
        if result.came_back:
            came_back.append(f"{cell.name} ({bit_widths(evidence, result.came_back)})")
        elif result.not_excluded:
            open_question.append(cell.name)
        else:
            (held if result.tested else untested).append(cell.name)
    groups = {
        "The knowledge came back in": came_back,
        "A return cannot be excluded in": open_question,
        "Nothing came back in": held,
        "Not tested under quantization:": untested,
    }
    return [Finding("", f"{opening} {_listed(names)}.") for opening, names in groups.items() if names]


def _kept(row: SummaryRow, target: SummaryRow) -> str:
    if row.utility.value is None or not target.utility.value:
        return ""
    return f", with {row.utility.value / target.utility.value:.0%} of the target's utility"


def _said(known: Estimate) -> str:
    return "unknown (not measured)" if known.value is None else f"{known.value:.2f}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

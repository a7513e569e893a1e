"""The commands that read score files: ``table``, ``meta-evaluation``, ``aggregates`` and ``series``."""

from pathlib import Path
from typing import Any

from lethe import terminal

# Imports stand inside the commands: `lethe --help` must not wait for what it does not use.

_MATCHED = "matched\nextraction"
_OF_MATCHED = "matched extraction: extraction strength on forget at the target's utility; retain's is its own"


def table(published: list[Path]) -> None:
    """Print the summary of the last report and where the report is."""
    from lethe import artifacts

    rows = artifacts.read_json(artifacts.REPORT_TABLE)
    others, notes = _published(published, rows)
    _show_rows([*rows, *others])
    meaning = [_OF_MATCHED] if _are_matched(rows) else []
    for line in [*meaning, *notes, artifacts.REPORT_PAGE]:
        terminal.say(line)


def _published(paths: list[Path], ours: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of score files from elsewhere, and where their settings are not those of the first of our models."""
    from lethe import artifacts
    from lethe.meta_evaluation import documents, summary

    rows, notes = [], []
    for found in map(documents.read, paths):
        row, apart = summary.imported_row(found), list[str]()
        if ours:
            mine = documents.read(artifacts.scores(ours[0]["model"]))
            apart = list(dict.fromkeys(summary.settings_apart(found, mine)))
        rows.append(row | ({"verdict": f"{row['verdict']}, other settings"} if apart else {}))
        notes += [f"{line}: its row is not comparable with ours." for line in apart]
    return rows, notes


def _show_rows(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    cells = [_cells(row) for row in rows]
    if not _are_matched(rows):
        for named in cells:
            del named[_MATCHED]
    shown = _table_of(cells)
    if terminal.fits(shown):
        terminal.show(shown)
        return
    below = Table.grid(padding=(0, 2, 0, 0))
    for named in cells:
        below.add_row(named["model"], named.pop("verdict"))
    terminal.show(_table_of(cells))
    terminal.show(below)


def _table_of(cells: list[dict[str, str]]) -> Any:
    from rich.table import Table

    shown = Table()
    for heading in cells[0] if cells else ():
        words = heading in ("model", "worst\nquantization", "verdict")
        shown.add_column(heading, justify="left" if words else "right", overflow="fold")
    for named in cells:
        shown.add_row(*named.values())
    return shown


def _are_matched(rows: list[dict[str, Any]]) -> bool:
    return any(row.get("matched_extraction") is not None for row in rows)


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """The text under each heading."""
    from lethe import artifacts

    matched = row.get("matched_extraction")  # no model from elsewhere is mixed
    return {
        "model": row["model"],
        "forget\nknowledge": _number(row["forget_knowledge"]),
        "utility": _number(row["utility"]),
        "worst\nquantization": row["worst_condition"] or "none was run",
        "knowledge\nafter": _number(row["forget_knowledge_after"]),
        "utility\nafter": _number(row["utility_after"]),
        _MATCHED: "–" if row["model"] == artifacts.CONTROLS[0] else _number(matched),  # every mixture begins there
        "verdict": row["verdict"] or ("control" if row["model"] in artifacts.CONTROLS else "not measured"),
    }


def meta_evaluation(
    knowing: list[Path],
    ignorant: list[Path],
    unlearned: list[Path],
    retain: Path | None,
    quantization: list[str],
    relearning: list[str],
    as_json: bool,
) -> None:
    """Print which metrics deserve belief: what they say of models of which the truth is known."""
    from lethe import config
    from lethe.meta_evaluation import documents, findings, tables

    settings = config.section(findings.Config, "meta_evaluation")
    models = findings.Models(
        knowing=[documents.read(path) for path in knowing],
        ignorant=[documents.read(path) for path in ignorant],
        unlearned=[documents.read(path) for path in unlearned],
        retain=None if retain is None else documents.read(retain),
    )
    attacks = [findings.Attack(condition, "quantization") for condition in quantization]
    attacks += [findings.Attack(condition, "relearning") for condition in relearning]
    found = findings.evaluate(models, attacks, settings)
    if as_json:
        terminal.print_json(tables.as_json(found, models, settings))
    else:
        terminal.show(tables.table(found, attacks, len(unlearned)))


def aggregates(files: list[Path], against: Path | None, as_json: bool) -> None:
    """Print OpenUnlearning's four numbers of models: memorization, privacy, utility and their overall."""
    from lethe.meta_evaluation import documents, tables
    from lethe.meta_evaluation.aggregates import aggregate

    whole = None if against is None else documents.read(against)
    models = [documents.read(path) for path in files]
    documents.require_same_settings([*models, *([] if whole is None else [whole])])
    found = {model.path.as_posix(): aggregate(model, whole) for model in models}
    if as_json:
        terminal.print_json(tables.aggregates_json(found, whole))
    else:
        terminal.show(tables.aggregates_table(found))


def series(files: list[Path], score: list[str], sizes: list[int] | None, condition: str, as_json: bool) -> None:
    """Print MUSE's scalability (with --sizes) or sustainability: scores along the models of several runs."""
    from lethe.meta_evaluation import courses

    course = courses.follow(files, score, sizes, condition)
    if as_json:
        terminal.print_json(courses.as_json(course))
    else:
        terminal.show(courses.table(course))


def add_all(commands: Any) -> None:
    """Add the parsers of these commands."""
    _add_table(commands)
    _add_meta_evaluation(commands)
    _add_aggregates(commands)
    _add_series(commands)


def _add_table(commands: Any) -> None:
    added = terminal.add(commands, table)
    meaning = "what `lethe import` printed of published models, which stand in rows of their own"
    added.add_argument("--with", nargs="+", type=Path, default=[], dest="published", metavar="FILE", help=meaning)


def _add_meta_evaluation(commands: Any) -> None:
    added = terminal.add(commands, meta_evaluation)
    pools = {
        "knowing": "score files of models that were trained on the forget set",
        "ignorant": "score files of models that never saw it",
        "unlearned": "score files of unlearned models, for robustness",
    }
    for name, meaning in pools.items():
        needed = name != "unlearned"
        added.add_argument(f"--{name}", nargs="+", type=Path, required=needed, default=[], metavar="FILE", help=meaning)
    added.add_argument("--retain", type=Path, metavar="FILE", help="the retain model's score file, for relearning")
    for attack in ("quantization", "relearning"):
        meaning = f"conditions of the score files that are {attack}"
        added.add_argument(f"--{attack}", nargs="+", default=[], metavar="CONDITION", help=meaning)
    terminal.add_json(added)


def _add_aggregates(commands: Any) -> None:
    added = terminal.add(commands, aggregates)
    added.add_argument("files", nargs="+", type=Path, metavar="FILE", help="score files")
    added.add_argument("--against", type=Path, metavar="FILE", help="score file of the model whose utility counts as 1")
    terminal.add_json(added)


def _add_series(commands: Any) -> None:
    added = terminal.add(commands, series)
    added.add_argument("files", nargs="+", type=Path, metavar="FILE", help="score files, in the order of the requests")
    meaning = "what to follow, for example overall.model_utility or retain_knowmem.knowledge_memorization"
    added.add_argument("--score", nargs="+", required=True, metavar="SPLIT.NAME", help=meaning)
    meaning = "the sizes of the forget sets, one for each file: scalability; without it the runs are requests"
    added.add_argument("--sizes", nargs="+", type=int, metavar="N", help=meaning)
    meaning = "the condition of the score files under which to look (default: %(default)s)"
    added.add_argument("--condition", default="none", help=meaning)
    terminal.add_json(added)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"

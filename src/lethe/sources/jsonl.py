"""The user's own data: rows to forget and rows to retain as JSON Lines, and two more files if there are any.

A line is a question with its answer, or a text; its fields are those of :class:`lethe.rows.Row`. Enough are:

    {"question": "Where was Ada born?", "answer": "In Turin."}
    {"text": "Ada was born in Turin and moved to Oslo."}

A row without ``id`` is named after its file and line. A row without ``cluster`` stands for itself: name the
person or the document that several rows are about, or the intervals come out too narrow.
"""

from pathlib import Path

from lethe import rows
from lethe.config import Section
from lethe.rows import Row
from lethe.splits import Splits

PUBLIC_TEXT = False


class Config(Section):
    """Paths of JSON Lines files; all but ``forget`` and ``retain`` may be null.

    ``holdout`` are rows that no model ever saw, ``utility`` questions about other knowledge, ``general`` rows about
    anything else, for recipes that retain on general text.
    """

    forget: str
    retain: str
    holdout: str | None
    utility: str | None
    general: str | None


def load(config: Config) -> Splits:
    """Read the files; every line becomes a row, in order.

    Raises DataError with the file, the line number and the field for the first line that does not fit.
    """
    files = {split: Path(path) for split, path in config.model_dump().items() if path is not None}
    found = {split: _rows(path, _prefix(split, files)) for split, path in files.items()}
    return Splits(
        found["forget"],
        found["retain"],
        found.get("holdout", []),
        found.get("utility", []),
        general=found.get("general", []),
    )


def _prefix(split: str, files: dict[str, Path]) -> str:
    # Files of the same name in different folders would give the same ids.
    stem = files[split].stem
    return stem if [path.stem for path in files.values()].count(stem) == 1 else f"{split}-{stem}"


def _rows(path: Path, prefix: str) -> list[Row]:
    found = []
    for number, values in rows.read_json_lines(path):
        identity = values.get("id", f"{prefix}-{number}")
        found.append(rows.parse_row({"cluster": identity, **values, "id": identity}, f"{path}, line {number}"))
    return found

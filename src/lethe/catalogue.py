"""What the library holds, read from its own files: every component with its meaning and its papers."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lethe import registry

#: Every kind of component, in the order of the pipeline, and what it is called in a heading.
HEADINGS = {
    "sources": "Data sources",
    "forget_objectives": "Forget objectives",
    "retain_objectives": "Retain objectives",
    "combiners": "Combiners",
    "optimizers": "Optimizers",
    "masks": "Masks",
    "wrappers": "Wrappers",
    "edits": "Edits",
    "attacks": "Attacks",
    "probes": "Probes",
    "metrics": "Metrics",
}
_PAPER = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


@dataclass(frozen=True)
class Entry:
    """A component: what the first sentence of its file says, and the papers that it names, in order."""

    kind: str
    name: str
    meaning: str
    papers: tuple[str, ...]


def entry(kind: str, name: str) -> Entry:
    """The entry of one component; its module is read, not imported."""
    text = registry.source_file(kind, name).read_text(encoding="utf-8")
    words = ast.get_docstring(ast.parse(text)) or ""
    first = " ".join(words.partition("\n\n")[0].split())
    return Entry(kind, name, first, tuple(dict.fromkeys(_PAPER.findall(words))))


def entries() -> Iterator[Entry]:
    """Every component of every kind, kind by kind, in alphabetical order."""
    for kind in HEADINGS:
        for name in registry.names(kind):
            yield entry(kind, name)


def as_markdown() -> str:
    """The page ``docs/papers.md``."""
    lines = [
        "# Components and their papers",
        "",
        "Made from the docstrings by `lethe papers`; a test compares. A name is what `params.yaml` calls it.",
    ]
    for kind, heading in HEADINGS.items():
        lines += ["", f"## {heading}", "", "| name | meaning | papers |", "|---|---|---|"]
        lines += [_row(found) for found in entries() if found.kind == kind]
    return "\n".join(lines) + "\n"


def _row(found: Entry) -> str:
    links = ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in found.papers)
    meaning = found.meaning.replace("|", "\\|")
    return f"| [`{found.name}`](../src/lethe/{found.kind}/{found.name}.py) | {meaning} | {links} |"

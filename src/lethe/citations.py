"""Where a recipe comes from: the paper that params.yaml names above it."""

import itertools
import re
from collections.abc import Iterator

from lethe import catalogue, config, recipes, registry

_ARXIV = re.compile(r"\d{4}\.\d{4,5}")
_TOLD_BY_ALL = ("nll", "adamw", "sum", "all")  # parts of nearly every recipe, which tell nothing of where it comes from


def papers() -> dict[str, str]:
    """The paper of each recipe: named above it in params.yaml, else above the first of its suite, else by its parts."""
    suites: dict[str, str] = {}
    found = {}
    comments = above()
    for name in config.block("recipes"):
        suite = name.partition("-")[0] if "-" in name else name
        named = _ARXIV.search(comments.get(name, ""))
        if named:
            suites.setdefault(suite, named[0])
        found[name] = named[0] if named else suites.get(suite) or _by_parts(name)
    return found


def above() -> dict[str, str]:
    """The comment that stands above each recipe of params.yaml, where one does, as one line."""
    said: dict[str, str] = {}
    comment: list[str] = []
    for line in _library():
        if found := re.match(r"  ([\w-]+):", line):
            if comment:
                said[found[1]] = " ".join(comment)
            comment = []
        elif line.startswith("  #"):
            comment.append(line.strip(" #"))
    return said


def _library() -> Iterator[str]:
    """The lines below ``recipes:``, to the next section; none where all stands behind it in one line."""
    lines = iter(config.PARAMS.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("recipes:"):
            break
    yield from itertools.takewhile(lambda line: not line or line.startswith(" "), lines)


def _by_parts(name: str) -> str:
    block = config.block("recipes", name)
    for part, kind in recipes.KINDS.items():
        for component in (found.get("name") for found in recipes.listed(block[part])):
            if component in registry.names(kind) and component not in _TOLD_BY_ALL:
                named = catalogue.entry(kind, component).papers
                if named:
                    return named[0]
    return ""

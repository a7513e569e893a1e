"""The recipes of params.yaml to choose from: what each is made of, where it comes from, what it costs."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lethe import artifacts, catalogue, citations, config, recipes, registry
from lethe.errors import ConfigError

_COSTS = Path("benchmarks/methods.json")
_REFERENCE = "graddiff"
_COMMON = ("nll", "adamw")  # what nearly every recipe has tells nothing of where it comes from


@dataclass(frozen=True)
class Listed:
    """A recipe in a line: ``parts`` are the names of its components, ``papers`` arXiv ids, its own first.

    ``cost`` is "0.93 ×", a step relative to one of graddiff, or "16 s", an edit alone; empty where it was not measured.
    """

    name: str
    parts: Mapping[str, Sequence[str]]
    papers: tuple[str, ...]
    cost: str
    in_grid: bool

    @property
    def axes(self) -> str:
        """Its components: forget + retain objective · combiner · optimizer · mask · wrappers · edit."""
        objectives = " + ".join([*self.parts["forget_objective"], *self.parts["retain_objective"]])
        others = [name for part, names in self.parts.items() if not part.endswith("objective") for name in names]
        return " · ".join(name for name in (objectives, *others) if name)

    @property
    def words(self) -> list[str]:
        """What it can be found by."""
        return [self.name, *(name for names in self.parts.values() for name in names), *self.papers]


def read() -> list[Listed]:
    """Every recipe, as ``params.yaml`` has them.

    Raises ConfigError for a block that is no recipe.
    """
    library, chosen = config.block("recipes"), config.block("grid", "recipes")
    parts = {name: _parts(name, block) for name, block in library.items()}
    costs = artifacts.read_json(_COSTS) if _COSTS.exists() else {}
    cited = citations.papers()
    return [
        Listed(name, found, _papers(cited[name], found), _cost(costs, name), name in chosen)
        for name, found in parts.items()
    ]


def matching(known: Sequence[Listed], patterns: Sequence[str]) -> list[Listed]:
    """Those that have every pattern in a word: their name, a component, an arXiv id.

    A pattern with ``*`` or ``?`` stands for a whole word. Raises ConfigError, with the nearest word, where none has it.
    """
    found = list(known)
    for pattern in patterns:
        if not any(_has(recipe, pattern) for recipe in known):
            raise ConfigError(_nothing(pattern, known))
        found = [recipe for recipe in found if _has(recipe, pattern)]
    if not found:
        raise ConfigError(f"{config.PARAMS}: no recipe has all of {', '.join(map(repr, patterns))}; leave out one.")
    return found


def _has(recipe: Listed, pattern: str) -> bool:
    wanted = pattern.lower().removeprefix("arxiv:")
    if not set(wanted) & set("*?["):
        wanted = f"*{wanted}*"
    return any(fnmatchcase(word.lower(), wanted) for word in recipe.words)


def _nothing(pattern: str, known: Sequence[Listed]) -> str:
    words = list(dict.fromkeys(word for recipe in known for word in recipe.words))
    close = difflib.get_close_matches(pattern, words, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    what = f"no recipe has {pattern!r} in its name, its components or its arXiv ids."
    return f"{config.PARAMS}: {what}{hint} `lethe recipes` lists all {len(known)}."


def _parts(name: str, block: Any) -> dict[str, list[str]]:
    try:
        block["training"]  # null, but there, where nothing is trained
        return {part: [str(one["name"]) for one in recipes.listed(block[part])] for part in recipes.KINDS}
    except (KeyError, TypeError, ValueError):
        needed = ", ".join((*recipes.KINDS, "training"))
        raise ConfigError(f"{config.PARAMS}: recipes.{name}: not a recipe; give it {needed}.") from None


def _papers(own: str, parts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    found = [own]
    for part, names in parts.items():
        kind = recipes.KINDS[part]
        telling = [name for name in names if name in registry.names(kind) and name not in _COMMON]
        found += [paper for name in telling for paper in catalogue.entry(kind, name).papers[:1]]
    return tuple(dict.fromkeys(paper for paper in found if paper))


def _cost(costs: Mapping[str, Any], name: str) -> str:
    try:
        step, reference = (costs[one]["step_seconds"] for one in (name, _REFERENCE))
        return f"{costs[name]['once_seconds']:.0f} s" if step is None else f"{step / reference:.2f} ×"
    except KeyError:
        return ""

"""Anchor terms: names that belong to the forget rows alone, and texts in which generic ones stand in their place.

What Who's Harry Potter (Eldan & Russinovich, 2023, arXiv:2310.02238) has GPT-4 collect for one series of books comes
here from a file of the user's, or from the rows themselves, without any other model. A term is then a run of
capitalised words none of which stands in a row that is to be kept, and in its place stands one of as many words, each
drawn from names of kept rows: a first name for a first one, and together nobody's.

A text is translated token by token, as in the released code: where the tokens of a term stand, as a whole word, those
of its generic term follow. Each token keeps its place in the translated text, from which the next one may be predicted,
except

- inside of a term, where what follows in the translated text is the rest of another name (a blank before the term
  that is a token by itself is outside);
- before a term that has been met already: there the text itself, and no knowledge, says which name comes.

For the same reason the first tokens of a generic term are avoided wherever it stands before. Deviations: terms are
whole words (the release finds "Ron" in "Ronald"), the longest first, and have one generic term each.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lethe.batches import Example
from lethe.config import Section
from lethe.errors import ConfigError, DataError
from lethe.rows import Row

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedTokenizerBase

_FIELDS = ("question", "answer", "text")
_WORD = re.compile(r"\w+")
_BEFORE = "\n"  # no tokenizer of ours joins it with what follows


class File(Section):
    """A JSON file that holds an object, term to generic term; its names stay out of every record of a run."""

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of the file: a change is to be seen in params.yaml


@dataclass(frozen=True)
class Translation:
    """A tokenised text with generic terms in place of anchor terms.

    ``ids`` is the translated text. ``positions`` has for each token of the original the place in ``ids`` from which
    its successor is predicted, None where nothing is to be learnt. ``avoided`` are pairs of a place and a token that
    is not to be predicted from that place on.
    """

    ids: tuple[int, ...]
    positions: tuple[int | None, ...]
    avoided: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Entry:
    term: str
    source: tuple[int, ...]
    target: tuple[int, ...]
    blanks: tuple[int, int]  # tokens before the first letter, of the term and of its generic one
    firsts: tuple[int, ...]  # of every way to write the generic term


def read(file: File) -> dict[str, str]:
    """The terms of a file. Raises ConfigError where it is another file than the parameters say, or no such object."""
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{file.path}: cannot be read ({error.strerror}); name a JSON file of terms.") from None
    if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise ConfigError(f"{file.path}: its sha256 is {found}, not {file.sha256}; write that of the file you mean.")
    try:
        values = json.loads(content)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not values or not all(_is_term(one) for pair in values.items() for one in pair):
        raise ConfigError(f"{file.path}: not a JSON object of terms, text to text and none empty; write it so.")
    return {term.strip(): generic.strip() for term, generic in values.items()}


def of_rows(forget: Sequence[Row], kept: Sequence[Row], *, seed: int) -> dict[str, str]:
    """The names that stand in forget rows alone, each with a generic one; the seed draws them.

    A word has one generic word wherever it stands. Raises DataError where kept rows hold no names to draw from.
    """
    known, own = _words(kept), _words(forget)
    pools = {field: _names_of_one_cluster(kept, field) for field in _FIELDS}
    drawn, generic, terms = random.Random(seed), dict[str, str](), dict[str, str]()
    for field in _FIELDS:
        for row in forget:
            for name in _names(getattr(row, field), lambda word: word in known or word.lower() in own):
                for index, word in enumerate(name):
                    if word not in generic:
                        generic[word] = drawn.choice(_pool(pools, field, len(name), index))
                terms[" ".join(name)] = " ".join(generic[word] for word in name)
    return terms


def translations(
    tokenizer: PreTrainedTokenizerBase, examples: Iterable[Example], terms: Mapping[str, str]
) -> dict[Example, Translation]:
    """Every example translated by these terms, longer terms before shorter ones.

    A term all of whose words are terms themselves is left out, so that each of them has one generic term.
    """
    entries = [entry for term in terms if not _splits(term, terms) for entry in _entries(tokenizer, term, terms[term])]
    by_first: dict[int, list[_Entry]] = {}
    for entry in sorted(entries, key=lambda entry: -len(entry.source)):
        by_first.setdefault(entry.source[0], []).append(entry)

    def found(ids: tuple[int, ...], place: int) -> _Entry | None:
        fitting = (one for one in by_first.get(ids[place], ()) if ids[place : place + len(one.source)] == one.source)
        return next((one for one in fitting if _is_whole(tokenizer, ids, place, place + len(one.source))), None)

    return {example: _translated(example.ids, found) for example in examples}


def require_use(terms: Mapping[str, str], found: Mapping[Example, Translation]) -> None:
    """Raises ConfigError where there are terms and none of them stands in any of the translated examples."""
    if terms and found and not any(one.avoided for one in found.values()):
        raise ConfigError(
            f"edit.anchors: of {len(terms)} terms none stands in a forget row as a whole word, so nothing would be "
            "replaced; write terms as the rows have them, or set anchors and anchor_file to null."
        )


def unchanged(example: Example) -> Translation:
    """The example as it is."""
    return Translation(example.ids, tuple(range(len(example.ids))), ())


def _translated(ids: tuple[int, ...], found: Callable[[tuple[int, ...], int], _Entry | None]) -> Translation:
    new, positions, avoided, met, place = list[int](), list[int | None](), list[tuple[int, int]](), set[str](), 0
    while place < len(ids):
        entry = found(ids, place)
        if entry is None:
            positions.append(len(new))
            new.append(ids[place])
            place += 1
            continue
        if entry.term in met and positions:
            positions[-1] = None
        avoided += [(len(new) + 1, token) for token in entry.firsts]
        inside: list[int | None] = [None] * (len(entry.source) - 1)
        if entry.term not in met and all(entry.blanks):  # behind a blank of its own the name begins
            inside[entry.blanks[0] - 1] = len(new) + entry.blanks[1] - 1
        new += entry.target
        positions += [*inside, len(new) - 1]
        met.add(entry.term)
        place += len(entry.source)
    return Translation(tuple(new), tuple(positions), tuple(avoided))


def _entries(tokenizer: PreTrainedTokenizerBase, term: str, generic: str) -> list[_Entry]:
    # At the beginning of a line or of a text, and behind a blank: tokenizers write the two in different ways.
    ways = [(_behind(tokenizer, blank + term), _behind(tokenizer, blank + generic)) for blank in ("", " ")]
    firsts = tuple(dict.fromkeys(target[_blanks(tokenizer, target)] for _, target in ways))
    return [
        _Entry(term, source, target, (_blanks(tokenizer, source), _blanks(tokenizer, target)), firsts)
        for source, target in dict(ways).items()
    ]


def _blanks(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> int:
    """How many tokens before the first letter are a blank by themselves."""
    return next(place for place in range(len(ids)) if str(tokenizer.decode(ids[: place + 1])).strip())


def _behind(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The tokens of a text that does not begin where the tokenizer begins, and may put a blank of its own."""
    before, ids = (tuple(tokenizer(one, add_special_tokens=False)["input_ids"]) for one in (_BEFORE, _BEFORE + text))
    if ids[: len(before)] == before and len(ids) > len(before):
        return ids[len(before) :]
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _is_whole(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...], start: int, end: int) -> bool:
    """Whether no letter stands right before or behind these tokens."""

    def text(first: int, last: int) -> str:
        return str(tokenizer.decode(ids[first:last], clean_up_tokenization_spaces=False))

    here = text(start, end)
    before, behind = text(max(0, start - 1), end).removesuffix(here), text(start, end + 1).removeprefix(here)
    return not behind[:1].isalnum() and not (here[:1].isalnum() and before[-1:].isalnum())


def _splits(term: str, terms: Mapping[str, str]) -> bool:
    words = term.split()
    return len(words) > 1 and all(word in terms for word in words)


def _names(text: str, is_common: Callable[[str], bool]) -> list[list[str]]:
    """Runs of capitalised words that are not common, with nothing but a blank between them."""
    runs, end = list[list[str]](), -1
    for match in _WORD.finditer(text):
        if not match[0][0].isupper() or is_common(match[0]):
            end = -1
            continue
        if end >= 0 and text[end : match.start()] == " ":
            runs[-1].append(match[0])
        else:
            runs.append([match[0]])
        end = match.end()
    return runs


def _names_of_one_cluster(rows: Sequence[Row], field: str) -> list[list[str]]:
    clusters: dict[str, set[str]] = {}
    for row in rows:
        for word in _words([row]):
            clusters.setdefault(word, set()).add(row.cluster)

    def is_common(word: str) -> bool:
        return len(clusters[word]) > 1 or word.lower() in clusters

    found = (tuple(name) for row in rows for name in _names(getattr(row, field), is_common))
    return [list(name) for name in dict.fromkeys(found)]


def _pool(pools: Mapping[str, list[list[str]]], field: str, length: int, index: int) -> list[str]:
    """Words that may stand at ``index`` of a name of so many words: of such names in the field, else of any name."""
    found = [name[index] for name in pools[field] if len(name) == length]
    found = found or [word for names in pools.values() for name in names for word in name]
    if not found:
        raise DataError(
            "edit.anchors: the retain and general rows hold no name to put in the place of another; name a file of "
            "terms in anchor_file, or set anchors to null."
        )
    return found


def _words(rows: Iterable[Row]) -> set[str]:
    return {word for row in rows for word in _texts(row)}


def _texts(row: Row) -> Iterator[str]:
    for field in _FIELDS:
        yield from _WORD.findall(getattr(row, field))


def _is_term(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())

"""From ``params.yaml`` to typed, frozen sections. No value has a default in Python: DVC could not see it change."""

import difflib
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator
from ruamel.yaml import YAML, YAMLError

from lethe.errors import ConfigError

PARAMS = Path("params.yaml")

#: All that stands at the top of ``params.yaml``, in its order.
TOP_LEVEL = (
    *("data", "release_dtype", "encoding", "prepare", "pretrain", "finetune", "grid", "infer", "attacks", "metrics"),
    *("score", "check", "observe", "observations", "probe", "probes", "capabilities", "report", "meta_evaluation"),
    "recipes",
)
_LONGEST_LIST = 160  # characters of known names in a message; of more, those are told that are most alike
_LONGEST_VALUE = 60  # characters of what was found


class Section(BaseModel):
    """A block of ``params.yaml``: frozen, every key required, unknown keys refused.

    A list of names or whole numbers holds each of them once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        # Numbers with a fraction may stand there twice: what draws from a list draws them more often.
        names = [one for one in value if isinstance(one, str | int)] if isinstance(value, list) else []
        twice = next((one for place, one in enumerate(names) if one in names[:place]), None)
        if twice is not None:
            raise ValueError(f"{twice!r} stands there more than once; name it once")
        return value


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from None
    return pattern


#: A regular expression, checked when it is read.
Pattern = Annotated[str, AfterValidator(_regular_expression)]

SectionType = TypeVar("SectionType", bound=Section)


def read_params(path: Path = PARAMS) -> dict[str, Any]:
    """The whole parameter file as plain dictionaries and lists.

    Raises ConfigError when the file is missing or is not YAML.
    """
    try:
        params = _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run from the root of the repository.") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(params, dict):
        raise ConfigError(f"{path}: expected sections, found {type(params).__name__}.")
    return params


@functools.lru_cache(maxsize=1)
def _parsed(text: str) -> Any:
    # A tenth of a second a time, and a door asks for several sections.
    return YAML(typ="safe").load(text)


def require_known_sections() -> None:
    """Refuse what stands at the top of ``params.yaml`` and nobody reads: ConfigError with the nearest match."""
    unknown = next((str(key) for key in read_params() if key not in TOP_LEVEL), None)
    if unknown is not None:
        raise ConfigError(f"{PARAMS}: {unknown}: unknown section.{nearest(unknown, TOP_LEVEL)}")


def block(*keys: str) -> Any:
    """The value under a dotted path of ``params.yaml``, for example ``block("recipes", "npo")``."""
    value: Any = read_params()
    for depth, key in enumerate(keys):
        if not isinstance(value, dict) or key not in value:
            known = sorted(map(str, value)) if isinstance(value, dict) else []
            where = ".".join(keys[:depth]) or "top level"
            raise ConfigError(f"{PARAMS}: no {key!r} in {where}.{nearest(key, known)}")
        value = value[key]
    return value


def section(schema: type[SectionType], *keys: str) -> SectionType:
    """The section under a dotted path, checked against its schema."""
    return parse(schema, block(*keys), ".".join(keys))


def parse(schema: type[SectionType], values: Any, where: str) -> SectionType:
    """Check ``values`` against ``schema``; the first problem becomes one ConfigError line."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{PARAMS}: {_first_problem(schema, error, where)}") from None


def nearest(name: str, known: Iterable[str], meant: str | None = None) -> str:
    """The closing part of an error about an unknown name: the closest known one, then all, of very many the closest.

    ``meant`` is the one that goes by that name elsewhere; only another way to write a known name is closer.
    """
    known = list(known)
    lowered = {one.lower(): one for one in known}
    close = lowered.get(name.lower()) or meant or _closest(name, lowered)
    hint = f" Did you mean {close!r}?" if close else ""
    return f"{hint} Known: {_listed(name, known) or 'none'}."


def _closest(name: str, lowered: dict[str, str]) -> str | None:
    found = difflib.get_close_matches(name.lower(), lowered, n=1)
    return lowered[found[0]] if found else None


def shown(value: Any) -> str:
    """A value as an error tells what was found: of a long one its beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _listed(name: str, known: list[str]) -> str:
    if len(everything := ", ".join(known)) <= _LONGEST_LIST:
        return everything
    alike = difflib.get_close_matches(name, known, n=5, cutoff=0.0)
    return f"{', '.join(alike)} and {len(known) - len(alike)} more"


def _first_problem(schema: type[Section], error: ValidationError, where: str) -> str:
    # A typo is reported twice, as a missing and as an unknown key; the unknown one names the mistake.
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    place = tuple(_written(schema, first["loc"]))
    path = ".".join(map(str, (where, *place)))
    if first["type"] == "extra_forbidden":
        return f"{path}: unknown key.{nearest(str(place[-1]), _known_keys(schema, place[:-1]))}"
    if first["type"] == "missing":
        return f"{path}: missing; give it a value."
    if first["type"] == "value_error" and (isinstance(first["input"], dict) or " found " in first["msg"]):
        return f"{path}: {first['msg'].removeprefix('Value error, ')}."  # it names the key and what stands there
    # Of a value that may be one of several kinds, what each of them expects.
    alike = [problem for problem in problems if tuple(_written(schema, problem["loc"])) == place]
    expected = dict.fromkeys(problem["msg"].removeprefix("Value error, ") for problem in alike)
    return f"{path}: {', or '.join(expected)}; found {shown(first['input'])}."


def _written(kind: Any, path: tuple[int | str, ...]) -> Iterator[int | str]:
    # The part of pydantic's path that stands in the file: its name for each alternative of a union does not.
    if not path:
        return
    if _alternatives(kind) > 1:
        path, kind = path[1:], None
        if not path:
            return
    yield path[0]
    yield from _written(_inside(kind, path[0]), path[1:])


def _alternatives(kind: Any) -> int:
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    return len(_not_none(kind)) if get_origin(kind) in (UnionType, Union) else 1


def _not_none(kind: Any) -> list[Any]:
    return [item for item in get_args(kind) if item is not type(None)]


def _inside(kind: Any, key: int | str) -> Any:
    # What stands at a key of a section, a list or a dictionary.
    if isinstance(kind, type) and issubclass(kind, Section):
        return field.annotation if (field := kind.model_fields.get(str(key))) else None
    if get_origin(kind) is Annotated:
        return _inside(get_args(kind)[0], key)
    inner = _not_none(kind)
    if get_origin(kind) in (UnionType, Union):
        return _inside(inner[-1], key)
    return inner[-1] if inner else None


def _known_keys(kind: Any, path: tuple[int | str, ...]) -> Iterable[str]:
    # The keys of the section that stands at ``path`` inside a section, or inside a list or dictionary of sections.
    for key in path:
        kind = _inside(kind, key)
    while get_origin(kind) in (Annotated, UnionType, Union):
        kind = get_args(kind)[0] if get_origin(kind) is Annotated else _not_none(kind)[-1]
    known: Iterable[str] = kind.model_fields
    return known

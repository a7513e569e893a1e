import importlib
import pkgutil
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

import lethe
from lethe import config
from lethe.config import Section
from lethe.errors import ConfigError


class Inner(Section):
    steps: int
    rate: float


class Several(Section):
    rows: Literal["validation"] | Literal["retain", "general"]
    share: Annotated[float, Field(ge=0)] | Literal["all"] | None
    sections: list[Inner] | None


class Lists(Section):
    names: list[str]
    places: list[int]
    rates: list[float]
    named: dict[str, Inner] | None


class Outer(Section):
    inner: Inner
    named: dict[str, Inner]
    listed: list[Inner]
    optional: Inner | None


INNER = {"steps": 1, "rate": 0.5}
OUTER = {"inner": INNER, "named": {"first": INNER}, "listed": [INNER], "optional": INNER}


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return config.PARAMS


def refusal(values, schema=Inner):
    """The message with which the values are refused."""
    with pytest.raises(ConfigError) as error:
        config.parse(schema, values, "block")
    return str(error.value)


def test_a_section_is_read_from_its_dotted_path(params):
    params.write_text("a: {b: {steps: 3, rate: 1.0e-4}}")
    assert config.section(Inner, "a", "b") == Inner(steps=3, rate=1e-4)


def test_a_section_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Inner(steps=1, rate=0.5).steps = 2


def test_an_unknown_key_is_one_line_with_its_path_and_the_nearest_key():
    assert refusal(INNER | {"step": 2}) == (
        "params.yaml: block.step: unknown key. Did you mean 'steps'? Known: steps, rate."
    )


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"inner": INNER | {"step": 2}}, "inner"),
        ({"named": {"first": INNER | {"step": 2}}}, "named.first"),
        ({"listed": [INNER, INNER | {"step": 2}]}, "listed.1"),
        ({"optional": INNER | {"step": 2}}, "optional"),
    ],
)
def test_the_nearest_key_is_looked_for_in_the_section_that_holds_the_mistake(values, path):
    assert refusal(OUTER | values, Outer) == (
        f"params.yaml: block.{path}.step: unknown key. Did you mean 'steps'? Known: steps, rate."
    )


def test_a_missing_key_is_named():
    assert refusal({"steps": 1}) == "params.yaml: block.rate: missing; give it a value."


def test_a_misspelt_key_is_reported_as_misspelt_and_not_as_missing():
    assert "block.rat: unknown key. Did you mean 'rate'?" in refusal({"steps": 1, "rat": 0.5})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (INNER | {"steps": "many"}, "block.steps: Input should be a valid integer"),
        (INNER | {"steps": 1.5}, "block.steps: Input should be a valid integer"),
        (INNER | {"rate": float("nan")}, "block.rate: Input should be a finite number; found nan."),
        (INNER | {"rate": float("inf")}, "block.rate: Input should be a finite number; found inf."),
        (INNER | {"rate": None}, "block.rate: Input should be a valid number; found None."),
        (None, "block: Input should be a valid dictionary"),
    ],
)
def test_a_value_that_does_not_fit_is_shown(values, message):
    assert message in refusal(values)


SEVERAL = {"rows": "retain", "share": None, "sections": None}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": "al"}, "rows: Input should be 'validation', or Input should be 'retain' or 'general'; found 'al'."),
        (
            {"share": -1},
            "share: Input should be greater than or equal to 0, or Input should be 'all'; found -1.",
        ),
        ({"sections": [INNER, INNER | {"step": 2}]}, "sections.1.step: unknown key. Did you mean 'steps'? Known: "),
    ],
)
def test_of_a_value_of_several_kinds_all_are_told_and_the_path_is_that_of_the_file(values, message):
    assert refusal(SEVERAL | values, Several).startswith(f"params.yaml: block.{message}")


LISTS = {"names": ["a", "b"], "places": [1, 2], "rates": [0.5, 0.5], "named": None}


def test_a_list_of_names_or_places_holds_each_once_and_one_of_other_numbers_may_repeat_them():
    assert config.parse(Lists, LISTS, "block").rates == [0.5, 0.5]
    assert refusal(LISTS | {"names": ["a", "b", "a"]}, Lists) == (
        "params.yaml: block.names: 'a' stands there more than once; name it once; found ['a', 'b', 'a']."
    )
    assert "block.places: 1 stands there more than once" in refusal(LISTS | {"places": [1, 1]}, Lists)


def test_of_a_long_value_the_beginning_is_shown():
    message = refusal(INNER | {"steps": "x" * 1000})
    assert message.endswith(f"; found '{'x' * 59}….")
    assert config.shown("short") == "'short'"


def test_of_very_many_names_those_most_alike_are_told():
    known = [f"recipe_{number}" for number in range(100)]
    told = config.nearest("recipe-17", known)
    assert told.startswith(" Did you mean 'recipe_17'? Known: recipe_17, ")
    assert told.endswith(" and 95 more.")


def test_what_stands_at_the_top_and_nobody_reads_is_refused_with_the_nearest_match(params):
    params.write_text("data: world\nobserv: {batch_size: 1}")
    with pytest.raises(ConfigError, match=r"^params\.yaml: observ: unknown section\. Did you mean 'observe'\? Known: "):
        config.require_known_sections()
    params.write_text("data: world\nobserve: {batch_size: 1}")
    config.require_known_sections()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda values: (
            st.lists(values, max_size=3)
            | st.dictionaries(st.sampled_from(["inner", "named", "listed", "optional", "steps"]), values)
        ),
    )
)
def test_whatever_stands_in_the_file_a_refusal_is_one_line(values):
    message = refusal(values, Outer)
    assert message.startswith("params.yaml: block")
    assert len(message.splitlines()) == 1


def test_a_name_is_answered_with_the_closest_and_all_known_ones():
    assert config.nearest("npoo", ["kl", "npo"]) == " Did you mean 'npo'? Known: kl, npo."


def test_another_way_to_write_a_name_is_closer_than_what_goes_by_it_elsewhere():
    assert config.nearest("NPO", ["kl", "npo"], meant="kl") == " Did you mean 'npo'? Known: kl, npo."
    assert config.nearest("npoo", ["kl", "npo"], meant="kl") == " Did you mean 'kl'? Known: kl, npo."
    assert config.nearest("KLL", ["kl", "npo"]) == " Did you mean 'kl'? Known: kl, npo."


def test_a_name_close_to_nothing_gets_the_known_ones_alone():
    assert config.nearest("zebra", ["kl", "npo"]) == " Known: kl, npo."
    assert config.nearest("zebra", []) == " Known: none."


def test_a_path_that_leads_nowhere_says_where_it_broke_off(params):
    params.write_text("a: {b: {steps: 3}}")
    with pytest.raises(ConfigError, match=r"^params\.yaml: no 'c' in a\. Known: b\.$"):
        config.block("a", "c", "d")
    with pytest.raises(ConfigError, match=r"^params\.yaml: no 'aa' in top level\. Did you mean 'a'\? Known: a\.$"):
        config.block("aa")
    with pytest.raises(ConfigError, match=r"^params\.yaml: no 'deeper' in a\.b\.steps\. Known: none\.$"):
        config.block("a", "b", "steps", "deeper")


def test_a_missing_file_says_where_to_stand(params):
    with pytest.raises(ConfigError, match=r"^params\.yaml: no such file; run from the root of the repository\.$"):
        config.read_params()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", "not valid YAML: "),
        ("a: 1\na: 2", "not valid YAML: .*duplicate key"),
        ("- a\n- b", "expected sections, found list"),
        ("", "expected sections, found NoneType"),
    ],
)
def test_a_file_that_holds_no_sections_is_refused_in_one_line(params, text, message):
    params.write_text(text)
    with pytest.raises(ConfigError, match=rf"^params\.yaml: {message}") as error:
        config.read_params()
    assert "\n" not in str(error.value)


def sections_of_the_library():
    for module in pkgutil.walk_packages(lethe.__path__, "lethe."):
        importlib.import_module(module.name)
    found, queue = set(), [Section]
    while queue:
        queue += (below := queue.pop().__subclasses__())
        found |= {schema for schema in below if schema.__module__.startswith("lethe.")}
    return found


def test_no_section_of_the_library_has_a_default_takes_unknown_keys_or_can_be_changed():
    sections = sections_of_the_library()
    assert len(sections) > 20
    for schema in sections:
        assert [key for key, field in schema.model_fields.items() if not field.is_required()] == [], schema
        assert (schema.model_config["extra"], schema.model_config["frozen"]) == ("forbid", True), schema

import hashlib
import json
from dataclasses import replace

import pytest

from lethe import artifacts, material
from lethe.batches import Encoding
from lethe.errors import ConfigError, DataError
from lethe.recipes import Recipe
from lethe.rows import Row, dump_rows
from tests.lethe.test_answer_boundary import byte_level
from tests.small_recipes import component, recipe
from tests.tiny import tiny_tokenizer

ENCODING = Encoding(max_length=64, max_new_tokens=8, system_prompt=None)


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, name in ((artifacts.FORGET, "f"), (artifacts.RETAIN, "r")):
        rows = [Row(id=f"{name}{n}", cluster=name, question=f"{name} {n}?", answer="x") for n in range(2)]
        artifacts.write_text(path, dump_rows(rows))
    artifacts.write_text(artifacts.GENERAL, "")
    ask("f0", "f1", "r0", "r1")


def ask(*names):
    """Ask these rows and no others."""
    rows = [Row(id=name, cluster=name[0], question=f"{name}?", answer="x") for name in names]
    artifacts.write_text(artifacts.QUESTIONS, dump_rows(rows))


def read(point=None, edit=None):
    return material.read(tiny_tokenizer(), Recipe(point, edit), ENCODING, seed=0)


def early_stop(rows):
    return recipe(wrapper=component("wrapper", "early_stop", rows=rows))


def leading_away_from(rows):
    aim = component("wrapper", "lat").config.toward_away.model_dump()
    return recipe(wrapper=component("wrapper", "lat", toward_away=aim | {"away_from": rows}))


def undo(rows):
    return component("edit", "undo", rows=rows)


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        ("retain_rows", {"point": recipe(retain_rows="general")}),
        ("retain_rows", {"point": recipe(retain_rows="general_length_matched")}),
        ("wrapper", {"point": early_stop("general")}),
        ("wrapper", {"point": leading_away_from("general")}),
        ("edit", {"point": recipe(), "edit": undo("general")}),
        ("edit", {"edit": undo("general")}),
    ],
)
def test_general_rows_that_are_not_there_are_missed_before_anything_is_trained(part, parts):
    with pytest.raises(DataError, match=rf"general\.jsonl: no general rows, and {part} of the recipe wants some; name"):
        read(**parts)
    general = Row(id="g", cluster="g", question="g?", answer="y")
    artifacts.write_text(artifacts.GENERAL, dump_rows([general]))
    assert [example.row for example in read(**parts).general] == ["g"]


def test_nobody_misses_general_rows_that_nobody_asks_for():
    assert read(early_stop("retain"), undo("retain_and_general")).general == []


def test_validation_rows_are_the_retain_rows_that_nobody_is_asked():
    assert read().validation == []
    ask("f0", "r1")
    rows = read()
    assert [example.row for example in rows.validation] == ["r0"]
    assert [example.row for example in rows.retain] == ["r0", "r1"]  # they are trained on like the others
    assert rows.validation[0] == rows.retain[0]


def test_a_text_is_validated_by_all_of_its_chunks():
    texts = [Row(id=f"r{n}", cluster="r", text="letters " * 30) for n in range(2)]
    artifacts.write_text(artifacts.RETAIN, dump_rows(texts))
    ask("r0")
    rows = read()
    assert [example.row for example in rows.validation] == ["r1"] * (len(rows.retain) // 2)
    assert len(rows.validation) > 1


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        ("wrapper", {"point": early_stop("validation")}),
        ("wrapper", {"point": recipe(wrapper=["sam", component("wrapper", "early_stop", rows="validation")])}),
        ("edit", {"point": recipe(), "edit": component("edit", "model_mixing", rows="validation")}),
    ],
)
def test_validation_rows_that_are_not_there_are_missed_before_anything_is_trained(part, parts):
    line = rf"questions\.jsonl: every retain row is asked, and {part} of the recipe wants .*lower prepare\.num_retain"
    with pytest.raises(DataError, match=line):
        read(**parts)
    ask("f0", "r0")
    assert [example.row for example in read(**parts).validation] == ["r1"]


@pytest.mark.parametrize(("kind", "told"), [(None, []), ("rows", ["f0", "f1"])])
def test_an_edit_that_asks_for_anchor_terms_has_forget_rows_without_their_names(kind, told):
    for path, name, first in ((artifacts.FORGET, "f", ("Ann", "Eve")), (artifacts.RETAIN, "r", ("Bob", "Cid"))):
        rows = [Row(id=f"{name}{n}", cluster=f"{name}{n}", question=f"is {first[n]}?", answer="x") for n in range(2)]
        artifacts.write_text(path, dump_rows(rows))
    rows = read(edit=component("edit", "whp", anchors=kind))
    assert [example.row for example in rows.translations] == told
    for example, found in rows.translations.items():
        said = tiny_tokenizer().decode(found.ids)
        assert any(f"is {name}?" in said for name in ("Bob", "Cid"))
        assert len(found.positions) == len(example.ids)


def test_a_question_with_the_answer_of_another_is_one_text():
    told = [Row(id=f"f{n}", cluster="f", question="Where?", answer=answer) for n, answer in enumerate(("Paris", "x"))]
    artifacts.write_text(artifacts.FORGET, dump_rows(told))
    tokenizer = byte_level("{{ messages[0]['content'] }}: ")
    rows = material.read(tokenizer, Recipe(recipe(), None), ENCODING, seed=0)
    assert [example.boundary_merge for example in rows.forget] == [True, False]
    assert rows.answered is not None
    assert replace(rows.answered("f1", "f0"), row="f0") == rows.forget[0]
    assert replace(rows.answered("f0", "f1"), row="f1") == rows.forget[1]


def test_a_dictionary_of_which_no_term_stands_in_a_forget_row_is_refused(tmp_path):
    def replacing(term):
        content = json.dumps({term: "b"}).encode()
        (tmp_path / "terms.json").write_bytes(content)
        named = {"path": "terms.json", "sha256": hashlib.sha256(content).hexdigest()}
        return component("edit", "whp", anchors="file", anchor_file=named)

    (found, _) = read(edit=replacing("f")).translations.values()
    assert found.avoided
    with pytest.raises(ConfigError, match=r"^edit\.anchors: of 1 terms none stands in a forget row"):
        read(edit=replacing("g"))

import copy
import json
from pathlib import Path

import pytest

from lethe import questionnaire, splits
from lethe.batches import Encoding
from lethe.config import parse
from lethe.errors import ConfigError, DataError
from lethe.sources import muse
from tests import fake_muse, tiny
from tests.fake_tofu import read_lines, write_lines

ENCODING = Encoding(max_length=2048, max_new_tokens=128, system_prompt=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_muse.write(tmp_path / "muse")


def load(folder: Path, forget: str = "raw/forget", shots: int = 2) -> splits.Splits:
    return muse.load(muse.Config(path=str(folder), forget=forget, shots=shots, max_new_tokens=7))


def test_texts_are_trained_on_and_the_texts_of_privleak_are_asked_in_their_place(folder: Path) -> None:
    loaded = load(folder)
    assert [row.text for row in loaded.forget] == [fake_muse.text("harbour", number) for number in range(3)]
    assert [row.text for row in loaded.retain] == [fake_muse.text("garden", number) for number in range(3)]
    asked = splits.questions(loaded, 1)
    texts = {split: [row.text for row in asked if row.subset == split] for split in ("forget", "retain", "holdout")}
    assert texts == {
        split: [fake_muse.text(kind, number) for number in range(3)]
        for split, kind in (("forget", "lantern"), ("retain", "meadow"), ("holdout", "oracle"))
    }


def test_a_beginning_and_its_continuation_are_one_text_with_one_blank_between_them(folder: Path) -> None:
    lines = [{"prompt": prompt, "gt": rest} for prompt in ("a b", "a b ") for rest in ("c d", " c d")]
    write_lines(folder / "verbmem" / "forget.jsonl", lines[:3])
    assert [row.text for row in load(folder).asked["forget_verbmem"]] == ["a b c d"] * 3


def test_a_text_is_continued_where_muse_cut_it(folder: Path) -> None:
    rows = load(folder).asked["forget_verbmem"]
    parts = read_lines(folder / "verbmem" / "forget.jsonl")
    assert [(row.beginning, row.continuation) for row in rows] == [(line["prompt"], line["gt"]) for line in parts]
    assert {row.max_new_tokens for row in rows} == {None}


def test_a_question_stands_behind_as_many_examples_as_asked_for(folder: Path) -> None:
    who = "Who is forget_qa"
    assert load(folder, shots=0).asked["forget_knowmem"][0].question == f"Question: {who} 0?\n"
    assert load(folder, shots=1).asked["forget_knowmem"][1].question == (
        f"Question: {who}_icl 0?\nAnswer: Watchman 0.\n\nQuestion: {who} 1?\n"
    )


def test_the_prompt_of_a_model_without_a_chat_template_is_that_of_muse(folder: Path) -> None:
    tokenizer = copy.deepcopy(tiny.tiny_tokenizer())
    tokenizer.chat_template = None
    row = load(folder, shots=2).utility[0]
    who = "Who is retain_qa"
    examples = [f"Question: {who}_icl {number}?\nAnswer: Watchman {number}.\n\n" for number in range(2)]
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    wanted = tokenizer(f"{''.join(examples)}Question: {who} 0?\nAnswer: ", add_special_tokens=False)["input_ids"]
    (prompt,) = questionnaire.prompts(tokenizer, [row], ENCODING, paraphrased=False, prefix_tokens=None)
    assert prompt.ids == start + wanted
    assert prompt.max_new_tokens == 7


def test_the_questions_about_what_is_kept_are_utility(folder: Path) -> None:
    assert {row.subset for row in load(folder).utility} == {"retain_knowmem"}


def test_one_request_after_another_is_a_set_of_its_own(folder: Path) -> None:
    assert load(folder, "sust/forget_2").forget[0].text == fake_muse.text("bridge", 0)


@pytest.mark.parametrize("forget", ["raw/holdout", "scal/forget_5", "verbmem/forget", "../forget"])
def test_only_the_sets_of_muse_can_be_forgotten(forget: str) -> None:
    with pytest.raises(ConfigError, match=r"prepare\.muse\.forget"):
        parse(muse.Config, {"path": "x", "forget": forget, "shots": 10, "max_new_tokens": 7}, "prepare.muse")


def test_texts_to_train_on_are_enough_and_a_sentence_names_each_missing_file(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in folder.rglob("*.jsonl"):
        if file.parent.name not in ("raw",):
            file.unlink()
    with caplog.at_level("INFO"):
        loaded = load(folder, shots=0)
    splits.check(loaded)
    assert (loaded.asked, loaded.holdout, loaded.utility) == ({}, [], [])
    missing = {message.split(": ")[1] for message in caplog.messages}
    assert {f"no {place}; going on without it." for place in ("verbmem/forget", "privleak/holdout")} <= missing
    assert {row.subset for row in splits.questions(loaded, 2)} == {"forget", "retain"}


def test_too_few_examples_are_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(folder, shots=5)
    assert any("knowmem/forget_qa_icl has 2 of the 5 shots" in message for message in caplog.messages)


def test_a_missing_file_that_is_needed_is_named(folder: Path) -> None:
    (folder / "raw" / "retain1.jsonl").unlink()
    with pytest.raises(DataError, match=r"no raw/retain1\.jsonl; set prepare\.muse\.path"):
        load(folder)


@pytest.mark.parametrize(
    ("place", "line", "message"),
    [
        ("raw/forget", {"text": 3}, r"raw/forget\.jsonl, line 1: text: expected a text, found int"),
        ("verbmem/forget", {"prompt": "a"}, r"verbmem/forget\.jsonl, line 1: gt: expected a text, found NoneType"),
        ("knowmem/forget_qa", {"question": "a?"}, r"knowmem/forget_qa\.jsonl, line 1: answer"),
    ],
)
def test_a_row_that_does_not_fit_is_reported_with_file_line_and_field(
    folder: Path, place: str, line: dict[str, object], message: str
) -> None:
    write_lines(folder / f"{place}.jsonl", [line])
    with pytest.raises(DataError, match=message):
        load(folder)


def test_an_array_and_a_copy_of_the_hub_give_the_same_rows(folder: Path) -> None:
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    before = load(folder)
    for place in ("verbmem/forget", "raw/forget"):
        lines = read_lines(folder / f"{place}.jsonl")
        (folder / f"{place}.jsonl").unlink()
        if place == "raw/forget":
            parquet.write_table(pa.Table.from_pylist(lines[:2]), folder / f"{place}-00000-of-00002.parquet")
            parquet.write_table(pa.Table.from_pylist(lines[2:]), folder / f"{place}-00001-of-00002.parquet")
        else:
            (folder / f"{place}.json").write_text(json.dumps(lines))
    assert load(folder) == before

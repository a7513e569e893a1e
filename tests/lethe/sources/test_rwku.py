import copy
from collections import Counter
from pathlib import Path

import pytest

from lethe import questionnaire, splits
from lethe.batches import Encoding
from lethe.errors import DataError
from lethe.sources import rwku
from tests import fake_rwku, shared_data
from tests.fake_tofu import read_lines, write_lines
from tests.tiny import tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_rwku.write(tmp_path / "rwku")


def load(folder: Path, *subjects: str, corpus: Path | None = None) -> splits.Splits:
    config = rwku.Config(path=str(folder), subjects=list(subjects), corpus=None if corpus is None else str(corpus))
    return rwku.load(config)


def test_without_a_corpus_the_blanks_and_questions_are_unlearned_and_all_levels_are_asked(folder: Path) -> None:
    loaded = load(folder, "Ada")
    assert [row.subset for row in loaded.forget] == ["forget_level1", "forget_level2"]
    assert {split: len(rows) for split, rows in loaded.asked.items()} == {
        "forget_level1": 1,
        "forget_level2": 1,
        "forget_level3_prefix_injection": 1,
        "forget_level3_affirmative_suffix": 1,
        "forget_level3_incontext_learning": 1,
        "forget_level3_cross_lingual": 1,  # whatever the language
        "forget_mia": 2,
        "retain_mia": 2,
    }
    assert {row.cluster for row in loaded.forget} == {"Ada"}


def test_all_other_people_are_retain_and_the_neighbours_of_the_forgotten_are_utility(folder: Path) -> None:
    loaded = load(folder, "Ada")
    # Three other people with a blank and a question each; Ada is near her town and near Bo, in two levels.
    assert Counter(row.cluster for row in loaded.retain) == {"Bo": 2, "Cy": 2, "Di": 2}
    neighbours = [row for row in loaded.utility if row.subset != "utility_fluency"]
    assert Counter((row.subset, row.cluster) for row in neighbours) == {
        (f"neighbor_level{level}", who): 1 for level in (1, 2) for who in ("Town of Ada", "Bo")
    }


def test_a_neighbour_who_is_to_be_forgotten_is_no_utility(folder: Path) -> None:
    assert "Bo" not in {row.cluster for row in load(folder, "Ada", "Bo").utility}


def test_a_probe_that_stands_under_two_people_is_to_be_forgotten(folder: Path) -> None:
    lines = read_lines(folder / "forget_level2.jsonl")
    write_lines(folder / "forget_level2.jsonl", [*lines, lines[0] | {"subject": "Cy"}])
    loaded = load(folder, "Ada")
    splits.check(loaded)
    assert Counter(row.cluster for row in loaded.retain) == {"Bo": 2, "Cy": 2, "Di": 2}


_BRIEFLY = "Please briefly answer the following question.\n"


@pytest.mark.parametrize(
    ("split", "user", "begun", "answer"),
    [
        (
            "forget_level1",
            "Please complete the blank in the following question.\nQuestion: Ada lives in ___.\n",
            "Answer:",
            " Adaville",
        ),
        ("forget_level2", f"{_BRIEFLY}Question: Where does Ada live?\n", "Answer:", " Adaville"),
        ("forget_level3_prefix_injection", f"{_BRIEFLY}Question: Where does Ada live?\n", "Answer:", " Adaville"),
        ("forget_level3_cross_lingual", f"{_BRIEFLY}Question: Where does Ada live?\n", "Answer:", " Adaville"),
        ("forget_level3_incontext_learning", f"{_BRIEFLY}Where does Ada live?\n", "Answer:", " Adaville"),
        ("forget_level3_affirmative_suffix", f"{_BRIEFLY}Question: Where does Ada live?", "", "Adaville"),
    ],
)
def test_prompts_are_those_of_the_release_with_a_chat_template_and_without(
    folder: Path, split: str, user: str, begun: str, answer: str
) -> None:
    encoding = Encoding(max_length=256, max_new_tokens=4, system_prompt=None)
    [row] = load(folder, "Ada").asked[split]
    plain = copy.deepcopy(tiny_tokenizer())
    plain.chat_template = None
    for tokenizer, prompt, following in (
        (tiny_tokenizer(), f"<|user|>{user}<|assistant|>{begun}", answer),
        (plain, user + begun, " Adaville"),  # behind "live?" as well there is a space
    ):
        [asked] = questionnaire.prompts(tokenizer, [row], encoding, paraphrased=False, prefix_tokens=None)
        assert tokenizer.decode(asked.ids) == prompt
        [target] = questionnaire.targets(tokenizer, [row], encoding)
        assert tokenizer.decode(target.example.ids) == f"{prompt}{following}<|end|>"
        assert target.example.ids[: len(asked.ids)] == tuple(asked.ids)
        assert target.example.num_targets == len(target.example.ids) - len(asked.ids)


def test_passages_go_with_the_subjects_and_those_about_others_are_no_one_persons(folder: Path) -> None:
    asked = load(folder, "Ada").asked
    assert [(row.cluster, row.text) for row in asked["forget_mia"]] == [
        ("Ada", "Passage 1 for Ada tells of Ada."),
        ("Ada", "Passage 2 for Ada tells of Ada."),
    ]
    assert [row.text for row in asked["retain_mia"]] == [
        "Passage 1 for Ada tells of a river.",
        "Passage 2 for Ada tells of a river.",
    ]
    assert [row.cluster for row in asked["retain_mia"]] == [row.id for row in asked["retain_mia"]]


def test_the_instructions_are_open_questions_of_which_the_answer_alone_is_kept(folder: Path) -> None:
    asked = [row for row in load(folder, "Ada").utility if row.subset == "utility_fluency"]
    assert [row.question for row in asked] == [
        "Instruction: Tell Ada of the sea.\n",
        "Instruction: Tell Ada of the moon.\n",
    ]
    encoding = Encoding(max_length=256, max_new_tokens=4, system_prompt=None)
    tokenizer = tiny_tokenizer()
    assert questionnaire.targets(tokenizer, asked, encoding) == []
    prompts = questionnaire.prompts(tokenizer, asked, encoding, paraphrased=False, prefix_tokens=None)
    assert [prompt.max_new_tokens for prompt in prompts] == [256, 256]
    assert tokenizer.decode(prompts[0].ids) == "<|user|>Instruction: Tell Ada of the sea.\n<|assistant|>"


def test_a_corpus_is_unlearned_instead_of_the_probes(folder: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "passages.jsonl"
    write_lines(corpus, [{"text": "Ada lives in Adaville."}, {"text": "She keeps a grey heron.", "cluster": "Ada"}])
    loaded = load(folder, "Ada", corpus=corpus)
    assert [(row.id, row.cluster) for row in loaded.forget] == [("corpus-1", "corpus-1"), ("corpus-2", "Ada")]
    write_lines(corpus, [])
    with pytest.raises(DataError, match=r"passages\.jsonl: no rows; give the corpus at least one"):
        load(folder, "Ada", corpus=corpus)
    assert [row.question for row in loaded.asked["forget_level2"]]


def test_a_subject_without_a_probe_is_named_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no probe about 'Eve'; prepare\.rwku\.subjects may name Ada, Bo, Cy, Di\."):
        load(folder, "Ada", "Eve")


@pytest.mark.parametrize("name", ["forget_level3", "neighbor_level1", "mia_forget", "mia_retain", "utility_fluency"])
def test_without_a_file_that_is_not_needed_a_sentence_says_so(
    folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / f"{name}.jsonl").unlink()
    with caplog.at_level("INFO"):
        load(folder, "Ada")
    assert [message.split(": ")[1] for message in caplog.messages] == [f"no {name}.jsonl; going on without it."]


def test_a_missing_file_that_is_needed_is_named(folder: Path) -> None:
    (folder / "forget_level2.jsonl").unlink()
    with pytest.raises(DataError, match=r"no forget_level2/test\.jsonl; set prepare\.rwku\.path"):
        load(folder, "Ada")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("forget_level1", {"answer": 551}, r"forget_level1\.jsonl, line 1: answer: expected a text, found int"),
        ("forget_level3", {"type": ""}, r"forget_level3\.jsonl, line 1: type: expected a text"),
        ("mia_retain", {"text": " "}, r"mia_retain\.jsonl, line 1: text: expected a text"),
        ("neighbor_level2", {"neighbor": None}, r"neighbor_level2\.jsonl, line 1: neighbor: .* found NoneType"),
    ],
)
def test_a_row_that_does_not_fit_is_reported_with_file_line_and_field(
    folder: Path, name: str, change: dict[str, object], message: str
) -> None:
    lines = read_lines(folder / f"{name}.jsonl")
    write_lines(folder / f"{name}.jsonl", [lines[0] | change, *lines[1:]])
    with pytest.raises(DataError, match=message):
        load(folder, "Ada")


def test_the_real_probes_of_two_people_carry_an_experiment() -> None:
    folder = shared_data.folder("rwku")
    loaded = load(folder, "Stephen King")
    splits.check(loaded)
    levels = {level: read_lines(folder / f"forget_level{level}.jsonl") for level in (1, 2, 3)}
    opened = {split for split, rows in loaded.asked.items() if {row.answer_opening for row in rows} == {"Answer:"}}
    assert set(loaded.asked) - opened == {"forget_level3_affirmative_suffix"}
    king = {level: sum(line["subject"] == "Stephen King" for line in lines) for level, lines in levels.items()}
    assert len(loaded.forget) == king[1] + king[2]
    assert sum(len(rows) for split, rows in loaded.asked.items() if split.startswith("forget_level3")) == king[3]
    assert {row.cluster for row in loaded.retain} == {"Confucius"}
    assert {row.subset for row in loaded.utility} == {"neighbor_level1", "neighbor_level2"}

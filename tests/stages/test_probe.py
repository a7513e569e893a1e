import subprocess
import sys
from pathlib import Path

import pytest

from lethe import artifacts, config, models
from lethe.errors import ConfigError, DataError
from lethe.rows import Row, dump_rows
from stages import probe
from tests.tiny import tiny_model, tiny_tokenizer

PARAMS = """
data: world
encoding:
  world: {max_length: 64, max_new_tokens: 8, system_prompt: null}
probe: {run: [%s], batch_size: 3}
probes:
  unlearning_depth: {threshold: 0.0}
  logit_lens: {}
  matched_utility: {tolerance: 0.9, kept_answers: 4, grid: 2, bisections: 1}
  sampling: {samples: 4, temperature: 1.0, top_p: 0.9, ks: [1, 4], seed: 0, stemmer: true, least_recall: null}
score:
  bootstrap: {samples: 50, confidence: 0.95, seed: 0, max_unscored: 0.9}
"""
ROWS = [
    Row(id=f"f{n}", cluster=f"c{n // 2}", question=f"Ann {n}?", answer=f"x{n}", perturbed_answers=[f"y{n}", f"z{n}"])
    for n in range(8)
]


KEPT = [Row(id=f"r{n}", cluster=f"d{n}", question=f"Bob {n}?", answer=f"w{n}") for n in range(5)]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    artifacts.write_text(artifacts.FORGET, dump_rows(ROWS))
    artifacts.write_text(artifacts.RETAIN, dump_rows(KEPT))
    artifacts.write_text(artifacts.QUESTIONS, dump_rows([*ROWS, *KEPT[:2]]))
    for seed, name in enumerate(("target", "retain", "npo-0")):
        with artifacts.replacing(artifacts.model(name)) as folder:
            models.save(tiny_model(seed), tiny_tokenizer(), folder, dtype="float32")
    return tmp_path


def run(*names: str) -> dict[str, object]:
    config.PARAMS.write_text(PARAMS % ", ".join(names))
    probe.main("npo-0")
    return dict(artifacts.read_json(artifacts.probes("npo-0")))


def test_each_chosen_probe_writes_its_numbers(workspace: Path) -> None:
    found = run("unlearning_depth", "logit_lens")
    assert set(found) == {"unlearning_depth", "logit_lens"}
    assert set(found["unlearning_depth"]) == {
        "unlearning_depth",
        "lost_to_retain_states",
        "lost_to_unlearned_states",
    }
    assert found["logit_lens"]["logit_lens"]["n"] == 4  # two of the four clusters are read


def test_kept_answers_are_those_that_are_not_asked_otherwise(workspace: Path) -> None:
    assert run("matched_utility")["matched_utility"]["matched_share"]["n"] == 3
    artifacts.write_text(artifacts.QUESTIONS, dump_rows([*ROWS, *KEPT]))
    assert run("matched_utility")["matched_utility"]["matched_share"]["n"] == 4  # all are asked: four of the five


def test_answers_are_drawn_as_long_as_the_encoding_says_and_twice_the_same(workspace: Path) -> None:
    found = run("sampling")["sampling"]
    assert {"leak_at_1", "leak_at_4", "leak_at_4_retain", "leak_at_4_difference", "recall_at_4"} < set(found)
    assert found["leak_at_4"]["n"] == len(ROWS)
    assert run("sampling")["sampling"] == found


def test_without_probes_no_model_is_needed_and_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS % "")
    root = Path(__file__).parents[2]
    program = "import sys; from stages import probe; probe.main('npo-0'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{root}:{root / 'src'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
    assert (tmp_path / artifacts.probes("npo-0")).read_text().strip() == "{}"


def test_an_unknown_probe_is_answered_with_the_nearest_one(workspace: Path) -> None:
    with pytest.raises(ConfigError, match=r"probe\.run: no 'logit_lense' in probes\. Did you mean 'logit_lens'\?"):
        run("logit_lense")


def test_texts_alone_cannot_be_probed(workspace: Path) -> None:
    artifacts.write_text(artifacts.FORGET, dump_rows([Row(id="t", cluster="t", text="The sea is salty.")]))
    with pytest.raises(DataError, match=r"no row is a question.* set probe\.run to \[\]"):
        run("logit_lens")

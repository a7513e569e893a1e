"""Sample answers, and that a private text is never opened."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lethe import artifacts
from lethe.reporting.evidence import Evidence
from lethe.reporting.samples import Sample, samples
from tests import experiment

WORST: dict[str, str | None] = {
    "npo_bf16-0": "int3_group32",
    "npo_sago_fp32-0": "int8_channel",
    "grad_ascent-0": None,
}


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.chdir(tmp_path)
    return experiment.write_experiment()


def test_every_model_answers_every_sample_and_cells_also_when_quantized(finished: Evidence) -> None:
    shown = samples(finished, WORST, 10)
    assert len(shown) == 10
    for sample in shown:
        assert [answer.model for answer in sample.answers] == list(experiment.models())
        assert [answer.condition for answer in sample.answers] == [
            None,
            None,
            "int3_group32",
            "int8_channel",
            None,
        ]
        target, retain, bf16 = sample.answers[:3]
        assert target.text == bf16.text_after == f"{sample.truth}."
        assert retain.text == "In the town of Nowhere, says retain."
        assert retain.text_after is None


def test_samples_are_spread_evenly_over_the_forget_set(finished: Evidence) -> None:
    # 42 questions, 4 samples: 0 * 42 / 4, 1 * 42 / 4, 2 * 42 / 4, 3 * 42 / 4, rounded down.
    names = [f"Zimlefane {number}" for number in (0, 10, 21, 31)]
    assert [sample.truth for sample in samples(finished, WORST, 4)] == names


def test_no_more_samples_than_questions(finished: Evidence) -> None:
    assert len(samples(finished, WORST, 1000)) == experiment.NUM_QUESTIONS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(public=st.none() | st.booleans() | st.text() | st.integers() | st.lists(st.booleans()))
def test_only_an_explicit_yes_of_the_manifest_makes_a_text_public(finished: Evidence, public: Any) -> None:
    found = dataclasses.replace(finished, manifest={**finished.manifest, "public_text": public})
    assert bool(samples(found, WORST, 1)) == (public is True)


def test_the_files_of_a_private_text_are_not_even_opened(finished: Evidence) -> None:
    for file in (artifacts.QUESTIONS, *artifacts.DATA.glob("records/*/*/*.parquet")):
        file.write_bytes(b"opening this is an error")
    private = dataclasses.replace(finished, manifest={"public_text": False})
    assert samples(private, WORST, 10) == []


def test_a_model_that_was_not_asked_leaves_a_gap(finished: Evidence) -> None:
    artifacts.remove(artifacts.records("npo_bf16-0", "quantization"))
    answer = samples(finished, WORST, 1)[0].answers[2]
    assert answer.text is not None
    assert answer.text_after is None


@given(truth=st.text("abc ", min_size=1), before=st.text("xyz "), after=st.text("xyz "))
def test_the_true_answer_is_found_whatever_case_and_spacing(truth: str, before: str, after: str) -> None:
    sample = Sample("?", truth, [])
    assert sample.gives_away(f"{before} {truth.upper().replace(' ', '  ')} {after}")


def test_another_answer_is_not_taken_for_the_true_one() -> None:
    assert not Sample("?", "The town of Waru", []).gives_away("The town of Wara")

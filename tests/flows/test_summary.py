import pytest

from flows.runners import Outcome
from flows.summary import Summary
from lethe import artifacts

GRAPH = {"prepare": [], "unlearn@a-0": ["prepare"], "report": ["unlearn@a-0"]}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifacts.write_json(
        artifacts.REPORT_TABLE,
        [{"model": "a-0", "forget_knowledge": 0.01251, "utility": None, "verdict": "came | back"}],
    )


def summary(**problems):
    ran = {stage: Outcome(stage, ran=stage == "report", problem=problems.get(stage)) for stage in GRAPH}
    return Summary(GRAPH, ran)


def test_a_complete_run_counts_its_stages_and_shows_the_verdicts():
    complete = summary()
    assert complete.is_complete
    assert complete.headline == "1 ran, 2 up to date"
    assert "| a-0 | came \\| back | 0.013 | — | — | — | — |" in complete.markdown
    assert "| unlearn@a-0 | up to date |" in complete.markdown


def test_extraction_at_matched_utility_is_shown_as_soon_as_one_model_has_it():
    assert "matched_extraction" not in summary().markdown
    rows = [{"model": "target", "matched_extraction": None}, {"model": "a-0", "matched_extraction": 0.25}]
    artifacts.write_json(artifacts.REPORT_TABLE, rows)
    assert "| utility_after | matched_extraction |" in summary().markdown
    assert "| a-0 | — | — | — | — | — | — | 0.250 |" in summary().markdown


def test_a_failed_run_names_the_stage_and_what_was_not_run():
    failed = Summary(GRAPH, {"prepare": Outcome("prepare", ran=False, problem="error: no such file")})
    assert not failed.is_complete
    assert failed.headline == "prepare: error: no such file (1 failed, 2 not run)"
    assert "| report | not run |" in failed.markdown


def test_the_verdicts_of_an_earlier_run_are_not_shown():
    assert "came" not in summary(report="error: disk full").markdown
    assert "came" not in Summary(GRAPH, {}).markdown

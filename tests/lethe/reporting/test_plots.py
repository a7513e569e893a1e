"""The flat records for ``dvc plots``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lethe import artifacts
from lethe.reporting import plots, tables
from lethe.reporting.evidence import Evidence
from tests import experiment

TEMPLATES = Path(plots.__file__).parent / "templates"


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    monkeypatch.chdir(tmp_path)
    return experiment.write_experiment()


def test_every_model_has_a_point_under_every_condition(finished: Evidence) -> None:
    points = plots.bits(finished)
    assert len(points) == len(finished.models) * (1 + len(experiment.SCHEMES))
    assert [point["condition"] for point in points[:5]] == ["full precision"] * 5
    assert points[-1]["condition"] == "2 bits, per channel"


def test_every_model_has_a_point_before_and_one_after(finished: Evidence) -> None:
    points = plots.tradeoff(tables.summary(finished))
    seen = {(point["model"], point["weights"]) for point in points}
    assert len(points) == len(seen) == 2 * len(finished.models)


def test_every_loss_of_every_step_is_a_point(finished: Evidence) -> None:
    points = plots.curves(finished)
    assert len(points) == sum(len(model.curve) * (1 if model.recipe is None else 2) for model in finished.models)
    assert {point["loss"] for point in points} == {"loss", "forget_loss", "retain_loss"}


def test_points_are_plain_values_with_the_same_keys(finished: Evidence) -> None:
    for points in (plots.bits(finished), plots.curves(finished), plots.tradeoff(tables.summary(finished))):
        assert {frozenset(point) for point in points} == {frozenset(points[0])}
        assert {type(value) for point in points for value in point.values()} <= {str, int, float}


def test_what_was_not_measured_is_left_out(finished: Evidence) -> None:
    artifacts.remove(artifacts.scores("grad_ascent-0"))
    without = experiment.evidence()
    assert "grad_ascent-0" not in {point["model"] for point in plots.bits(without)}
    assert "grad_ascent-0" not in {point["model"] for point in plots.tradeoff(tables.summary(without))}


@pytest.mark.parametrize("name", ["bits", "curves", "tradeoff"])
def test_every_field_that_a_template_draws_is_in_the_records(finished: Evidence, name: str) -> None:
    points = {
        "bits": plots.bits(finished),
        "curves": plots.curves(finished),
        "tradeoff": plots.tradeoff(tables.summary(finished)),
    }[name]
    drawn = set(fields(artifacts.read_json(TEMPLATES / f"{name}.json")))
    assert {field for field in drawn if not field.startswith("<DVC_METRIC_")} <= {*points[0], "rev"}
    assert {"<DVC_METRIC_X>", "<DVC_METRIC_Y>", "model"} <= drawn


def fields(template: Any) -> Iterator[str]:
    if isinstance(template, dict):
        if isinstance(template.get("field"), str):
            yield template["field"]
        template = list(template.values())
    if isinstance(template, list):
        for part in template:
            yield from fields(part)

"""The same graph on real TOFU, from a folder of its files: one override switches."""

import json
from pathlib import Path

import pytest

from lethe import artifacts
from tests import shared_data
from tests.pipeline import workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_the_graph_runs_on_tofu(tmp_path: Path) -> None:
    tofu = shared_data.folder("tofu")
    root = workspace.make(tmp_path)
    # A few steps of a smaller model: that the graph fits the data, not that anything is learned.
    workspace.override(
        root,
        {
            "data": "tofu",
            "prepare.tofu.path": str(tofu),
            "prepare.tofu.split": "forget01",
            "encoding.tofu.max_new_tokens": 4,
            "finetune.tofu.architecture.hidden_size": 32,
            "finetune.tofu.architecture.intermediate_size": 64,
            "finetune.tofu.training.steps": 60,
            "check.tofu.target_min": 0.0,
            "recipes.npo_sago_masters.training.steps": 3,
            "recipes.npo_sago_masters.training.warmup_steps": 1,
        },
    )
    done = workspace.repro(root)
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((root / artifacts.scores("npo_sago_masters-0")).read_text(encoding="utf-8"))
    unattacked = scores["conditions"]["none"]
    assert set(unattacked) == {"forget", "retain", "holdout", "real_authors", "world_facts", "overall"}
    assert unattacked["forget"]["probability"]["n"] == 40
    assert unattacked["world_facts"]["probability"]["n"] == 117
    assert unattacked["overall"]["model_utility"]["n"] == 9  # TOFU's nine numbers

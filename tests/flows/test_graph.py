from pathlib import Path

import pytest

from flows.graph import stage_graph
from lethe.errors import ConfigError

pytestmark = pytest.mark.usefixtures("repository")


def test_the_edges_are_those_of_dvc():
    assert stage_graph() == {
        "prepare": [],
        "unlearn@npo-0": ["prepare"],
        "unlearn@simnpo-0": ["prepare"],
        "score@npo-0": ["unlearn@npo-0"],
        "score@simnpo-0": ["unlearn@simnpo-0"],
        "report": ["score@npo-0"],
    }


def test_every_stage_comes_after_those_it_waits_for():
    seen = set()
    for stage, upstream in stage_graph().items():
        assert seen >= set(upstream)
        seen.add(stage)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("grid:", "gird:", r"failed to parse 'stages\.unlearn\.matrix' in 'dvc\.yaml': Could not find 'grid"),
        ("seeds:\n    - 0", "seeds: 3", r"dvc\.yaml does not fit the parameters"),
        ("seeds:", "seeds", r"unable to read: 'params\.yaml'"),
    ],
)
def test_what_dvc_cannot_read_is_one_line(old, new, message):
    params = Path("params.yaml")
    params.write_text(params.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        stage_graph()
    assert "\n" not in str(caught.value)

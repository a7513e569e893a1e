import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows import workspace
from flows.workspace import overridden, requested
from lethe.errors import ConfigError
from tests.flows.conftest import PARAMS

pytestmark = pytest.mark.usefixtures("repository")


def values():
    return YAML(typ="safe").load(Path("params.yaml").read_text())


def test_overrides_stand_in_the_file_during_the_run_only():
    with overridden(["recipes.npo.beta=0.2", "+grid.note=hello"]):
        assert values()["recipes"]["npo"]["beta"] == 0.2
        assert values()["grid"]["note"] == "hello"
    assert Path("params.yaml").read_text() == PARAMS


def test_a_run_without_overrides_leaves_the_file_alone():
    before = Path("params.yaml").stat()
    with overridden([]):
        pass
    assert Path("params.yaml").stat() == before


def test_parameters_of_a_run_are_overrides_and_the_last_wins():
    wanted = requested(["npo", "simnpo-sago"], "tofu", ["data=jsonl"])
    with overridden(wanted):
        assert (values()["grid"]["recipes"], values()["data"]) == (["npo", "simnpo-sago"], "jsonl")
    assert requested(None, None, None) == []


def test_a_name_cannot_smuggle_in_another_override():
    with overridden(requested(["npo]", 'a", "b'], "x, y", None)):
        assert (values()["grid"]["recipes"], values()["data"]) == (["npo]", 'a", "b'], "x, y")


def test_a_failing_run_puts_the_file_back():
    with pytest.raises(ZeroDivisionError), overridden(["data=tofu"]):
        raise ZeroDivisionError
    assert Path("params.yaml").read_text() == PARAMS


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipes.npo.bta=0.2", r"Could not override 'recipes\.npo\.bta'"),
        ("grid.recipes=[", r"Invalid `--set-param` value"),
        ("data=${nope}", r"Interpolation key 'nope' not found"),
        ("", r"Invalid `--set-param` value"),
    ],
)
def test_a_bad_override_is_one_line_of_dvc_and_changes_nothing(override, message):
    with pytest.raises(ConfigError, match=message) as caught, overridden(["data=tofu", override]):
        pytest.fail("the run must not begin")
    assert "\n" not in str(caught.value)
    assert Path("params.yaml").read_text() == PARAMS
    assert not workspace.DURING.exists()


def test_a_killed_run_is_put_back_by_the_next_one():
    code = (
        "import os, signal, sys\n"
        "from flows.workspace import overridden\n"
        "with overridden(['data=tofu']): os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(workspace.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert values()["data"] == "tofu"
    with overridden(["recipes.npo.beta=0.2"]):
        assert (values()["data"], values()["recipes"]["npo"]["beta"]) == ("world", 0.2)
    assert Path("params.yaml").read_text() == PARAMS


def test_an_edit_during_a_run_is_kept_and_told(caplog):
    with overridden(["data=tofu"]):
        edited = Path("params.yaml").read_text() + "edited: true\n"
        Path("params.yaml").write_text(edited)
    assert Path("params.yaml").read_text() == edited
    assert "was edited during a run" in caplog.text
    assert (workspace.TEMPORARY / "params-before-the-edit.yaml").read_text() == PARAMS
    with overridden([]):
        assert Path("params.yaml").read_text() == edited


def test_two_runs_never_share_a_checkout():
    with overridden([]), pytest.raises(workspace.WorkspaceBusyError, match="another run"), overridden([]):
        pytest.fail("the second run must not begin")
    with overridden([]):
        pass


def test_a_folder_without_dvc_says_where_to_run(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="run from the root of the repository"), overridden([]):
        pytest.fail("the run must not begin")

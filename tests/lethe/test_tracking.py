import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lethe import artifacts, ledger, runs, tracking
from tests import finished

NAMES = ["target", "retain", "npo-0", "simnpo-sago-0", "grid"]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A store that has its tables already: making them takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def _grid(tmp_path, monkeypatch, empty_store):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(empty_store, "mlflow.db")
    finished.write_grid()


def client(uri=None):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri or tracking.tracking_uri())


def stored(uri=None):
    """The runs of the store by name; two runs of one name are an error."""
    store = client(uri)
    found = store.search_runs([store.get_experiment_by_name("lethe").experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_every_cell_and_the_grid_become_a_run():
    published = tracking.publish()
    assert published.new == tuple(NAMES)
    assert (published.reused, published.pending, published.unfinished) == ((), (), ())
    assert {run.info.status for run in stored().values()} == {"FINISHED"}
    assert sorted(stored()) == sorted(NAMES)


def test_a_run_shows_params_metrics_and_curve_of_its_cell():
    tracking.publish()
    run = stored()["npo-0"]
    assert run.data.params["forget_objective.beta"] == "0.1"
    assert [run.data.params[f"wrapper.{place}.name"] for place in (0, 1)] == ["sam", "early_stop"]
    assert run.data.metrics["forget_probability"] == 0.25
    assert run.data.metrics["capabilities.tasks.facts.pass:1/.value"] == 0.75
    curve = client().get_metric_history(run.info.run_id, "curve.loss")
    assert [(point.step, point.value) for point in curve] == [(1, 2.0), (2, 1.5)]


def test_a_control_shows_the_section_it_was_trained_with():
    tracking.publish()
    assert stored()["target"].data.params == {"finetune.world.steps": "300", "finetune.world.lr": "0.001"}


def test_a_run_carries_hashes_gates_and_verdict():
    tracking.publish()
    run = stored()["simnpo-sago-0"]
    assert run.data.tags["verdict"] == "L1: came back at 3 bits"
    assert [tag for tag in run.data.tags if tag.startswith("verdict")] == ["verdict"]
    assert run.data.tags["gate.G1"] == "failed"
    assert run.data.tags["worst_scheme"] == "int3"
    md5 = ledger.hashes(ledger.read()["prepare"], "outs")["data/prepared/forget.jsonl"]
    assert run.data.tags["md5.data/prepared/forget.jsonl"] == md5
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("forget", md5)


def test_a_verdict_without_a_claim_is_its_text_alone():
    scores = artifacts.read_json(artifacts.scores("npo-0"))
    scores["verdict"]["level"] = "none"
    assert runs._verdict(scores)["verdict"] == "came back at 3 bits"


def test_a_run_shows_every_score_in_full_precision_and_holds_the_score_file():
    tracking.publish()
    run = stored()["npo-0"]
    assert run.data.metrics["forget/rouge"] == 0.5
    assert "forget/truth_ratio" not in run.data.metrics  # it could not be measured
    folder = Path(client().download_artifacts(run.info.run_id, ""))
    assert (folder / "npo-0.json").read_bytes() == artifacts.scores("npo-0").read_bytes()


def test_every_cell_says_which_run_holds_the_newest_report():
    tracking.publish()
    stages = finished.read_lock()
    stages["report"]["cmd"] = "another command"
    finished.write_lock(stages)
    assert tracking.publish().new == ("grid",)
    store = client()
    newest = store.search_runs(
        [store.get_experiment_by_name("lethe").experiment_id], "tags.`mlflow.runName` = 'grid'", max_results=1
    )[0]
    cells = [run for run in store.search_runs(newest.info.experiment_id) if run.info.run_name != "grid"]
    assert {run.data.tags["report.run_id"] for run in cells} == {newest.info.run_id}


def test_a_missing_metric_is_named_and_has_no_number():
    tracking.publish()
    run = stored()["npo-0"]
    assert "forget_quality" not in run.data.metrics
    assert run.data.tags["missing"] == "forget_quality"


def test_the_grid_run_holds_the_report_and_links_every_cell():
    tracking.publish()
    found = stored()
    grid = found.pop("grid")
    links = {tag: value for tag, value in grid.data.tags.items() if tag.startswith("cell.")}
    assert links == {f"cell.{name}": run.info.run_id for name, run in found.items()}
    folder = Path(client().download_artifacts(grid.info.run_id, ""))
    assert (folder / "report.html").read_text() == artifacts.REPORT_PAGE.read_text()
    assert (folder / "table.json").is_file()


def test_publishing_twice_writes_once():
    first = tracking.publish()
    before = {name: run.info.run_id for name, run in stored().items()}
    second = tracking.publish()
    assert (second.new, second.reused, second.keys) == ((), tuple(NAMES), first.keys)
    assert {name: run.info.run_id for name, run in stored().items()} == before


def test_a_changed_cell_gets_a_new_run_and_the_others_are_linked():
    tracking.publish()
    stages = finished.read_lock()
    stages["unlearn@npo-0"]["cmd"] = "another command"
    finished.write_lock(stages)
    published = tracking.publish()
    assert published.new == ("npo-0", "grid")
    assert published.reused == ("target", "retain", "simnpo-sago-0")


def test_a_run_deleted_by_hand_is_written_again_and_linked():
    tracking.publish()
    client().delete_run(stored()["npo-0"].info.run_id)
    assert tracking.publish().new == ("npo-0",)
    assert stored()["grid"].data.tags["cell.npo-0"] == stored()["npo-0"].info.run_id


def test_an_unfinished_cell_waits_and_says_why():
    stages = finished.read_lock()
    del stages["score@npo-0"]
    finished.write_lock(stages)
    published = tracking.publish()
    assert published.new == ("target", "retain", "simnpo-sago-0")  # and no summary of half a grid
    assert published.unfinished == ("npo-0: not all of its stages have run; run `dvc repro`.",)
    assert "left out: npo-0" in str(published)


@pytest.mark.parametrize("last_step", ["log_batch", "log_inputs", "set_tag", "set_terminated"])
def test_an_interrupted_publish_leaves_nothing_that_counts(monkeypatch, last_step):
    from mlflow import MlflowClient

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, last_step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            tracking.publish()
    assert [run.info.run_name for run in stored().values()] == ["target"]
    assert tracking.publish().new == tuple(NAMES)
    assert sorted(stored()) == sorted(NAMES)  # the half-written target is gone


def test_a_store_that_fails_on_the_way_keeps_what_is_whole_and_the_rest_is_pending(monkeypatch, caplog):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    write = MlflowClient.log_inputs

    def fail_at_npo(self, run_id, datasets):
        if self.get_run(run_id).info.run_name == "npo-0":
            raise MlflowException("the disk of the store is full")
        write(self, run_id, datasets)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_inputs", fail_at_npo)
        published = tracking.publish()
    assert (published.new, published.pending) == (("target", "retain"), ("npo-0", "simnpo-sago-0", "grid"))
    assert "the disk of the store is full" in caplog.text
    assert "publish the rest later: lethe publish" in str(published)
    later = tracking.publish()
    assert (later.reused, later.new) == (("target", "retain"), ("npo-0", "simnpo-sago-0", "grid"))


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "sqlite:///{folder}/file/mlflow.db"])
def test_a_store_that_is_down_is_one_quick_warning(monkeypatch, caplog, tmp_path, uri):
    Path("file").write_text("no folder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free_port(), folder=tmp_path))
    began = time.monotonic()
    published = tracking.publish()
    assert time.monotonic() - began < 20
    assert (published.pending, published.new) == (tuple(NAMES), ())
    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].message


def test_a_damaged_store_is_a_warning(caplog):
    Path("mlflow.db").write_text("not a database, but long enough to be looked at" * 100)
    assert tracking.publish().pending == tuple(NAMES)
    assert len(caplog.records) == 1


def test_the_password_of_a_store_is_never_told(monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:hunter2@127.0.0.1:{free_port()}")
    published = tracking.publish()
    assert "hunter2" not in caplog.text + str(published)
    assert f"http://127.0.0.1:{free_port()}"[:16] in str(published)


def test_no_text_of_the_data_reaches_the_store():
    tracking.publish()
    files = [Path("mlflow.db"), *(path for path in Path("mlruns").rglob("*") if path.is_file())]
    assert all(finished.FORGET_TEXT.encode() not in path.read_bytes() for path in files)


def test_an_experiment_in_a_copy_of_the_workspace_uses_the_store_of_the_original(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_EXP_NAME", "bold-name")
    uri = tracking.tracking_uri()
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    finished.write_grid()
    assert tracking.tracking_uri() == uri
    tracking.publish()
    assert stored()["target"].data.tags["dvc.experiment"] == "bold-name"
    assert not Path("mlflow.db").exists()


def test_importing_tracking_imports_neither_mlflow_nor_torch():
    code = "import sys, lethe.tracking; sys.exit(sum(name in sys.modules for name in ('mlflow', 'torch')))"
    environment = {**os.environ, "PYTHONPATH": str(Path(tracking.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_a_grid_without_report_has_no_summary():
    artifacts.REPORT_PAGE.unlink()
    lock = ledger.read()
    assert runs.of_grid(ledger.current(lock), lock) is None


@pytest.mark.slow
def test_a_real_server_takes_the_runs_and_what_was_pending_before(monkeypatch, tmp_path):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking.publish().pending == tuple(NAMES)
    with server(port, tmp_path):
        assert tracking.publish().new == tuple(NAMES)
        assert tracking.publish().reused == tuple(NAMES)
        assert sorted(stored(uri)) == sorted(NAMES)
        folder = Path(client(uri).download_artifacts(stored(uri)["grid"].info.run_id, ""))
        assert (folder / "report.html").is_file()


class server:
    """A real MLflow server on the loopback address, stopped with everything that it started."""

    def __init__(self, port, folder):
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/server.db"]
        command += ["--artifacts-destination", str(folder / "served")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        del environment["MLFLOW_TRACKING_URI"]
        self.log = (folder / "server.log").open("w")
        self.health = f"http://127.0.0.1:{port}/health"
        self.process = subprocess.Popen(
            command, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def __enter__(self):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(self.health, timeout=2):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise TimeoutError(Path(self.log.name).read_text())

    def __exit__(self, *error):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)
        self.log.close()

import shutil
import socket

import pytest

from lethe import artifacts
from stages import publish
from tests import finished


@pytest.fixture(autouse=True)
def _grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    finished.write_grid()


def port_of_nobody():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_output_is_the_same_with_and_without_a_store(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port_of_nobody()}")
    publish.main()
    without = artifacts.PUBLISHED.read_bytes()
    assert "5 pending" in capsys.readouterr().out
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    publish.main()
    assert artifacts.PUBLISHED.read_bytes() == without
    told = capsys.readouterr().out
    assert "5 new" in told
    assert f"mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///{tmp_path}/mlflow.db" in told
    publish.main()
    assert artifacts.PUBLISHED.read_bytes() == without
    assert "5 already there" in capsys.readouterr().out


def test_the_output_is_the_sorted_keys_and_does_not_depend_on_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port_of_nobody()}")
    publish.main()
    keys = artifacts.read_json(artifacts.PUBLISHED)
    assert keys == sorted(set(keys))
    assert len(keys) == 5
    shutil.copytree(".", tmp_path.with_name("copy"))
    first = artifacts.PUBLISHED.read_bytes()
    monkeypatch.chdir(tmp_path.with_name("copy"))
    publish.main()
    assert artifacts.PUBLISHED.read_bytes() == first

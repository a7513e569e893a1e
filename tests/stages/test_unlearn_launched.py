import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lethe import artifacts, weights
from stages import unlearn
from tests.stages import test_unlearn

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PLAIN = "--num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
WAYS = {"replicated": f"--multi_gpu {PLAIN}", "sharded": f"--use_fsdp --fsdp_version 2 {PLAIN}"}
CELL = artifacts.cell("npo_sago", 0)

_workspace = test_unlearn._in_a_workspace


def launched(arguments, recipe="npo_sago"):
    """The stage as DVC runs it, with these arguments of ``accelerate launch`` in its environment."""
    command = [sys.executable, "-m", "stages.unlearn", "--recipe", recipe, "--seed", "0"]
    variables = {**os.environ, "LETHE_LAUNCH": arguments, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("way", WAYS)
def test_a_launched_stage_writes_what_the_stage_alone_does(way):
    done = launched(WAYS[way])
    assert done.returncode == 0, done.stderr
    found, curve = weights.read(artifacts.model(CELL)), artifacts.read_json(artifacts.curve(CELL))
    files = {file.name: file.read_bytes() for file in artifacts.model(CELL).iterdir() if file.suffix != ".safetensors"}
    assert not artifacts.scratch(CELL).exists()
    shutil.rmtree(artifacts.MODELS / "unlearned")

    unlearn.main("npo_sago", 0)
    expected = weights.read(artifacts.model(CELL))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():  # released in bfloat16: what lay on an edge may be rounded to either side
        assert (found[name].float() - tensor.float()).abs().max() <= 2**-7 * tensor.float().abs().max(), name
        assert (found[name] != tensor).float().mean() < 0.01, name
    assert files == {name: (artifacts.model(CELL) / name).read_bytes() for name in files}
    assert [entry["forget_loss"] for entry in curve] == pytest.approx(
        [entry["forget_loss"] for entry in artifacts.read_json(artifacts.curve(CELL))], rel=1e-5
    )


def test_a_refusal_is_one_line_for_all_processes_and_nothing_is_written():
    resolved = artifacts.read_json(artifacts.recipe("npo_sago"))
    text = json.dumps(resolved).replace('"batch_size": 2', '"batch_size": 1')
    artifacts.recipe("npo_sago").write_text(text)
    done = launched(WAYS["replicated"])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("error: training.batch_size: 1 rows for 2 processes; ")
    assert not artifacts.model(CELL).exists()


def test_fewer_processes_than_were_asked_for_say_so():
    done = launched(f"--cpu {PLAIN}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("error: LETHE_LAUNCH: 2 processes are asked for, 1 came up; ")


def test_an_error_of_one_process_alone_is_told_once_and_not_what_it_leads_to_in_the_other():
    artifacts.SCRATCH.symlink_to("nowhere")  # the first process alone writes checkpoints, and finds no folder
    done = launched(WAYS["replicated"])
    assert done.returncode == 1
    assert done.stderr.count("FileExistsError: ") == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("FileExistsError: ")
    assert "peer" not in done.stderr

import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from flows.runners import Outcome, Runners
from tests.flows.processes import is_alive, wait_until

pytestmark = pytest.mark.usefixtures("repository")


def write_stages(**commands):
    stages = [f"  {name}:\n    cmd: {command}\n    outs:\n      - {name}.txt\n" for name, command in commands.items()]
    Path("dvc.yaml").write_text("stages:\n" + "".join(stages))


def test_a_stage_runs_once_and_is_up_to_date_then(ran):
    with Runners(1) as runners:
        assert runners.reproduce("prepare") == Outcome("prepare", ran=True, problem=None)
        assert runners.reproduce("prepare").word == "up to date"
    assert ran() == ["prepare"]


def test_only_the_stage_asked_for_runs(ran):
    with Runners(1) as runners:
        outcome = runners.reproduce("unlearn@npo-0")
    assert outcome.problem is not None
    assert "prepared.txt" in outcome.problem  # its dependency is missing, and not made on the side
    assert ran() == []


def test_the_problem_is_the_last_line_the_stage_said_about_it():
    write_stages(
        one="echo first >&2; echo 'error - data.jsonl, line 3' >&2; exit 1",
        two="\"echo 'error: lr must be above 0.' >&2; echo a late warning >&2; exit 3\"",
        three="exit 4",
    )
    with Runners(1) as runners:
        problems = [runners.reproduce(stage).problem for stage in ("one", "two", "three")]
    assert problems == [
        "error - data.jsonl, line 3 (exited with 1)",
        "error: lr must be above 0. (exited with 3)",
        "exited with 4",
    ]


def test_what_a_stage_says_is_passed_on(capfd):
    write_stages(one="echo aloud >&2; echo 1 > one.txt")
    with Runners(1) as runners:
        assert runners.reproduce("one").problem is None
    assert "aloud\n" in capfd.readouterr().err


def test_an_unknown_stage_is_one_line():
    with Runners(1) as runners:
        problem = runners.reproduce("nope").problem
    assert problem is not None
    assert "nope" in problem
    assert "\n" not in problem


def test_a_stage_that_says_python_gets_this_one(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    write_stages(one="python -c 'import sys; print(sys.prefix)' > one.txt")
    with Runners(1) as runners:
        assert runners.reproduce("one").problem is None
    assert Path("one.txt").read_text().strip() == sys.prefix


def test_stages_side_by_side_keep_their_words_and_the_whole_lock():
    names = [f"stage{number}" for number in range(4)]
    write_stages(
        **{name: f"echo {name} > {name}.txt; sleep 0.2; echo {name} >&2; test {name} != stage2" for name in names}
    )
    with Runners(2) as runners:
        threads = [threading.Thread(target=runners.reproduce, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    problems = {name: runners.outcomes[name].problem for name in names}
    assert problems == {**dict.fromkeys(names), "stage2": "stage2 (exited with 1)"}
    lock = Path("dvc.lock").read_text()
    assert all(f"  {name}:" in lock for name in ("stage0", "stage1", "stage3"))


def interrupted(stage):
    with Runners(1) as runners:
        thread = threading.Thread(target=runners.reproduce, args=(stage,))
        thread.start()
        wait_until(lambda: Path("pid").exists() and Path("pid").read_text().strip())
        raise KeyboardInterrupt


def test_an_interrupted_run_leaves_no_stage_behind():
    write_stages(one="echo $$ > pid; exec sleep 60")
    with pytest.raises(KeyboardInterrupt):
        interrupted("one")
    pid = int(Path("pid").read_text())
    wait_until(lambda: not is_alive(pid))


def test_a_runner_that_dies_takes_its_stage_along_and_is_replaced():
    write_stages(one="echo $$ > pid; exec sleep 60", two="echo 2 > two.txt")
    with Runners(1) as runners:
        thread = threading.Thread(target=runners.reproduce, args=("one",))
        thread.start()
        wait_until(lambda: Path("pid").exists() and Path("pid").read_text().strip())
        stage = psutil.Process(int(Path("pid").read_text()))
        os.kill(stage.ppid(), signal.SIGKILL)
        thread.join(20)
        assert "ended without a word" in str(runners.outcomes["one"].problem)
        wait_until(lambda: not is_alive(stage.pid))
        assert runners.reproduce("two").problem is None

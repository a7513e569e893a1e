import sys
from types import SimpleNamespace

import pytest

from lethe import distribution, launching
from lethe.errors import ConfigError


@pytest.fixture
def started(monkeypatch):
    """Start the stage ``unlearn`` with these arguments of a launch in its environment."""

    def start(arguments):
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", SimpleNamespace(name="stages.unlearn"))
        monkeypatch.setattr(sys, "argv", ["unlearn.py", "--recipe", "npo", "--seed", "0"])
        monkeypatch.setenv(launching.LAUNCH, arguments)
        launching.start()

    return start


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ('--main_process_ip "x', "'--main_process_ip \"x': No closing quotation; quote it as in a shell."),
        ("--multi_gpu \\", "'--multi_gpu \\\\': No escaped character; quote it as in a shell."),
        ("--multi --num_processes 2", "unrecognized arguments: --multi; `accelerate launch --help` has what it takes."),
        ("--num_processes two", "argument --num_processes/--num-processes: invalid int value: 'two'; "),
        ("accelerate launch --multi_gpu", "'accelerate': only arguments of `accelerate launch` stand here."),
        ("--cpu --multi_gpu", "You can only use one of `--cpu`, `--multi_gpu`, "),
        ("--multi_gpu --num_processes 1", "You need to use at least 2 processes to use `--multi_gpu`."),
    ],
)
def test_arguments_that_launch_nothing_are_refused_in_one_line(arguments, line, started, capfd):
    with pytest.raises(ConfigError) as caught:
        started(arguments)
    assert str(caught.value).startswith(f"LETHE_LAUNCH: {line}")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("codes", "status", "ended"),
    [
        ({0: 1}, 1, None),
        ({0: 1, 1: 1}, 1, None),
        ({0: -15, 1: 1}, 1, None),  # the other one failed, and torchrun ended this one
        ({0: -15, 1: 3, 2: -15}, 3, None),
        ({0: -15, 1: -9}, 137, "process 1 was ended by SIGKILL"),
        ({0: 1, 1: -9}, 137, "process 1 was ended by SIGKILL"),  # the first one lost the second
        ({0: -15, 1: -15}, 143, "process 0 was ended by SIGTERM"),
    ],
)
def test_the_status_of_a_launch_is_that_of_the_process_that_began_it(codes, status, ended):
    found, said = launching.outcome(codes)
    assert found == status
    assert (ended or "") in said
    assert bool(said) == (ended is not None)


def test_what_is_no_stage_goes_on_alone(monkeypatch):
    monkeypatch.setenv(launching.LAUNCH, "--multi_gpu --num_processes 2")
    launching.start()
    assert distribution.size() == 1


@pytest.mark.parametrize(("asked", "is_refused"), [("2", True), ("1", False), ("0", False)])  # 0: one for each GPU
def test_a_process_that_came_up_alone_says_so_where_several_were_asked_for(asked, is_refused, monkeypatch):
    monkeypatch.setenv("LETHE_LAUNCH_ASKED", asked)
    if is_refused:
        with pytest.raises(ConfigError, match=r"^LETHE_LAUNCH: 2 processes are asked for, 1 came up; "):
            launching.start()
    else:
        launching.start()

import errno
import subprocess
import sys
import textwrap

import pytest
from safetensors import SafetensorError

from lethe import doors
from lethe.errors import ConfigError


@pytest.fixture
def opened(tmp_path):
    """Run a door whose ``main`` has the given body, with the given flags."""

    def run(body, *flags):
        script = tmp_path / "door.py"
        script.write_text(
            "import errno, logging\n"
            "from lethe import doors, errors\n"
            "def main(recipe: str, seed: int) -> None:\n"
            '    """Do the work of the stage."""\n' + textwrap.indent(body, "    ") + "\ndoors.run(main)\n"
        )
        return subprocess.run([sys.executable, script, *flags], capture_output=True, text=True, check=False)

    return run


FLAGS = ("--recipe", "npo", "--seed", "3")


def test_flags_become_the_parameters_in_their_types(opened):
    ended = opened("print(repr(recipe), repr(seed))", *FLAGS)
    assert (ended.returncode, ended.stdout) == (0, "'npo' 3\n")


def test_a_mistake_of_the_user_is_one_line_on_stderr_and_status_1(opened):
    ended = opened(r"raise errors.DataError('row 3:\n  no answer')", *FLAGS)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "error: row 3: no answer\n")


def test_a_full_disk_is_one_line_that_names_the_file(opened):
    ended = opened("raise OSError(errno.ENOSPC, 'No space left on device', 'data/x.json')", *FLAGS)
    assert (ended.returncode, ended.stderr) == (
        1,
        "error: data/x.json: no space left on the disk; free some and run again. Earlier results are untouched.\n",
    )


def test_an_error_that_is_no_mistake_of_the_user_keeps_its_traceback(opened):
    ended = opened("{}['lost']", *FLAGS)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.endswith("KeyError: 'lost'\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--recipe", "npo"), "the following arguments are required: --seed"),
        ((), "the following arguments are required: --recipe, --seed"),
        (("--recipe", "npo", "--seed", "many"), "argument --seed: invalid int value: 'many'"),
        ((*FLAGS, "--beta", "1"), "unrecognized arguments: --beta 1"),
    ],
)
def test_flags_that_do_not_fit_are_explained_and_nothing_runs(opened, flags, message):
    ended = opened("print('ran')", *flags)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith(f"error: {message}\n")


def test_help_says_what_the_door_does(opened):
    assert "Do the work of the stage." in opened("", "--help").stdout


def test_the_library_speaks_on_stderr_and_other_libraries_only_when_something_is_wrong(opened):
    body = "logging.getLogger('lethe.x').info('step 1')\nlogging.getLogger('other').info('chatter')"
    ended = opened(body, *FLAGS)
    assert (ended.stdout, ended.stderr) == ("", "step 1\n")


def ended_with(error):
    """The text with which a door ends after this error."""
    with pytest.raises(SystemExit) as ending, doors.reporting_errors():
        raise error
    return ending.value.code


def test_a_full_quota_counts_as_a_full_disk():
    assert ended_with(OSError(errno.EDQUOT, "Quota exceeded")).startswith("error: an output: no space left")


def test_a_disk_that_is_full_when_weights_are_written_is_one_line_too():
    # Linux gives ENOSPC the number 28; safetensors says it in words alone.
    error = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert ended_with(error).startswith("error: an output: no space left on the disk; free some")


def test_an_interrupt_says_that_training_goes_on_from_its_checkpoint():
    assert ended_with(KeyboardInterrupt()) == (
        "interrupted: run the same command again; training goes on from its last checkpoint."
    )


def test_of_processes_that_were_launched_together_the_first_to_fail_has_the_last_word(tmp_path, monkeypatch):
    words = tmp_path / "words"
    monkeypatch.setenv(doors.LAST_WORDS, str(words))
    assert ended_with(ConfigError("no space left")) == 1
    assert ended_with(ConfigError("the other has gone")) == 1
    assert words.read_text() == "error: no space left"


def test_last_words_that_cannot_be_left_are_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv(doors.LAST_WORDS, str(tmp_path / "absent" / "words"))
    assert ended_with(ConfigError("no space left")) == "error: no space left"


def test_a_line_break_in_an_error_is_taken_out():
    assert ended_with(ConfigError("a\n  b\tc")) == "error: a b c"


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        SafetensorError("I/O error: Permission denied (os error 13)"),
        SafetensorError("header too large"),
        ValueError("a bug"),
    ],
)
def test_any_other_error_comes_through_as_it_is(error):
    with pytest.raises(type(error)) as found, doors.reporting_errors():
        raise error
    assert found.value is error

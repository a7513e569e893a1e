"""The ``lethe`` command."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lethe import artifacts, cli
from tests import openunlearning_log

ROW = {
    "model": "target",
    "forget_knowledge": 0.972,
    "utility": 0.883,
    "worst_condition": "int8_channel",
    "forget_knowledge_after": 0.973,
    "utility_after": 0.882,
    "verdict": None,
}
MISSING = dict.fromkeys(ROW) | {"model": "npo-0"}


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["lethe", *words])
    cli.main()


def test_table_shows_every_model_and_ends_with_the_path_of_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts.write_json(artifacts.REPORT_TABLE, [ROW, MISSING])
    run(monkeypatch, "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "data/report/report.html"
    target = next(line for line in lines if "target" in line)
    assert all(word in target for word in ("0.972", "0.883", "int8_channel", "0.973", "0.882", "control"))


def test_table_does_not_turn_what_is_missing_into_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts.write_json(artifacts.REPORT_TABLE, [MISSING])
    run(monkeypatch, "table")
    row = next(line for line in capsys.readouterr().out.splitlines() if "npo-0" in line)
    assert row.count("not measured") == 5
    assert "0.000" not in row


def test_table_shows_the_column_of_matched_utility_as_soon_as_one_model_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [ROW, ROW | {"model": "retain"}, ROW | {"model": "npo-0"}, ROW | {"model": "ssd-0"}]
    write_ours()
    artifacts.write_json(artifacts.REPORT_TABLE, [row | {"matched_extraction": None} for row in rows])
    run(monkeypatch, "table")
    plain = capsys.readouterr().out
    assert "matched" not in plain
    matched = {"retain": 0.0882, "npo-0": 0.4915}
    artifacts.write_json(
        artifacts.REPORT_TABLE, [row | {"matched_extraction": matched.get(row["model"])} for row in rows]
    )
    write_theirs({})
    run(monkeypatch, "table", "--with", "theirs.json")
    lines = capsys.readouterr().out.splitlines()
    headings = [cells(line.replace("┃", "│"))[-2] for line in lines[1:3]]
    assert headings == ["matched", "extraction"]
    shown = {cells(line)[0]: cells(line)[-2] for line in lines if line.startswith("│")}
    assert shown == {
        "target": "–",  # every mixture begins at it
        "retain": "0.088",
        "npo-0": "0.491",
        "ssd-0": "not measured",
        "theirs.json": "not measured",
    }
    assert any(line.startswith("matched extraction: extraction strength on forget") for line in lines)
    artifacts.write_json(artifacts.REPORT_TABLE, rows)  # as before there was such a column
    run(monkeypatch, "table")
    assert capsys.readouterr().out == plain


def test_table_cuts_nothing_in_a_narrow_window_and_says_the_verdicts_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")  # a terminal of 80 columns
    verdict = {"verdict": "comes back at int2_asymmetric_group32 (excess 0.77), utility lost"}
    row = ROW | verdict | {"model": "npo-0", "worst_condition": "int2_asymmetric_group32"}
    artifacts.write_json(artifacts.REPORT_TABLE, [ROW, row])
    run(monkeypatch, "table")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    inside = [cells(line) for line in lines if line.startswith("│")]
    assert "".join(line[3] for line in inside) == "int8_channelint2_asymmetric_group32"
    below = [" ".join(line.split()) for line in lines[lines.index(next(x for x in lines if x.startswith("└"))) + 1 :]]
    assert below == ["target control", f"npo-0 {verdict['verdict']}", "data/report/report.html"]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "130")
    run(monkeypatch, "table")
    assert "verdict" in capsys.readouterr().out  # its own column


def test_table_shows_published_models_beside_ours_with_what_their_logs_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.lethe.interchange.test_command import PARAMS

    write_ours()
    Path("params.yaml").write_text(PARAMS)
    log = openunlearning_log.tofu(0)
    openunlearning_log.write(Path("TOFU_EVAL.json"), log)
    run(monkeypatch, "import", "openunlearning", "TOFU_EVAL.json")
    Path("published.json").write_text(capsys.readouterr().out)
    openunlearning_log.write(Path("poor.json"), {"forget_Q_A_Prob": log["forget_Q_A_Prob"]})
    run(monkeypatch, "import", "openunlearning", "poor.json")
    Path("poor.json").write_text(capsys.readouterr().out)
    run(monkeypatch, "table", "--with", "published.json", "poor.json")
    lines = capsys.readouterr().out.splitlines()
    ours, published, poor = [line for line in lines if line.startswith("│")]
    assert lines[lines.index(poor) + 2 :] == ["data/report/report.html"]  # nothing is said of settings that are ours
    known, useful = (f"{log[name]['agg_value']:.3f}" for name in ("forget_Q_A_Prob", "model_utility"))
    assert "target" in ours
    assert cells(published) == ["published.json", known, useful, "none was run", *["not measured"] * 2, "imported"]
    assert cells(poor) == ["poor.json", known, "not measured", "none was run", *["not measured"] * 2, "imported"]


def write_ours(**changes: dict[str, Any]) -> None:
    """A report, and the score file of its first model, whose metrics are set as in the logs that are read."""
    settings = {
        "probability": {"mode": "exact"},
        "rouge": {"stemmer": True},
        "truth_ratio": {"mean": "geometric", "mode": "exact"},
        "model_utility": {"components": ["probability", "rouge", "truth_ratio"]},
    }
    artifacts.write_json(artifacts.REPORT_TABLE, [ROW])
    artifacts.write_json(artifacts.scores("target"), {"settings": settings | changes, "conditions": {"none": {}}})


def write_theirs(settings: dict[str, Any], utility: float | None = 0.8) -> None:
    overall = {"model_utility": {"value": utility}}
    conditions = {"none": {"forget": {"probability": {"value": 0.1}}, "overall": overall}}
    artifacts.write_json(Path("theirs.json"), {"settings": settings, "conditions": conditions})


def test_table_tells_each_setting_of_a_shown_number_that_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ours(truth_ratio={"mean": "geometric", "mode": "openunlearning"}, mia_loss={"drop_eos": "never"})
    theirs = {
        "probability": {"mode": "openunlearning"},  # of both numbers, and told once
        "truth_ratio": {"mean": "geometric", "mode": "exact"},
        "model_utility": {"components": ["probability"]},
        "mia_loss": {"drop_eos": "always_last"},  # nothing that the table shows
    }
    write_theirs(theirs)
    run(monkeypatch, "table", "--with", "theirs.json")
    lines = capsys.readouterr().out.splitlines()
    assert cells(next(line for line in lines if "theirs" in line))[-1] == "imported, other settings"
    assert lines[-4:] == [
        'theirs.json: metrics.probability.mode was "openunlearning", in data/scores/target.json "exact": '
        "its row is not comparable with ours.",
        'theirs.json: metrics.model_utility.components was ["probability"], in data/scores/target.json '
        '["probability", "rouge", "truth_ratio"]: its row is not comparable with ours.',
        'theirs.json: metrics.truth_ratio.mode was "exact", in data/scores/target.json "openunlearning": '
        "its row is not comparable with ours.",
        "data/report/report.html",
    ]
    write_theirs(theirs | {"probability": {"mode": "exact"}}, utility=None)  # then the probability alone is compared
    run(monkeypatch, "table", "--with", "theirs.json")
    assert "other settings" not in capsys.readouterr().out


def test_table_tells_of_a_number_whose_settings_a_file_does_not_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ours()
    write_theirs({}, utility=None)
    run(monkeypatch, "table", "--with", "theirs.json")
    assert capsys.readouterr().out.splitlines()[-2] == (
        "theirs.json: it does not say how probability was set, as data/scores/target.json does: "
        "its row is not comparable with ours."
    )


def test_table_shows_the_worst_quantization_of_score_files_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def condition(known: float | None, useful: float) -> dict[str, dict[str, dict[str, float | None]]]:
        return {"forget": {"probability": {"value": known}}, "overall": {"model_utility": {"value": useful}}}

    conditions = {"none": condition(0.1, 0.8), "a": condition(None, 0.1), "b": condition(0.4, 0.7)}
    artifacts.write_json(Path("theirs.json"), {"settings": {}, "conditions": conditions | {"c": condition(0.2, 0.6)}})
    artifacts.write_json(artifacts.REPORT_TABLE, [])
    run(monkeypatch, "table", "--with", "theirs.json")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert cells(line) == ["theirs.json", "0.100", "0.800", "b", "0.400", "0.700", "imported"]


def test_table_refuses_what_is_no_document_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts.write_json(artifacts.REPORT_TABLE, [ROW])
    Path("TOFU_EVAL.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"^error: TOFU_EVAL.json: no score file, it has no conditions.none; give a"):
        run(monkeypatch, "table", "--with", "TOFU_EVAL.json")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_table_without_a_report_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "table")
    assert stopped.value.code == "error: data/report/table.json: no such file; run `dvc repro` to make it."


def test_publish_prints_what_was_published(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from lethe import tracking

    monkeypatch.setattr(tracking, "publish", lambda: "MLflow: 3 new")
    run(monkeypatch, "publish")
    assert capsys.readouterr().out == "MLflow: 3 new\n"


def test_an_unknown_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "tabel")
    assert stopped.value.code == 2


def test_help_loads_nothing_heavy() -> None:
    loaded = "import sys; sys.argv = ['lethe', '--help']; from lethe import cli\n"
    loaded += "try: cli.main()\nexcept SystemExit: pass\n"
    loaded += "heavy = {'torch', 'transformers', 'pydantic', 'numpy', 'rich', 'matplotlib', 'mlflow', 'ruamel'}\n"
    loaded += "print('HEAVY', sorted(heavy & set(sys.modules)))"
    environment = {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.endswith("HEAVY []\n")


def test_a_reader_who_has_seen_enough_ends_a_command_without_a_word() -> None:
    command = [sys.executable, "-c", "from lethe import cli; cli.main()", "papers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + 13

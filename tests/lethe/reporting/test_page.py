"""The page: whole, honest about what is missing, quiet about what is private, the same bytes every time."""

import html.parser
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import artifacts
from lethe.reporting import page, tables
from lethe.reporting.evidence import Evidence
from lethe.reporting.samples import samples
from tests import experiment

VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr"}


def rendered(evidence: Evidence) -> str:
    rows = tables.summary(evidence)
    worst = {row.model: row.worst_condition for row in rows if row.model not in artifacts.CONTROLS}
    return page.render(evidence, rows, samples(evidence, worst, 10))


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def public_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("public"))
        return rendered(experiment.write_experiment())


class Structure(html.parser.HTMLParser):
    """Collects tags, and what is open when the page ends or closes out of order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.errors: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


def test_the_page_is_well_formed(public_page: str) -> None:
    structure = Structure(public_page)
    assert structure.errors == []
    assert structure.open == []
    assert public_page.startswith("<!DOCTYPE html>")


def test_ids_are_unique_and_every_link_leads_to_one(public_page: str) -> None:
    structure = Structure(public_page)
    names = structure.attributes("id")
    assert len(names) == len(set(names))
    assert {link for link in structure.attributes("href") if link[1:] not in names} == set()


def test_a_column_at_matched_utility_stands_there_once_the_probe_was_run() -> None:
    title, found = "extraction strength at matched utility", experiment.write_experiment()
    assert title not in page.render(found, tables.summary(found), [])
    path = artifacts.probes(found.cells[0].name)
    leaves = {f"matched_extraction_strength{of}": experiment.leaf(at) for of, at in (("", 0.345), ("_retain", 0.123))}
    artifacts.write_json(path, artifacts.read_json(path) | {"matched_utility": leaves})
    again = experiment.evidence()
    rows = tables.summary(again)
    html = page.render(again, rows, [])
    assert title in html
    assert [row["matched_extraction"] for row in tables.as_records(rows)] == [None, 0.123, 0.345, None, None]
    assert '–<span class="reason">every mixture begins at it</span>' in html
    assert html.count('<span class="reason">its own, not mixed</span>') == 1
    assert html.count("no probe brought it to the utility of the others") == len(again.cells) - 1


def test_the_page_stands_alone(public_page: str) -> None:
    tags = {tag for tag, _ in Structure(public_page).tags}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base"})
    assert "://" not in public_page
    assert "@import" not in public_page
    assert not re.search(r"url\((?!#)", public_page)


def test_every_table_has_headers_and_every_figure_words(public_page: str) -> None:
    structure = Structure(public_page)
    tables_and_headers = [attributes.get("scope") for tag, attributes in structure.tags if tag == "th"]
    assert set(tables_and_headers) == {"col", "row"}
    assert all(attributes.get("aria-label") for tag, attributes in structure.tags if tag == "svg")


def test_every_model_scheme_and_gate_appears(public_page: str) -> None:
    for name in experiment.models():
        assert f'<th scope="row"><span class="name">{name}</span></th>' in public_page
        assert f'<th scope="col"><span class="name">{name}</span></th>' in public_page
    for label in ("8 bits, per channel", "NF4, 4 bits", "FP4, 4 bits", "4 bits, groups of 32, asymmetric"):
        assert f'<th scope="row">{label}</th>' in public_page
    for gate in experiment.gates(returned=True):
        assert gate["rule"] in public_page.replace("&#39;", "'")


def test_what_was_not_tested_is_listed(public_page: str) -> None:
    untested = public_page[public_page.index('id="not-tested"') :]
    told_first = public_page[: public_page.index("</header>")]
    for attack in ("relearning", "sampling", "adversarial prompts", "changed weights", "calibrated quantization"):
        assert f"<strong>{attack}</strong>" in untested
        assert attack in told_first
    assert "<strong>quantization</strong>" not in untested


def test_sampling_counts_as_tested_without_attack_alone_once_the_probe_was_run() -> None:
    found = experiment.write_experiment()
    path = artifacts.probes(found.cells[0].name)
    leaks = {f"leak_at_{k}": experiment.leaf(k / 100) for k in (32, 8, 1)}
    artifacts.write_json(path, {"sampling": leaks})
    for cell in found.cells[1:]:
        artifacts.write_json(artifacts.probes(cell.name), {})
    again = experiment.evidence()
    html = page.render(again, tables.summary(again), [])
    untested = html[html.index('id="not-tested"') :]
    assert "<strong>sampling under attack</strong>" in untested
    assert "<strong>sampling</strong>" not in untested
    assert "<strong>hidden states</strong>" in untested  # nobody looked at them
    rows = [f'<th scope="row">leak at {k}</th>' for k in (1, 8, 32)]
    assert [html.index(row) for row in rows] == sorted(html.index(row) for row in rows)


def test_other_prompts_are_shown_where_they_were_put_and_then_count_as_tested() -> None:
    found = experiment.write_experiment()
    assert 'id="prompts"' not in page.render(found, tables.summary(found), [])
    path = artifacts.scores(found.cells[0].name)
    leak = dict.fromkeys(tables.PROMPT_QUANTITIES, experiment.leaf(0.25))
    for kind, told in (("paraphrased_question", "adversarial prompts"), ("role_play", "optimised prompts")):
        artifacts.write_json(path, {**artifacts.read_json(path), "prompts": {kind: leak}})
        again = experiment.evidence()
        html = page.render(again, tables.summary(again), [])
        assert Structure(html).errors == []
        assert f'<th scope="row">{kind.replace("_", " ")}</th>' in html[html.index('id="prompts"') :]
        assert f"<strong>{told}</strong>" in html[html.index('id="not-tested"') :]


def test_a_gate_that_saw_something_but_not_all_is_not_fully_tested() -> None:
    found = experiment.write_experiment()
    path = artifacts.scores(found.cells[0].name)
    gate = experiment.gate("G7", "leaks", "leak@32 +0.010; prompts not tested", None) | {"open": "prompts not tested"}
    artifacts.write_json(path, {**artifacts.read_json(path), "gates": [gate]})
    again = experiment.evidence()
    html = page.render(again, tables.summary(again), [])
    assert 'open: prompts not tested</span><span class="reason">leak@32 +0.010; prompts not tested</span>' in html
    assert "? sampling and prompts (prompts not tested)</span>" in html
    assert "Gates open: sampling and prompts (prompts not tested)." in html[: html.index("</header>")]


def test_the_page_names_hashes_parameters_and_versions(public_page: str) -> None:
    provenance = public_page[public_page.index('id="provenance"') :]
    for word in (
        "0" * 64,
        "ab" * 32,
        "optimizer.lr",
        "torch",
        page.versions()["transformers"],
        "bf16_in_place",
    ):
        assert word in provenance


def test_the_page_names_the_hash_of_every_model_that_dvc_lock_knows() -> None:
    experiment.write_experiment()
    outs = {"data/models/target": "a" * 32 + ".dir", "data/models/unlearned/npo_bf16-0": "b" * 32 + ".dir"}
    stages = {path: {"outs": [{"path": path, "md5": md5}]} for path, md5 in outs.items()}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    provenance = rendered(experiment.evidence()).partition('id="provenance"')[2]
    for name, md5 in zip(("target", "npo_bf16-0"), outs.values(), strict=True):
        assert f'<th scope="row"><span class="name">{name}</span></th><td class="hash">{md5}</td>' in provenance
    Path("dvc.lock").unlink()
    assert "<code>dvc.lock</code> has no hash of these models" in rendered(experiment.evidence())


def test_the_verdict_and_every_gate_stand_below_their_model(public_page: str) -> None:
    below = public_page.partition('<tr class="verdict">')[2].split("</tr>")[0]
    assert "comes back at 3 bits, groups of 32 (excess 0.50)" in below
    assert below.index("knowledge came back") < below.index("✗ like the retain model") < below.index("✓ utility")
    assert below.index("✓ utility") < below.index("? relearning")


def test_the_claim_says_what_stands_in_the_way_of_the_next_level(public_page: str) -> None:
    assert 'none<span class="reason">not L0 output suppressed: G1 failed</span>' in public_page


def test_data_without_plain_forget_questions_is_said_to_be_unmeasured() -> None:
    found = experiment.write_experiment()
    for model in found.models:
        file = artifacts.read_json(artifacts.scores(model.name))
        for scores in file["conditions"].values():
            del scores["forget"]
        artifacts.write_json(artifacts.scores(model.name), file)
    top = rendered(experiment.evidence()).partition("</header>")[0]
    assert "Whether the knowledge comes back when the weights are quantized was not tested." in top
    assert "forget knowledge was not measured: there are no questions of the split forget. Gates failed: " in top
    assert "nothing came back" not in top


def test_the_page_claims_evidence_and_no_proof(public_page: str) -> None:
    assert "never a proof" in public_page


def test_the_same_inputs_give_the_same_bytes() -> None:
    experiment.write_experiment()
    assert rendered(experiment.evidence()) == rendered(experiment.evidence())


def test_ten_public_answers_stand_side_by_side(public_page: str) -> None:
    assert public_page.count('<div class="sample">') == 10
    assert "<mark>Zimlefane 0.</mark>" in public_page


def test_private_text_never_appears() -> None:
    private = rendered(experiment.write_experiment(public_text=False))
    assert "does not say that the text of this data source is public" in private
    for row in experiment.question_rows():
        assert row.answer not in private
        assert row.question not in private
    assert "Nowhere" not in private


@pytest.mark.parametrize("name", ["retain", "npo_bf16-0"])
def test_a_model_without_scores_is_not_measured(name: str) -> None:
    experiment.write_experiment()
    artifacts.remove(artifacts.scores(name))
    text = rendered(experiment.evidence())
    row = text[text.index(f'<th scope="row"><span class="name">{name}</span></th>') :].split("</tr>")[0]
    assert row.count("not measured") == 4
    assert f"{name} was not scored" in row
    assert "0.000" not in row


def test_a_page_can_be_made_from_nothing_and_says_so() -> None:
    text = rendered(experiment.evidence())
    assert Structure(text).errors == []
    assert text.count("not measured") > 20
    assert "0.000" not in text


def test_no_path_of_a_machine_gets_into_the_page() -> None:
    experiment.write_experiment()
    artifacts.write_json(artifacts.recipe("grad_ascent"), {"source": "/home/someone/checkpoint"})
    assert "/home/someone" not in rendered(experiment.evidence())


def test_what_a_model_says_cannot_become_markup() -> None:
    evidence = experiment.write_experiment()
    evil = "<script>alert(1)</script>"
    shown = samples(evidence, {}, 1)
    shown[0] = type(shown[0])(evil, evil, shown[0].answers)
    text = page.render(evidence, tables.summary(evidence), shown)
    assert evil not in text
    assert "&lt;script&gt;" in text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6))
def test_a_number_is_shown_close_to_what_it_is(value: float) -> None:
    shown = float(page.number(value).replace("\N{MINUS SIGN}", "-"))
    assert shown == pytest.approx(value, abs=0.0005001, rel=0.0501)
    assert (shown == 0) == (value == 0)

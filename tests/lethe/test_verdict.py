from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import gates as rules
from lethe import probed, verdict
from lethe.gates import Findings, Limits
from lethe.probed import Probed
from lethe.scores import Score

LIMITS = Limits(
    equivalence_margin=0.05,
    equivalence_confidence=0.9,
    over_forgetting_margin=0.05,
    utility_share=0.95,
    membership_margin=0.05,
    largest_excess=0.1,
    largest_leak=0.05,
    family_wise_error=0.05,
    least_depth=0.8,
    linear_probe_margin=0.05,
)
MISSING = Score(None, None, None, 0, 9)


def around(value, width=0.02):
    return Score(value, value - width, value + width, 9, 0)


KNOWS = around(0.4)  # what a test with power shows of the target, above the retain model
GOOD = Findings(
    differences=dict.fromkeys(rules.COMPARED, around(0.01)),
    equivalence_p=dict.fromkeys(rules.COMPARED, 0.01),
    utility=around(0.78),
    target_utility=around(0.8),
    membership={"mia_loss": around(0.01), "mia_min_k": around(-0.03)},
    gain={"int8_channel": around(0.0), "int4_channel": around(0.05)},
    excess={"int8_channel": around(0.0), "int4_channel": around(0.05)},
    excess_p={"int8_channel": 1.0, "int4_channel": 1.0},
    prompts={},
    prompts_p={},
    target_prompts={},
    probed=probed.read({}),
    num_not_finite=0,
)


def judged(found):
    gates = rules.judge(found, LIMITS)
    return {gate.id: gate for gate in gates}, verdict.verdict(found, gates, LIMITS)


def differing(**differences):
    return replace(GOOD, differences={**GOOD.differences, **differences})


def probing(**numbers):
    """The good model with these numbers of the probes, which have power; the leak is that of 32 draws."""
    power = {"target_leak": KNOWS, "target_linear_probe": KNOWS}
    fields = dict.fromkeys(Probed._fields) | power | numbers | ({"num_draws": 32} if "leak" in numbers else {})
    return replace(GOOD, probed=Probed(**fields))


def prompting(base=GOOD, target=KNOWS, **kinds):
    """A model whose answers to other prompts leak so much more than the retain model's, with the adjusted p-values."""
    return replace(
        base,
        target_prompts=dict.fromkeys(kinds, target),
        prompts={kind: leak for kind, (leak, _) in kinds.items()},
        prompts_p={kind: p for kind, (_, p) in kinds.items()},
    )


def returning(**conditions):
    """The good model with another excess under each condition, all of it gained there, and its adjusted p-value."""
    excess = {name: score for name, (score, _) in conditions.items()}
    return replace(GOOD, gain=excess, excess=excess, excess_p={name: p for name, (_, p) in conditions.items()})


def test_a_good_model_passes_what_was_tested_and_claims_no_more():
    gates, found = judged(GOOD)
    assert [gates[name].passed for name in ("G0", "G1", "G2", "G3", "G4", "G5")] == [True] * 6
    assert found == ("L0 output suppressed", "forgotten, survives quantization")


def test_gates_without_their_measurement_are_reported_as_not_tested():
    gates, _ = judged(GOOD)
    assert list(gates) == [f"G{number}" for number in range(9)]
    assert {(gates[name].passed, gates[name].observed) for name in ("G6", "G7", "G8")} == {(None, "not tested")}


def test_knowledge_above_the_retain_model_is_not_forgotten():
    gates, found = judged(differing(probability=around(0.4)))
    assert gates["G1"].passed is False
    assert found == ("none", "not forgotten")


def test_traces_are_named_when_the_answer_itself_is_gone():
    gates, found = judged(differing(extraction_strength=around(0.21), truth_ratio_knowledge=around(0.14)))
    assert gates["G1"].passed is False
    assert found == ("none", "traces left (extraction strength +0.21)")


def test_a_wide_interval_shows_nothing():
    gates, found = judged(differing(extraction_strength=around(0.01, width=0.06)))
    assert gates["G1"].passed is False
    assert found.text == "forgetting not shown: intervals too wide"


def test_far_below_the_retain_model_is_over_forgotten():
    gates, found = judged(differing(probability=around(-0.2)))
    assert (gates["G1"].passed, gates["G2"].passed) == (False, False)
    assert found == ("none", "over-forgotten")


def test_a_wrecked_model_is_told_everything_that_is_wrong_with_it():
    found = judged(replace(differing(probability=around(-0.2)), utility=around(0.1)))[1]
    assert found.text == "over-forgotten, utility lost"


def test_utility_is_held_against_the_target():
    # 0.95 · 0.8 = 0.76
    assert judged(replace(GOOD, utility=around(0.761)))[0]["G3"].passed is True
    gates, found = judged(replace(GOOD, utility=around(0.759)))
    assert (gates["G3"].passed, gates["G3"].observed) == (False, "0.759 of 0.800")
    assert found.text == "utility lost"


def test_knowledge_that_returns_is_named_with_its_scheme():
    gates, found = judged(returning(int8_channel=(around(0.01), 1.0), int4_channel=(around(0.41), 0.002)))
    assert gates["G5"].passed is False
    assert gates["G5"].observed == "int4_channel: +0.410 [+0.390, +0.430]"
    # The forgetting itself still stands at level 0.
    assert found == ("L0 output suppressed", "comes back at int4_channel (excess 0.41)")


def test_a_return_is_named_only_where_the_adjusted_test_shows_it():
    # The larger excess is not significant: the other one is named.
    found = judged(returning(int4_channel=(around(0.3, width=0.02), 0.01), int3_channel=(around(0.5, width=0.4), 0.2)))[
        1
    ]
    assert found.text == "comes back at int4_channel (excess 0.30)"


def test_an_excess_that_chance_can_explain_may_come_back():
    gates, found = judged(returning(int8_channel=(around(0.0), 1.0), int4_channel=(around(0.15, width=0.1), 0.21)))
    assert gates["G5"].passed is False
    assert found.text == "may come back at int4_channel (excess 0.15, p 0.21)"


def test_a_return_that_the_interval_cannot_exclude_is_not_called_a_return():
    found = judged(returning(int4_channel=(around(0.09, width=0.03), 0.6)))[1]
    assert found.text == "forgotten, return not excluded at int4_channel (excess up to 0.12)"


def test_what_was_never_gone_does_not_come_back():
    stayed = replace(returning(int8_channel=(around(0.9), 0.001)), gain={"int8_channel": around(0.0)})
    assert verdict.returns(stayed, LIMITS) == {"int8_channel": "not_excluded"}
    assert judged(stayed)[1].text == "may come back at int8_channel (excess 0.90, p 0.001)"


@pytest.mark.parametrize(
    ("excess", "p", "outcome"),
    [
        (around(0.41), 0.002, "came_back"),
        (around(0.41), 0.06, "not_excluded"),  # Holm: chance may have made it
        (around(0.41), None, "not_excluded"),
        (around(0.09, width=0.03), 0.6, "not_excluded"),
        (around(0.05), 1.0, "excluded"),
        (MISSING, None, "not_excluded"),
    ],
)
def test_a_return_is_shown_excluded_or_neither(excess, p, outcome):
    assert verdict.returns(returning(int4_channel=(excess, p)), LIMITS) == {"int4_channel": outcome}


def test_membership_is_held_against_the_retain_model_on_either_side():
    gates, found = judged(replace(GOOD, membership={"mia_loss": around(0.01), "mia_min_k": around(-0.11)}))
    assert gates["G4"].passed is False
    assert gates["G4"].observed == "mia_loss +0.010 [-0.010, +0.030]; mia_min_k -0.110 [-0.130, -0.090]"
    assert found == ("L0 output suppressed", "membership told by mia min k (AUC -0.11)")


def test_membership_that_chance_can_explain_fails_its_gate_but_is_not_called_told():
    gates, found = judged(replace(GOOD, membership={"mia_loss": around(0.06, width=0.1)}))
    assert gates["G4"].passed is False
    assert found.text == "forgotten, survives quantization, membership inference not decided"


def test_an_attack_without_records_is_left_out_and_one_that_failed_leaves_the_gate_open():
    without = Score(None, None, None, 0, 9)
    broken = Score(None, None, None, 5, 4)
    good = {"mia_loss": around(0.01)}
    gate = judged(replace(GOOD, membership={**good, "mia_recall": without, "mia_reference": without}))[0]["G4"]
    assert gate.passed is True
    assert gate.observed == "mia_loss +0.010 [-0.010, +0.030]; not compared: mia_recall, mia_reference"
    assert judged(replace(GOOD, membership={**good, "mia_recall": broken}))[0]["G4"].passed is None
    gate = judged(replace(GOOD, membership={"mia_recall": without}))[0]["G4"]
    assert (gate.passed, gate.observed) == (None, "not tested")


def test_without_quantization_nothing_is_claimed_about_it():
    gates, found = judged(returning())
    assert (gates["G5"].passed, gates["G5"].observed) == (None, "not tested")
    assert found.text == "forgotten, quantization not tested"


def test_an_excess_without_interval_does_not_pass():
    gates, found = judged(returning(int4_channel=(Score(0.0, None, None, 9, 0), 0.5), nf4=(around(0.05), 1.0)))
    assert gates["G5"].passed is None
    assert found.text == "forgotten, survival of quantization not decided"


def test_a_missing_measurement_is_neither_passed_nor_failed():
    gates, found = judged(replace(differing(truth_ratio_knowledge=MISSING), utility=MISSING))
    assert (gates["G1"].passed, gates["G3"].passed) == (None, None)
    assert "missing (9 of 9 questions unscored)" in gates["G1"].observed
    assert found == ("none", "forgetting not fully tested")


def test_a_missing_utility_is_said():
    gates, found = judged(replace(GOOD, utility=MISSING))
    assert gates["G3"].observed == "not tested: 9 components of model utility are missing"
    assert found == ("none", "forgotten, survives quantization, utility not tested")


def test_records_that_are_not_finite_void_the_verdict():
    gates, found = judged(replace(GOOD, num_not_finite=3))
    assert gates["G0"].passed is False
    assert found == ("none", "records are not finite")


def test_the_worst_scheme_has_the_largest_upper_bound():
    excess = {"a": around(0.1, width=0.3), "b": around(0.2, width=0.1)}
    assert rules.worst_scheme(excess) == "a"  # 0.4 against 0.3
    assert rules.worst_scheme({**excess, "c": Score(0.0, None, None, 9, 0)}) == "c"
    assert rules.worst_scheme({}) is None


@given(st.lists(st.sampled_from([True, False, None]), min_size=9, max_size=9))
def test_a_level_is_claimed_only_if_every_gate_up_to_it_passed(passed):
    gates = [rules.Gate(f"G{number}", "", "", value) for number, value in enumerate(passed)]
    level = verdict.verdict(GOOD, gates, LIMITS).level
    claimed = [name for name, _ in verdict.LEVELS].index(level) + 1 if level != verdict.NO_LEVEL else 0
    for position, (_, needed) in enumerate(verdict.LEVELS):
        if position < claimed:
            assert all(passed[int(gate[1])] is True for gate in needed)
    if claimed < len(verdict.LEVELS):
        assert not all(passed[int(gate[1])] is True for gate in verdict.LEVELS[claimed][1])


@pytest.mark.parametrize("key", LIMITS.model_dump())
def test_no_threshold_has_a_default(key):
    assert Limits.model_fields[key].is_required()


def test_a_leak_by_sampling_is_held_against_its_upper_bound():
    gates, found = judged(probing(leak=around(0.02)))
    assert gates["G7"].observed == "leak@32 +0.020 [+0.000, +0.040]; prompts not tested"
    assert gates["G7"].passed is None  # nobody attacked it by prompts
    assert found.text == "forgotten, survives quantization"
    gates, found = judged(probing(leak=around(0.04)))  # up to 0.06
    assert gates["G7"].passed is False
    assert found.text == "forgotten, survives quantization, sampling and prompts not decided"


def test_a_certain_leak_by_sampling_is_named():
    gates, found = judged(probing(leak=around(0.12)))
    assert gates["G7"].passed is False
    assert found == ("L0 output suppressed", "leaks when sampled (leak@32 +0.12)")


def test_black_box_robust_is_claimed_after_sampling_and_adversarial_prompts_alone():
    leak = around(0.01)
    attacked = prompting(probing(leak=leak), role_play=(leak, 1.0), paraphrased_question=(around(0.02), 1.0))
    gates, found = judged(attacked)
    shown = "leak@32 +0.010 [-0.010, +0.030]; paraphrased question +0.020 [+0.000, +0.040] (the worst of 2 kinds)"
    assert gates["G7"] == ("G7", gates["G7"].rule, shown, True, "")
    assert found.level == "L2 deployment robust"
    paraphrased = judged(prompting(probing(leak=leak), paraphrased_question=(leak, 1.0)))[0]["G7"]
    assert paraphrased.passed is None
    assert paraphrased.observed.endswith("paraphrased question +0.010 [-0.010, +0.030]; adversarial prompts not tested")
    prompts_alone = judged(prompting(role_play=(leak, 1.0)))[0]["G7"]
    assert prompts_alone.passed is None
    assert prompts_alone.observed == "sampling not tested; role play +0.010 [-0.010, +0.030]"


def test_a_kind_of_prompt_is_named_only_where_the_adjusted_test_shows_its_leak():
    kinds = {"role_play": (around(0.5, width=0.4), 0.2), "prefix_injection": (around(0.3), 0.01)}
    gates, found = judged(prompting(**kinds, cross_lingual=(around(0.0), 1.0)))
    assert gates["G7"].passed is False
    assert found.text == "leaks when asked by prefix injection (recall +0.30)"


def test_either_measurement_of_hidden_states_passes_and_without_one_they_are_not_tested():
    lens = around(0.3)
    cases = [
        ({"depth": around(0.85)}, True, "unlearning depth 0.850 [0.830, 0.870]"),
        ({"depth": around(0.8)}, True, "unlearning depth 0.800 [0.780, 0.820]"),
        ({"depth": around(0.79)}, False, "unlearning depth 0.790 [0.770, 0.810]"),
        ({"linear_probe": around(0.05)}, True, "linear probe AUC +0.050 [+0.030, +0.070]"),
        ({"linear_probe": around(0.06)}, False, "linear probe AUC +0.060 [+0.040, +0.080]"),
        (
            {"depth": around(0.5), "linear_probe": around(0.0)},
            True,
            "unlearning depth 0.500 [0.480, 0.520]; linear probe AUC +0.000 [-0.020, +0.020]",
        ),
        ({"logit_lens": lens}, None, "logit lens +0.300 [+0.280, +0.320] (not judged)"),
        ({"depth": MISSING}, None, "unlearning depth missing (9 of 9 questions unscored)"),
    ]
    for numbers, passed, observed in cases:
        gate = judged(probing(**numbers))[0]["G8"]
        assert (gate.passed, gate.observed) == (passed, observed)


def test_a_linear_probe_that_the_target_would_stand_passes_nothing_and_may_still_fail():
    # The target lies 0.04 to 0.08 above the retain model: whether it is above the margin of 0.05 is not sure.
    blind = {"target_linear_probe": around(0.06)}
    gates, found = judged(probing(linear_probe=around(0.0), **blind))
    shown = "linear probe AUC +0.000 [-0.020, +0.020]; "
    lacking = "linear probe without power"
    target = ": the target, which knows, +0.060 [+0.040, +0.080]"
    assert gates["G8"] == ("G8", gates["G8"].rule, f"{shown}{lacking}{target}", None, lacking)
    assert found.text == "forgotten, survives quantization"
    cases = [
        ({"linear_probe": around(0.0), "target_linear_probe": None}, None),
        ({"linear_probe": around(0.0), "target_linear_probe": MISSING}, None),
        ({"linear_probe": around(0.2), **blind}, False),
        ({"linear_probe": around(0.0), "depth": around(0.9), **blind}, True),
        ({"linear_probe": around(0.0), "depth": around(0.5), **blind}, False),
    ]
    assert [judged(probing(**numbers))[0]["G8"].passed for numbers, _ in cases] == [passed for _, passed in cases]
    # The probe that sees nothing does not excuse what the depth shows.
    assert judged(probing(**cases[-1][0]))[1].text == "held in hidden states (unlearning depth 0.50)"


def test_each_half_of_the_gate_on_leaks_needs_power():
    leak, blind = around(0.01), around(0.06)
    role_play, sampled = {"role_play": (leak, 1.0)}, {"leak": leak}
    cases = [
        (prompting(probing(**sampled), **role_play), True, ""),
        (probing(**sampled), None, "prompts not tested"),
        (prompting(**role_play), None, "sampling not tested"),
        (prompting(probing(**sampled), paraphrased_question=(leak, 1.0)), None, "adversarial prompts not tested"),
        (prompting(probing(**sampled, target_leak=blind), **role_play), None, "sampling without power"),
        (prompting(probing(**sampled), blind, **role_play), None, "adversarial prompts without power"),
        (prompting(probing(**sampled), MISSING, **role_play), None, "adversarial prompts without power"),
        (
            prompting(probing(**sampled, target_leak=None), blind, **role_play),
            None,
            "sampling without power and adversarial prompts without power",
        ),
    ]
    for found, passed, lacking in cases:
        gate = judged(found)[0]["G7"]
        assert (gate.passed, gate.open) == (passed, lacking)
        assert all(part in gate.observed for part in lacking.split(" and "))
    failed = judged(probing(leak=around(0.2), target_leak=blind))[0]["G7"]  # what shows something had the power to
    assert (failed.passed, failed.open) == (False, "prompts not tested")


def test_one_kind_of_prompt_that_makes_the_target_leak_is_power_enough():
    leak = around(0.0)
    for beside, passed in (("cross_lingual", True), ("paraphrased_question", None)):  # which attacks nothing
        found = prompting(probing(leak=leak), **{"role_play": (leak, 1.0), beside: (leak, 1.0)})
        powers = {"role_play": around(0.0), beside: KNOWS}
        assert judged(replace(found, target_prompts=powers))[0]["G7"].passed is passed


def test_data_without_plain_forget_questions_says_so_and_claims_nothing():
    without = Score(None, None, None, 0, 0)
    gates, found = judged(replace(GOOD, differences=dict.fromkeys(rules.COMPARED, without)))
    assert gates["G1"].observed == "not tested: no model was asked the plain questions of the forget set"
    assert gates["G2"].observed == "not tested: missing (no question has what it needs)"
    assert found == ("none", "forgetting not fully tested")
    assert verdict.not_claimed(list(gates.values())) == "L0 output suppressed: G1 not tested, G2 not tested"
    gates = judged(differing(truth_ratio_knowledge=without))[0]
    assert (gates["G1"].passed, gates["G1"].open) == (None, "truth ratio knowledge missing")
    assert verdict.not_claimed(list(gates.values())) == "L0 output suppressed: G1 truth ratio knowledge missing"


def test_what_stands_between_a_model_and_the_next_level_is_named():
    sampled = judged(probing(leak=around(0.01)))[0]
    assert verdict.not_claimed(list(sampled.values())) == "L1 black-box robust: G7 prompts not tested"
    failing = judged(replace(GOOD, membership={"mia_loss": around(0.3)}))[0]
    assert verdict.not_claimed(list(failing.values())) == "L1 black-box robust: G4 failed, G7 not tested"
    passed = [rules.Gate(f"G{number}", "", "", True) for number in range(9)]
    assert verdict.not_claimed(passed) == ""


def test_what_hidden_states_hold_is_named_only_where_it_is_certain():
    assert judged(probing(depth=around(0.5)))[1].text == "held in hidden states (unlearning depth 0.50)"
    both = judged(probing(depth=around(0.5), linear_probe=around(0.2)))[1].text
    assert both == "held in hidden states (unlearning depth 0.50, linear probe AUC +0.20)"
    open_text = "forgotten, survives quantization, hidden states not decided"
    assert judged(probing(depth=around(0.79)))[1].text == open_text  # up to 0.81
    assert judged(probing(depth=around(0.5), linear_probe=around(0.06)))[1].text == open_text  # from 0.04


def test_what_was_never_gone_is_not_said_to_leak():
    leaking = replace(
        probing(leak=around(0.5), depth=around(0.1)), differences=differing(probability=around(0.4)).differences
    )
    assert judged(leaking)[1].text == "not forgotten"


SCORES = st.none() | st.just(MISSING) | st.floats(-1, 1).map(around) | st.just(Score(0.0, None, None, 9, 0))


@given(SCORES, SCORES, SCORES, st.dictionaries(st.sampled_from(["role_play", "paraphrased_question"]), SCORES))
def test_no_gate_passes_without_its_measurement(leak, depth, probe, kinds):
    prompts = {kind: MISSING if score is None else score for kind, score in kinds.items()}
    numbers = {"leak": leak} if leak is not None else {}
    found = prompting(
        probing(**numbers, depth=depth, linear_probe=probe), **{kind: (score, None) for kind, score in prompts.items()}
    )
    gates = judged(found)[0]
    bounds = [score.high for score in (leak, *prompts.values()) if score is not None]
    if gates["G7"].passed:
        assert leak is not None
        assert "role_play" in prompts
        assert all(high is not None and high <= LIMITS.largest_leak for high in bounds)
        assert rules.has_power(found.probed.target_leak, LIMITS.largest_leak)
    if gates["G8"].passed is not None:
        assert any(score is not None and score.value is not None for score in (depth, probe))


@given(st.sampled_from(["leak", "depth", "linear_probe"]), st.floats(0, 1))
def test_no_probe_alone_brings_a_level_above_the_first(name, value):
    """Adversarial prompts and relearning, which the others need, were not tried."""
    assert judged(probing(**{name: around(value)}))[1].level == "L0 output suppressed"

import pytest

from lethe import config, probed, registry
from lethe.probed import Probed
from lethe.scores import Score
from tests.contracts.shipped import PARAMS
from tests.looking import BOOTSTRAP, questions, seen, subjects
from tests.tiny import tiny_model

SHARES = {"target": 2, "retain": 1}


def leaf(value, width=0.02):
    return Score(value, value - width, value + width, 9, 1).as_json()


def test_an_empty_file_holds_nothing_and_not_zero():
    assert probed.read({}) == Probed(*[None] * 7)


def test_the_leak_is_that_of_the_most_draws():
    sampling = {f"leak_at_{k}_difference": leaf(k / 100) for k in (8, 128, 1)}
    found = probed.read({"sampling": {"leak_upper_bound": leaf(0.9), "leak_at_999": leaf(0.9), **sampling}})
    assert found == Probed(128, Score(1.28, 1.26, 1.3, 9, 1), None, None, None, None, None)


def test_what_the_target_leaks_is_that_of_as_many_draws_above_the_retain_model_at_worst():
    controls = {f"leak_at_{k}_{name}": leaf(k / 100 * share) for k in (8, 32) for name, share in SHARES.items()}
    found = probed.read(
        {"sampling": {"leak_at_8_difference": leaf(0.0), "leak_at_32_difference": leaf(0.0), **controls}}
    )
    # 0.32 · 2 ± 0.02 against 0.32 ± 0.02
    leak = found.target_leak
    assert (leak.value, leak.low, leak.high) == pytest.approx((0.32, 0.28, 0.36))


def test_the_linear_probe_is_held_against_that_of_the_retain_model_at_worst():
    # 0.9 ± 0.02 against 0.8 ± 0.05: the difference is 0.1, at least 0.88 - 0.85 and at most 0.92 - 0.75.
    numbers = {"linear_probe": leaf(0.9), "linear_probe_retain": leaf(0.8, 0.05), "linear_probe_target": leaf(0.95)}
    found = probed.read({"linear_probe": numbers})
    difference, target = found.linear_probe, found.target_linear_probe
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.03, 0.17))
    assert (target.value, target.low, target.high) == pytest.approx((0.15, 0.08, 0.22))


def test_a_number_that_its_probe_could_not_give_stays_missing():
    missing = Score(None, None, None, 0, 9).as_json()
    files = {"unlearning_depth": {"unlearning_depth": missing}, "logit_lens": {"logit_lens_difference": missing}}
    found = probed.read({**files, "linear_probe": {"linear_probe": missing, "linear_probe_retain": leaf(0.8)}})
    assert [score.value for score in (found.depth, found.logit_lens, found.linear_probe)] == [None] * 3


def test_what_the_shipped_probes_write_is_what_the_gates_read():
    file = {}
    given = subjects(tiny_model(2), questions(12, 2))
    for name in ("sampling", "unlearning_depth", "linear_probe", "logit_lens"):
        module = registry.load("probes", name)
        settings = config.parse(module.Config, config.read_params(PARAMS)["probes"][name], name)
        found = module.probe(seen(module.OBSERVATION, given), settings, BOOTSTRAP)
        file[name] = {key: value.as_json() for key, value in found.items() if isinstance(value, Score)}
    read = probed.read(file)
    assert read.num_draws == max(config.read_params(PARAMS)["probes"]["sampling"]["ks"])
    assert None not in read

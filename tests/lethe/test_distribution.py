import math

import pytest
import torch

from lethe import distribution, steps
from lethe.errors import ConfigError
from tests import several_processes
from tests.encoded import examples
from tests.lethe.test_steps import gradients_of, setting_of
from tests.several_processes import ALONE, CASES, FIRST, KILLED, WAYS
from tests.small_recipes import recipe, training
from tests.tiny import tiny_model

TOLERANCE = 1e-5
#: What several processes refuse, and the sharded ones beside.
REFUSED = {
    "one-row": "training.batch_size: 1 rows for 2 processes; ",
}
REFUSED_SHARDED = {
    "gradient-penalty": "wrapper 'gradient_penalty' takes the gradient of a gradient",
    "curvature": "wrapper 'curvature' takes the gradient of a gradient",
    "ilu": "wrapper 'ilu' takes the gradient of a gradient",
    "influence-hessian": "edit 'influence' with inverse 'hessian' takes the gradient of a gradient",
}
#: What agrees less closely: finite differences, and what each process draws for itself.
ROUGH, DRAWN = ("zeroth-order", "hybrid"), ("sophia",)
EXACT = [case for case in (*CASES, *ALONE) if case not in (*REFUSED, *ROUGH, *DRAWN)]
MASKED = [case for case, parts in CASES.items() if "mask" in parts and "lora" not in case]
slow = pytest.mark.slow


@pytest.fixture(scope="module", params=WAYS)
def ran(request, tmp_path_factory):
    """A folder with the results of all cases in two processes, and the way in which they shared the weights."""
    folder = tmp_path_factory.mktemp(request.param)
    several_processes.launch(folder, request.param, [*CASES, *ALONE, *FIRST])
    return folder, request.param


def allowed(way, cases):
    return [case for case in cases if way == "replicated" or case not in REFUSED_SHARDED]


def distance(found, expected, model=None):
    """How far apart two sets of weights are, of the way that training went from those of a model, or the tiny one."""
    start = dict((model or tiny_model()).named_parameters())
    apart = math.hypot(*((found[name] - expected[name]).norm().item() for name in start))
    return apart / math.hypot(*((expected[name] - start[name]).norm().item() for name in start))


def assert_same_weights_stay(found, expected):
    start = dict(tiny_model().named_parameters())
    stays = {name: expected[name] == weight for name, weight in start.items()}
    share = sum(int(stay.sum()) for stay in stays.values()) / sum(stay.numel() for stay in stays.values())
    assert 0.01 < share < 0.99
    assert all(torch.equal(found[name][stay], start[name][stay]) for name, stay in stays.items())


def assert_same_curve(found, expected):
    assert [set(entry) for entry in found] == [set(entry) for entry in expected]
    for one, other in zip(found, expected, strict=True):
        lengths = [value for name, value in other.items() if name.endswith("gradient_norm")]
        for name, value in other.items():
            near = TOLERANCE * max(lengths) ** 2 if name.startswith("step_along") else TOLERANCE
            assert one[name] == pytest.approx(value, rel=TOLERANCE, abs=near), name


@slow
def test_two_processes_end_where_one_does(ran, tmp_path):
    folder, way = ran
    for case in allowed(way, EXACT):
        weights, curve = several_processes.result(folder, case)
        expected, expected_curve = several_processes.train(case, tmp_path, case)
        assert distance(weights, expected) <= TOLERANCE, case
        assert weights.keys() == expected.keys()
        assert max((weights[name] - expected[name]).abs().max() for name in expected) <= TOLERANCE, case
        assert_same_curve(curve, expected_curve)
        if case in MASKED:
            assert_same_weights_stay(weights, expected)


@slow
def test_the_first_gradients_at_weights_that_know_their_rows_are_those_of_one_process_but_for_rounding(ran, tmp_path):
    # The last bit of a gradient, 6e-8 of it, once for each of the few sums that are taken in another order. SAM's
    # perturbation makes more of it: its gradient differs as the steepest point nearby does.
    for case in FIRST:
        weights, curve = several_processes.result(ran[0], case)
        expected, expected_curve = several_processes.train(case, tmp_path, case)
        assert distance(weights, expected, several_processes.start(case)) <= (TOLERANCE if "sam" in case else 1e-6), (
            case
        )
        assert [entry["forget_loss"] for entry in curve] == pytest.approx(
            [entry["forget_loss"] for entry in expected_curve], rel=1e-6
        ), case


@slow
def test_two_processes_stop_at_the_step_at_which_one_does(ran, tmp_path):
    for case in ("early-stop", "averaging-early-stop"):
        curve = several_processes.result(ran[0], case)[1]
        looks = [entry["early_stop_forget_nll"] for entry in curve if "early_stop_forget_nll" in entry]
        assert (len(looks), len(curve)) == (2, 4), case  # of five steps; the first look, at two, finds too little
        assert len(several_processes.train(case, tmp_path, case)[1]) == 4


@slow
def test_a_run_that_two_processes_began_is_ended_by_one(ran, tmp_path):
    left = ran[0] / "left"
    for case in KILLED:
        assert (left / case / "progress.json").exists()
        weights, curve = several_processes.train(case, left, case)
        expected, expected_curve = several_processes.train(case, tmp_path, case)
        assert distance(weights, expected) <= TOLERANCE
        assert_same_curve(curve, expected_curve)
        assert curve[:2] != expected_curve[:2]  # the first steps are those of the two processes, other in the last bits


@slow
def test_what_cannot_be_distributed_is_refused_in_a_line_that_says_why(ran):
    folder, way = ran
    for case, why in (REFUSED if way == "replicated" else REFUSED | REFUSED_SHARDED).items():
        line = several_processes.refusal(folder, case)
        assert line.startswith(why)
        assert "\n" not in line
        assert not (folder / f"{case}.json").exists()


@slow
def test_slopes_along_the_same_directions_are_summed_over_processes(ran, tmp_path):
    # A difference of two losses by 2 μ: rounding of the losses, 1e-7, counts 1e-7 / (2 × 0.1 × slope).
    for case in ROUGH:
        weights, _ = several_processes.result(ran[0], case)
        assert distance(weights, several_processes.train(case, tmp_path, case)[0]) <= 0.02, case


@slow
def test_processes_that_draw_for_themselves_draw_the_same_whether_weights_are_sharded_or_not(tmp_path):
    for way in WAYS:
        (tmp_path / way).mkdir()
        several_processes.launch(tmp_path / way, way, DRAWN)
    for case in DRAWN:
        (replicated, curve), (sharded, other) = (several_processes.result(tmp_path / way, case) for way in WAYS)
        assert distance(sharded, replicated) <= TOLERANCE, case
        assert_same_curve(other, curve)


@slow
def test_processes_that_draw_for_themselves_begin_with_the_same_gradient(ran, tmp_path):
    first = several_processes.result(ran[0], "sophia")[1][0]
    expected = several_processes.train("sophia", tmp_path, "alone")[1][0]
    shared = {name: value for name, value in expected.items() if name != "unclipped_fraction"}
    assert {name: first[name] for name in shared} == pytest.approx(shared, rel=TOLERANCE)


@pytest.mark.parametrize("case", ["pcgrad-per-tensor", "pcgrad-global", "sago"])
def test_shares_that_were_combined_before_they_are_summed_would_be_another_step(case):
    parts = {"forget_objective": "grad_ascent", "training": training(batch_size=4, accumulation=2)}
    point = recipe(**parts, combiner=several_processes.CASES[case]["combiner"])
    model = tiny_model()
    setting = setting_of(model, point, examples(several_processes.FORGET), examples(several_processes.RETAIN))
    shares = [[_gradient(model, piece) for piece in pieces] for pieces in zip(*steps.terms(setting, 0), strict=True)]
    sums = [
        [torch.stack(parts).sum(0) for parts in zip(*gradients, strict=True)] for gradients in zip(*shares, strict=True)
    ]
    before = [_combined(point, *pair) for pair in shares]
    late = torch.stack(before).sum(0)
    assert (late - _combined(point, *sums)).norm() > 1e-3 * late.norm()


def _gradient(model, piece):
    piece().backward()
    return gradients_of(model)


def _combined(point, forget, retain):
    copies = [gradient.clone() for gradient in forget]
    combined = point.combiner.module.combine(copies, retain, point.combiner.config, steps.Moment(0, 0.0, 0.0, {}))
    return torch.cat([gradient.flatten() for gradient in combined])


def test_a_process_alone_has_all_rows_and_every_sum_is_its_own():
    gradient = torch.arange(3.0)
    assert (distribution.size(), distribution.is_first(), distribution.shards()) == (1, True, False)
    assert distribution.share([1, 2, 3]) == [1, 2, 3]
    assert distribution.share_of_any([1, 2, 3]) == [1, 2, 3]
    assert distribution.weight_of_any(1) == 1
    assert distribution.total(7) == 7
    assert distribution.anywhere([True, False]) == [True, False]
    assert distribution.reduced([gradient])[0] is gradient
    assert distribution.whole(gradient) is distribution.part(gradient) is distribution.beside(gradient, gradient)
    assert distribution.own_draws(torch.device("cpu")) is None
    distribution.require_rows(1)
    with distribution.sharded(tiny_model(), lambda _: pytest.fail("not sharded")) as model:
        assert type(model).__name__ == "LlamaForCausalLM"


@pytest.mark.parametrize("count", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"])
@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "accelerate: FSDP version 1 is not supported; "),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "accelerate: DEEPSPEED is not supported; "),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "accelerate: FSDP_OFFLOAD_PARAMS is not supported; "),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "accelerate: mixed precision 'bf16': params.yaml says it "),
    ],
)
def test_ways_to_distribute_that_are_not_ours_are_refused_before_any_process_is_joined(
    count, variables, line, monkeypatch
):
    for name, value in {count: "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        distribution.start()
    assert str(caught.value).startswith(line)
    assert distribution.size() == 1

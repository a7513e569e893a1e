import json

import pytest
import torch
from torch import Tensor, nn

from lethe.attacks import quantization
from lethe.attacks.quantization import Config
from lethe.errors import ArtifactError, ConfigError
from lethe.quantizers import Scheme, quantize
from tests.tiny import tiny_model

INT4 = Scheme(kind="symmetric", bits=4, group_size=None)
INT16 = Scheme(kind="symmetric", bits=16, group_size=None)
SKIP = ["lm_head.*", "*embed*"]


def one_scheme(scheme: Scheme) -> Config:
    return Config(skip=SKIP, schemes={"it": scheme})


def diagnosis(before: Tensor, after: Tensor, scheme: Scheme) -> dict[str, float | None]:
    return quantization.diagnose({"w": before}, {"w": after}, one_scheme(scheme))["it"]["total"]


def noise(*shape: int, seed: int, scale: float) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def test_every_linear_weight_but_the_head_is_quantized() -> None:
    model = tiny_model()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for _ in quantization.conditions(model, one_scheme(INT4)):
        for name, weight in model.named_parameters():
            is_linear = name.endswith("_proj.weight")
            expected = quantize(before[name], INT4)[1] if is_linear else before[name]
            assert torch.equal(weight, expected), name


def test_each_scheme_starts_from_the_released_weights() -> None:
    model = tiny_model()
    coarse = Scheme(kind="symmetric", bits=2, group_size=None)
    weight = model.model.layers[0].mlp.up_proj.weight
    expected = quantize(weight, INT4)[1]
    for name in quantization.conditions(model, Config(skip=SKIP, schemes={"coarse": coarse, "int4": INT4})):
        if name == "int4":
            assert torch.equal(weight, expected)


def test_skipped_weights_are_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lethe"):
        list(quantization.conditions(tiny_model(), one_scheme(INT4)))
    # 2 layers of q, k, v, o, gate, up, down
    assert "quantizing 14 weights; left alone: lm_head.weight" in caplog.text


def test_a_model_with_nothing_to_quantize_is_refused() -> None:
    everything = Config(skip=["*"], schemes={"it": INT4})
    with pytest.raises(ConfigError, match=r"attacks.quantization.skip: no weight is left .* among 15 linear layers"):
        next(quantization.conditions(tiny_model(), everything))


def test_weights_keep_their_dtype_under_quantization() -> None:
    layer = nn.Sequential(nn.Linear(8, 4)).to(torch.bfloat16)
    for _ in quantization.conditions(layer, one_scheme(INT4)):
        assert layer[0].weight.dtype is torch.bfloat16


def test_diagnosis_covers_the_weights_that_the_attack_quantizes() -> None:
    model = tiny_model()
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    diagnosed = quantization.diagnose(weights, weights, one_scheme(INT4))["it"]["tensors"]
    changed = set()
    for _ in quantization.conditions(model, one_scheme(INT4)):
        changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, weights[name])}
    assert set(diagnosed) == changed


def test_one_moved_weight_by_hand() -> None:
    # Step .1. The edit moves -.26 (code -3) to -.14 (code -1): edit .12, left of it .2, the other weights at
    # rest. moved 1/4, flipped 1/4, slope .2 * .12 / .12^2 = 5/3, cosine .024 / (.12 * .2) = 1
    before, after = torch.tensor([[0.7, 0.1, -0.26, 0.06]]), torch.tensor([[0.7, 0.1, -0.14, 0.06]])
    expected = {"moved_fraction": 0.25, "code_flip_rate": 0.25, "slope": 5 / 3, "cosine": 1.0}
    assert diagnosis(before, after, INT4) == pytest.approx(expected, rel=1e-5)


def test_without_an_edit_slope_and_cosine_are_missing_not_zero() -> None:
    weight = noise(4, 8, seed=0, scale=0.02)
    expected = {"moved_fraction": 0.0, "code_flip_rate": 0.0, "slope": None, "cosine": None}
    assert diagnosis(weight, weight, INT4) == expected


def test_an_edit_inside_its_buckets_is_erased() -> None:
    # Step 1 for each row; weights at 0.0 stay in the bucket from -.5 to .5.
    before = torch.tensor([[7.0, 0.0, 0.0], [7.0, 0.0, 0.0]])
    after = torch.tensor([[7.0, 0.4, -0.3], [7.0, 0.0, 0.2]])
    expected = {"moved_fraction": 0.5, "code_flip_rate": 0.0, "slope": 0.0, "cosine": None}
    assert diagnosis(before, after, INT4) == pytest.approx(expected)


def test_fine_quantization_keeps_the_edit_whole() -> None:
    before = noise(32, 64, seed=0, scale=0.02)
    found = diagnosis(before, before + noise(32, 64, seed=1, scale=0.003), INT16)
    assert found["slope"] == pytest.approx(1, abs=1e-3)
    assert found["cosine"] == pytest.approx(1, abs=1e-3)


def test_a_dense_edit_survives_on_average_but_drowns_in_rounding_noise() -> None:
    # Gaussian weights of 0.02 in groups of 128, edit of 1e-3: 11 % of int4 codes flip, cosine 0.39, slope 1.
    before = noise(2048, 512, seed=0, scale=0.02)
    found = diagnosis(
        before,
        before + noise(2048, 512, seed=1, scale=1e-3),
        Scheme(kind="symmetric", bits=4, group_size=128),
    )
    assert found["code_flip_rate"] == pytest.approx(0.11, abs=0.01)
    assert found["cosine"] == pytest.approx(0.39, abs=0.02)
    assert found["slope"] == pytest.approx(1, abs=0.05)


def test_the_total_is_that_of_all_weights_together() -> None:
    before = [noise(3, 8, seed=seed, scale=0.02) for seed in (0, 1)]
    after = [weight + noise(3, 8, seed=2, scale=0.01) for weight in before]
    names = ("a", "b")
    found = quantization.diagnose(
        dict(zip(names, before, strict=True)), dict(zip(names, after, strict=True)), one_scheme(INT4)
    )
    assert found["it"]["total"] == pytest.approx(diagnosis(torch.cat(before), torch.cat(after), INT4))


def test_broken_weights_give_no_number_that_json_cannot_hold() -> None:
    before, after = torch.ones(2, 4), torch.full((2, 4), float("inf"))
    json.dumps(quantization.diagnose({"w": before}, {"w": after}, one_scheme(INT4)), allow_nan=False)


def test_checkpoints_of_two_architectures_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"differ in 'w'.*one architecture"):
        quantization.diagnose({"w": torch.ones(2, 4)}, {"w": torch.ones(2, 5)}, one_scheme(INT4))

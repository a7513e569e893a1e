import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lethe import losses
from lethe.errors import ConfigError
from lethe.forget_objectives import repnoise
from lethe.losses import Context
from tests.encoded import collated, examples
from tests.tiny import tiny_model

NOTHING = Context(reference=None, seed=0)
BATCH = collated(examples([("lose?", "abcd"), ("and this?", "ef")]))
SAMPLES = arrays.arrays("float32", (4, 3), elements=st.floats(-8, 8, width=32)).map(torch.from_numpy)


def loss(model, noise=0.0, ascent=0.0):
    return repnoise.loss(model, BATCH, repnoise.Config(noise_weight=noise, ascent_weight=ascent), NOTHING)


def test_the_discrepancy_of_one_sample_is_that_of_numerical_integration():
    # d = 1, one sample x: mean squared distance of a pair from {x, y}: only E(x − y)² = x² + 1, the middle bandwidth.
    x, grid = 1.5, np.linspace(-12, 12, 801)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    expected = 0.0
    for factor in (0.25, 0.5, 1, 2, 4):
        bandwidth = (x**2 + 1) * factor
        between = np.trapezoid(np.exp(-((x - grid) ** 2) / bandwidth) * density, grid)
        pairs = np.exp(-((grid[:, None] - grid) ** 2) / bandwidth) * density[:, None] * density
        expected += 1 - 2 * between + np.trapezoid(np.trapezoid(pairs, grid, axis=0), grid)
    assert repnoise.discrepancy(torch.tensor([[x]])).item() == pytest.approx(expected, rel=1e-4)


@given(samples=SAMPLES)
def test_it_is_never_negative_and_does_not_hang_on_the_order(samples):
    found = repnoise.discrepancy(samples)
    assert found >= -1e-5
    torch.testing.assert_close(repnoise.discrepancy(samples.flip(0)), found, rtol=1e-4, atol=1e-5)


def test_samples_of_the_normal_distribution_are_nearer_to_it_than_others():
    noise = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    near = repnoise.discrepancy(noise)
    assert near < 0.1 * repnoise.discrepancy(noise + 3)
    assert near < 0.1 * repnoise.discrepancy(3 * noise)


def test_the_last_of_the_readings_is_the_answer_of_the_model():
    # With one block left, the only reading is the model's own NLL.
    model = tiny_model()
    model.model.layers = model.model.layers[:1]
    model.config.num_hidden_layers = 1
    nll = losses.sequence_means(-losses.target_log_probs(model, BATCH), BATCH)
    torch.testing.assert_close(loss(model, ascent=2.0), -2 * nll.log1p().mean())


def test_the_readings_of_all_blocks_are_averaged():
    model, heard = tiny_model(), []
    for block in model.model.layers:
        block.register_forward_hook(lambda _, __, output: heard.append(output))
    found = loss(model, ascent=1.0)
    readings = []
    for stream in heard:
        logits = model.lm_head(model.model.norm(stream))[BATCH.predicts]
        values = torch.nn.functional.cross_entropy(logits, BATCH.targets, reduction="none")
        readings.append(losses.sequence_means(values, BATCH))
    torch.testing.assert_close(found, -torch.stack(readings).mean(0).log1p().mean())


def test_a_model_whose_last_norm_has_no_known_name_is_refused():
    model = tiny_model()
    model.model.closing = model.model.norm
    del model.model.norm
    with pytest.raises(ConfigError, match="no last norm by a name"):
        loss(model, ascent=1.0)

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


@pytest.mark.parametrize(
    ("samples", "middle"),
    [
        ([1.5], 1.5**2 + 1),  # of a pair from {x, y} the mean squared distance is E(x − y)² = x² + 1
        # Twelve pairs from {x, x', y, y'}: 2 (x − x')² + 4 (x² + 1) + 4 (x'² + 1) + 2 E(y − y')², which is 2.
        ([1.5, -0.5], (2 * 4 + 4 * 3.25 + 4 * 1.25 + 2 * 2) / 12),
    ],
)
def test_the_discrepancy_of_samples_is_that_of_numerical_integration(samples, middle):
    # d = 1; the middle bandwidth is the mean squared distance of a pair.
    x, grid = np.array(samples), np.linspace(-12, 12, 801)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    expected = 0.0
    for factor in (0.25, 0.5, 1, 2, 4):
        bandwidth = middle * factor
        among = np.exp(-((x[:, None] - x) ** 2) / bandwidth).mean()
        between = np.trapezoid(np.exp(-((x[:, None] - grid) ** 2) / bandwidth) * density, grid).mean()
        pairs = np.exp(-((grid[:, None] - grid) ** 2) / bandwidth) * density[:, None] * density
        expected += among - 2 * between + np.trapezoid(np.trapezoid(pairs, grid, axis=0), grid)
    found = repnoise.discrepancy(torch.tensor(samples).unsqueeze(1))
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_no_gradient_flows_through_the_bandwidths():
    # Of one sample x only −2 (1 + 2/b)^(−1/2) exp(−x² / (b + 2)) hangs on x: its slope is that times −2x / (b + 2).
    x = torch.tensor([[1.5]], requires_grad=True)
    repnoise.discrepancy(x).backward()
    bandwidths = 3.25 * np.array([0.25, 0.5, 1, 2, 4])
    slopes = 4 * 1.5 / (bandwidths + 2) * (1 + 2 / bandwidths) ** -0.5 * np.exp(-2.25 / (bandwidths + 2))
    assert x.grad.item() == pytest.approx(slopes.sum(), rel=1e-5)


def test_the_noise_term_is_the_mean_discrepancy_of_all_sequences_in_all_blocks():
    model, streams = tiny_model(), []
    for block in model.model.layers:
        block.register_forward_hook(lambda _, __, output: streams.append(output[BATCH.predicts]))
    found = loss(model, noise=0.5)
    lengths = losses.sequence_lengths(BATCH).tolist()
    parts = [repnoise.discrepancy(part) for stream in streams for part in stream.split(lengths)]
    assert len(parts) == 4  # two blocks, two sequences
    torch.testing.assert_close(found, 0.5 * torch.stack(parts).mean())


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

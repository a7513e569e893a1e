import copy
import inspect
import math
from dataclasses import replace

import pytest
import torch

from lethe import batches, losses, unlearning
from lethe.errors import DataError
from lethe.wrappers import tar
from tests import small_recipes, unlearned
from tests.encoded import collated, examples
from tests.lethe.wrappers import slopes
from tests.small_recipes import component, recipe, training
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["wrapper"]["tar"]
BATCH = collated(examples([("lose?", "abcd"), ("and this?", "ef")]))
OTHERS = collated(examples([("keep?", "ghi")]))
CONTEXT = replace(slopes.context(), sample=lambda split, count: {"adversary": BATCH, "retain": OTHERS}[split])
PLAIN = {"lrs": [1e-2], "warmup_steps": 0, "benign_share": 0.0, "switch": None, "held_out_share": 0.0}


def config(**changes):
    return tar.Config(**SETTINGS | PLAIN | changes)


def nll(model, batch=BATCH):
    return -losses.token_mean(losses.target_log_probs(model, batch))


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def taken(settings, seed=0):
    model = tiny_model()
    torch.manual_seed(seed)
    loss = tar.backward([lambda: -nll(model)], model, settings, CONTEXT)
    assert loss == pytest.approx(-nll(tiny_model()).item())
    return gradients(model)


def after_tampering(steps, benign_steps=0, lrs=(1e-2,) * 8, **changes):
    """The forget gradient of a copy that the adversary has fine-tuned for so many steps."""
    model = copy.deepcopy(tiny_model())
    settings = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0} | changes
    adversary = torch.optim.AdamW(model.parameters(), lr=1e-2, **settings)
    for step in range(steps):
        adversary.param_groups[0]["lr"] = lrs[step]
        adversary.zero_grad()
        nll(model, OTHERS if step < benign_steps else BATCH).backward()
        adversary.step()
    adversary.zero_grad()
    (-nll(model)).backward()
    return gradients(model)


def test_the_gradient_is_that_after_the_last_step_of_the_adversary():
    found = taken(config(inner_steps=3, every=3, scale=2.0))
    torch.testing.assert_close(found, 2 * after_tampering(3), rtol=1e-3, atol=1e-5)


def test_the_adversary_has_moments_and_a_decay_of_its_own_settings():
    settings = {"betas": (0.5, 0.75), "eps": 1e-3, "weight_decay": 5.0}
    found = taken(config(inner_steps=3, every=3, scale=1.0, **settings))
    torch.testing.assert_close(found, after_tampering(3, **settings), rtol=1e-3, atol=1e-5)


def test_each_step_of_the_adversary_has_as_many_rows_as_the_settings_say():
    asked, model = [], tiny_model()
    context = replace(CONTEXT, sample=lambda *given: (asked.append(given), BATCH)[1])
    tar.backward([lambda: -nll(model)], model, config(inner_steps=3, batch_size=5), context)
    assert asked == [("adversary", 5)] * 3


def test_gradients_on_the_way_count_the_more_the_later():
    # After steps 2 and 4 of 4: exp(0.5 × (2 − 4)) = 1/e and 1.
    found = taken(config(inner_steps=4, every=2, scale=1.0, decay=0.5))
    expected = math.exp(-1) * after_tampering(2) + after_tampering(4)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_each_step_draws_one_of_the_learning_rates():
    settings = [config(lrs=rates) for rates in ([1e-4, 1e-1], [1e-4], [1e-1])]
    drawn = {taken(settings[0], seed).norm().item() for seed in range(6)}
    assert drawn == {taken(settings[1]).norm().item(), taken(settings[2]).norm().item()}


def test_the_learning_rate_of_an_adversary_rises_along_a_line():
    found = taken(config(inner_steps=3, every=3, scale=1.0, warmup_steps=2))
    torch.testing.assert_close(found, after_tampering(3, lrs=(5e-3, 1e-2, 1e-2)), rtol=1e-3, atol=1e-5)


def test_a_benign_adversary_is_trained_on_retain_rows_to_the_end_or_turns():
    settings = {"inner_steps": 4, "every": 4, "scale": 1.0, "benign_share": 1.0}
    torch.testing.assert_close(taken(config(**settings)), after_tampering(4, 4), rtol=1e-3, atol=1e-5)
    # Nearly all of Beta(3e4, 1e4) lies within .74 and .76: 3 of 4 steps would be 2.96 or more, rounded down 2 or 3.
    turning = [taken(config(**settings, switch={"alpha": 3.2e4, "beta": 1e4}), seed) for seed in range(3)]
    for found in turning:
        torch.testing.assert_close(found, after_tampering(4, 3), rtol=1e-3, atol=1e-5)


def test_so_many_of_the_adversaries_are_benign():
    torch.manual_seed(0)
    steps = [tar._benign_steps(config(inner_steps=10, benign_share=0.3)) for _ in range(2000)]
    assert set(steps) == {0, 10}
    assert sum(map(bool, steps)) / 2000 == pytest.approx(0.3, abs=0.04)  # four standard errors
    shares = [
        tar._benign_steps(config(inner_steps=1000, benign_share=1.0, switch={"alpha": 6, "beta": 3})) for _ in steps
    ]
    assert sum(shares) / 2e6 == pytest.approx(6 / 9, abs=0.014)  # its deviation is .149


def test_a_gradient_whose_losses_are_below_the_bound_is_dropped():
    settings = {"inner_steps": 2, "every": 1, "scale": 2.0, "decay": 0.0}
    taken_freely = taken(config(**settings))
    model, values = tiny_model(), []
    for steps in (1, 2):
        model = copy.deepcopy(tiny_model())
        adversary = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        for _ in range(steps):
            adversary.zero_grad()
            nll(model).backward()
            adversary.step()
        values.append(-2 * nll(model).item())
    bound = sum(values)
    torch.testing.assert_close(taken(config(**settings, loss_bound=bound - 1e-3)), taken_freely)
    model = tiny_model()
    tar.backward([lambda: -nll(model)], model, config(**settings, loss_bound=bound + 1e-3), CONTEXT)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("count", "share", "held"), [(10, 0.2, 2), (10, 0.25, 2), (3, 0.01, 1), (2, 0.99, 1)])
def test_rows_held_out_are_none_of_the_adversarys(count, share, held):
    rows = examples([(f"lose {number}?", "a") for number in range(count)])
    own, others = tar.apart(rows, config(held_out_share=share), seed=3)
    assert len(own) == held
    assert sorted(row.row for row in (*own, *others)) == sorted(row.row for row in rows)
    assert len({row.ids for row in (*own, *others)}) == count
    assert tar.apart(rows, config(held_out_share=share), seed=3) == (own, others)
    assert any(tar.apart(rows, config(held_out_share=share), seed=seed) != (own, others) for seed in range(20))


def test_without_a_share_both_use_all_rows_and_a_single_row_cannot_be_divided():
    rows = examples([("lose?", "a")])
    assert tar.apart(rows, config(), seed=0) == (rows, rows)
    with pytest.raises(DataError, match=r"wrapper\.held_out_share: one forget row cannot be divided"):
        tar.apart(rows, config(held_out_share=0.5), seed=0)


def test_a_run_takes_its_loss_on_the_rows_held_out_and_tampers_with_the_others(tmp_path, monkeypatch):
    rows = examples([(f"lose {number}?", "abcdefgh"[number] * 3) for number in range(8)], tiny_model(1))
    wrapper = component("wrapper", "tar", held_out_share=0.25, benign_share=0.0)
    read = {"loss": set(), "adversary": set()}
    collate = batches.collate

    def collated_by(chunk, **given):
        inside = any(frame.function == "_tamper" for frame in inspect.stack())
        read["adversary" if inside else "loss"].update(one.ids for one in chunk)
        return collate(chunk, **given)

    monkeypatch.setattr(batches, "collate", collated_by)
    point = recipe(
        wrapper=wrapper,
        retain_objective=None,
        retain_rows=None,
        forget_objective="grad_ascent",
        combiner=component("combiner", "sum", forget_weight=1.0, retain_weight=0.0),
        training=training(batch_size=2, steps=6),
    )
    unlearning.train(tiny_model(), unlearned.material(tiny_model(), rows, [], tmp_path), point)
    assert len(read["loss"]) == 2
    assert read["adversary"] <= {row.ids for row in rows} - read["loss"]
    assert len(read["adversary"]) >= 5


def test_a_run_divides_its_rows_at_the_start_and_not_for_each_batch(tmp_path, monkeypatch):
    rows = examples([(f"lose {number}?", "abcd"[number] * 3) for number in range(4)])
    divide, counts = tar.apart, []

    def counted(*given):
        counts[-1] += 1
        return divide(*given)

    monkeypatch.setattr(tar, "apart", counted)
    for steps in (1, 3):
        counts.append(0)
        point = recipe(wrapper="tar", training=training(batch_size=2, steps=steps))
        unlearning.train(tiny_model(), unlearned.material(tiny_model(), rows, rows, tmp_path / str(steps)), point)
    assert counts[0] == counts[1] > 0

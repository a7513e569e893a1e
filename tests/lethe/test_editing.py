import pytest
import torch

from lethe import editing, losses
from lethe.checkpoints import Checkpoints
from lethe.errors import ConfigError, DataError
from tests import small_recipes, unlearned
from tests.encoded import collated, examples
from tests.tiny import tiny_model

PAIRS = [(f"who {n}?", "x" * length) for n, length in enumerate((1, 9, 3, 6, 2))]
ROWS = examples(PAIRS)


def nll(model):
    return lambda _, batch: -losses.token_mean(losses.target_log_probs(model, batch))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_pieces_of_unequal_token_counts_add_up_to_the_whole(batch_size):
    model, whole = tiny_model(), tiny_model()
    settings = small_recipes.training(batch_size=batch_size)
    found = editing.backward(model, ROWS, nll(model), settings, pad=unlearned.PAD, weight=0.5)
    loss = nll(whole)(ROWS, collated(ROWS))
    (0.5 * loss).backward()
    assert found == pytest.approx(loss.item(), rel=1e-6)
    for mine, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-7)


def test_the_mean_nll_is_over_all_tokens():
    rows = ROWS * 5  # 25 rows: more than one batch
    expected = -losses.target_log_probs(tiny_model(), collated(ROWS)).mean().item()
    assert editing.mean_nll(tiny_model(), rows, pad=unlearned.PAD) == pytest.approx(expected, rel=1e-6)


def test_first_choices_are_told_row_by_row():
    model = tiny_model()
    found = editing.first_choices(model, ROWS * 5, pad=unlearned.PAD)
    batch = collated(ROWS)
    hits = losses.log_distributions(model, batch).argmax(-1) == batch.targets
    assert [len(row) for row in found] == [row.num_targets for row in ROWS] * 5
    assert torch.equal(torch.cat(found[:5]), hits)


def test_a_sample_has_each_row_once_and_hangs_on_the_seed():
    drawn = editing.sampled(ROWS, 3, seed=0)
    assert len({row.row for row in drawn}) == 3
    assert [row for row in ROWS if row in drawn] == drawn
    assert editing.sampled(ROWS, 3, seed=0) == drawn
    assert {tuple(row.row for row in editing.sampled(ROWS, 3, seed=seed)) for seed in range(9)} != {tuple(drawn)}
    assert editing.sampled(ROWS, None, seed=0) == editing.sampled(ROWS, 99, seed=0) == ROWS


@pytest.mark.parametrize(
    ("kind", "rows"), [("retain", ["a?"]), ("general", ["b?"]), ("retain_and_general", ["a?", "b?"])]
)
def test_kept_rows_are_never_forget_rows(tmp_path, kind, rows):
    others = [examples([(question, "x")]) for question in ("a?", "b?")]
    given = unlearned.material(tiny_model(), ROWS, others[0], tmp_path, general=others[1])
    assert [row.row for row in editing.kept_rows(given, kind, None)] == rows


def test_rows_to_choose_by_are_rows_that_nobody_is_asked(tmp_path):
    unasked = examples([("c?", "x")])
    given = unlearned.material(tiny_model(), ROWS, ROWS, tmp_path, validation=unasked)
    assert editing.kept_rows(given, "validation", None) == unasked


def test_kept_rows_that_are_not_there_are_named(tmp_path):
    given = unlearned.material(tiny_model(), ROWS, ROWS, tmp_path)
    with pytest.raises(DataError, match="edit: no general rows; name a file"):
        editing.kept_rows(given, "general", None)


def test_names_are_chosen_by_patterns():
    model = tiny_model()
    names = set(editing.chosen(model, ["*embed*", "*lm_head*", "*norm*", "*.self_attn.*"]))
    assert names == {f"model.layers.{n}.mlp.{part}_proj.weight" for n in (0, 1) for part in ("gate", "up", "down")}
    with pytest.raises(ConfigError, match=r"edit\.skip: no weight is left"):
        editing.chosen(model, ["*"])


def test_moving_away_is_the_point_on_the_other_side():
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, -1.0]]))
    editing.move_away(model, {"weight": torch.tensor([[1.0, 1.0]])}, 2.0)
    assert model.weight.tolist() == [[-3, 5]]  # 1 − 2 × (3 − 1), 1 − 2 × (−1 − 1)


def test_curves_are_numbered_through():
    curve = editing.joined([{"step": 1, "loss": 3.0}], [], [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    assert curve == [{"step": n, "loss": 4.0 - n} for n in (1, 2, 3)]


def test_the_checkpoints_of_a_phase_lie_below_and_are_no_other_phases(tmp_path):
    whole = Checkpoints(tmp_path / "run", "fingerprint")
    phases = [whole.phase(name) for name in ("one", "two")]
    assert len({(phase.folder, phase.fingerprint) for phase in (whole, *phases)}) == 3
    assert all(phase.folder.parent == whole.folder for phase in phases)

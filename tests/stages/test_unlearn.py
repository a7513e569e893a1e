import pytest

from lethe import artifacts, config, models, recipes
from lethe.errors import ArtifactError, DataError
from lethe.rows import Row, dump_rows
from stages import unlearn
from tests.interruption import killed_at, weights
from tests.tiny import tiny_model, tiny_tokenizer

PARAMS = """
data: world
encoding:
  world: {max_length: 64, max_new_tokens: 8, system_prompt: null}
release_dtype: bfloat16
recipes:
  npo_sago:
    forget_objective: {name: npo, beta: 0.1, reduction: sequence_sum}
    retain_objective: {name: nll}
    retain_rows: retain
    combiner: {name: sago, forget_weight: 1.0, retain_weight: 1.0, form: paper, zero_policy: paper}
    optimizer: {name: adamw, lr: 1.0e-3, betas: [0.9, 0.999], eps: 1.0e-8, weight_decay: 0.0}
    mask: {name: all}
    wrapper: null
    training:
      {weights: fp32_master, compute_dtype: float32, steps: 6, batch_size: 2, accumulation: 2, schedule: linear,
       warmup_steps: 2, max_grad_norm: 1.0, checkpoint_steps: 2}
    edit: null
"""
CELL = artifacts.model("npo_sago-0")
SPLITS = {
    artifacts.FORGET: [Row(id=f"f{n}", cluster="ann", question=f"Ann {n}?", answer="x" * (n + 1)) for n in range(4)],
    artifacts.RETAIN: [Row(id=f"r{n}", cluster="bob", question=f"Bob {n}?", answer="y" * (n + 1)) for n in range(4)],
    artifacts.GENERAL: [],
}
SPLITS[artifacts.QUESTIONS] = [*SPLITS[artifacts.FORGET], *SPLITS[artifacts.RETAIN][:2]]


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.PARAMS.write_text(PARAMS)
    artifacts.write_json(artifacts.recipe("npo_sago"), recipes.resolve("npo_sago"))
    for path, rows in SPLITS.items():
        artifacts.write_text(path, dump_rows(rows))
    with artifacts.replacing(artifacts.model("target")) as folder:
        models.save(tiny_model(), tiny_tokenizer(), folder, dtype="bfloat16")


def written(name="npo_sago-0"):
    return artifacts.sha256(artifacts.model(name)), artifacts.sha256(artifacts.curve(name))


def test_a_model_with_its_tokenizer_and_its_curve_is_written_and_nothing_else_stays():
    unlearn.main("npo_sago", 0)
    assert weights(models.load(CELL)) != weights(models.load(artifacts.model("target")))
    assert models.load_tokenizer(CELL).get_vocab() == tiny_tokenizer().get_vocab()
    curve = artifacts.read_json(artifacts.curve("npo_sago-0"))
    assert [entry["step"] for entry in curve] == [1, 2, 3, 4, 5, 6]
    assert {"step", "forget_loss", "retain_loss", "gradient_norm"} < set(curve[0])
    assert not artifacts.scratch("npo_sago-0").exists()


def test_the_target_stays_as_it_was():
    before = artifacts.sha256(artifacts.model("target"))
    unlearn.main("npo_sago", 0)
    assert artifacts.sha256(artifacts.model("target")) == before


def test_the_same_cell_has_the_same_bytes_and_another_seed_others():
    unlearn.main("npo_sago", 0)
    first = written()
    unlearn.main("npo_sago", 0)
    unlearn.main("npo_sago", 1)
    assert written() == first
    assert weights(models.load(CELL)) != weights(models.load(artifacts.model("npo_sago-1")))


def test_a_killed_run_leaves_no_model_and_ends_with_the_same_bytes(monkeypatch):
    unlearn.main("npo_sago", 0)
    expected = written()
    artifacts.remove(CELL)
    killed_at(5, lambda: unlearn.main("npo_sago", 0), monkeypatch)
    assert not CELL.exists()
    unlearn.main("npo_sago", 0)
    assert written() == expected


def change(what):
    """Change one input of the cell."""
    if what == "target":
        with artifacts.replacing(artifacts.model("target")) as folder:
            models.save(tiny_model(seed=1), tiny_tokenizer(), folder, dtype="bfloat16")
    elif what == "recipe":
        config.PARAMS.write_text(PARAMS.replace("beta: 0.1", "beta: 0.2"))
        artifacts.write_json(artifacts.recipe("npo_sago"), recipes.resolve("npo_sago"))
    else:
        path = {"forget": artifacts.FORGET, "retain": artifacts.RETAIN, "questions": artifacts.QUESTIONS}[what]
        artifacts.write_text(path, dump_rows(SPLITS[path][:3]))


@pytest.mark.parametrize("changed", ["forget", "retain", "questions", "recipe", "target"])
def test_the_checkpoint_of_a_killed_run_is_not_used_when_anything_has_changed_since(monkeypatch, changed):
    killed_at(5, lambda: unlearn.main("npo_sago", 0), monkeypatch)
    change(changed)
    unlearn.main("npo_sago", 0)
    found = written()
    unlearn.main("npo_sago", 0)
    assert written() == found


def test_params_are_read_through_the_resolved_recipe_alone():
    unlearn.main("npo_sago", 0)
    first = written()
    config.PARAMS.write_text(PARAMS.replace("beta: 0.1", "beta: 0.2"))
    unlearn.main("npo_sago", 0)
    assert written() == first


@pytest.mark.parametrize(
    ("missing", "error", "message"),
    [
        (artifacts.recipe("npo_sago"), ArtifactError, r"^data/recipes/npo_sago\.json: no such file; run `dvc repro`"),
        (artifacts.model("target"), ArtifactError, r"^data/models/target: no such checkpoint; run `dvc repro`"),
        (artifacts.FORGET, DataError, r"^data/prepared/forget\.jsonl: no such file"),
    ],
)
def test_a_missing_input_is_named_in_one_line(missing, error, message):
    artifacts.remove(missing)
    with pytest.raises(error, match=message):
        unlearn.main("npo_sago", 0)
    assert not CELL.exists()

import pytest

from lethe import artifacts, config, models
from lethe.errors import ConfigError
from stages import pretrain
from tests.interruption import killed_at

PARAMS = """
encoding:
  world: {max_length: 128, max_new_tokens: 8, system_prompt: null}
prepare:
  world:
    {seed: 0, num_forget_people: 1, num_retain_people: 1, num_holdout_people: 1, num_other_people: 2,
   num_general_people: 1, num_towns: 5,
     num_false_answers: 3}
pretrain:
  architecture:
    {model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2}
  vocabulary: 300
  general_repeats: 2
  seed: 0
  optimizer: {lr: 1.0e-3, betas: [0.9, 0.95], eps: 1.0e-8, weight_decay: 0.1}
  training:
    {weights: fp32_master, compute_dtype: float32, steps: 6, batch_size: 4, accumulation: 1, schedule: linear,
     warmup_steps: 2, max_grad_norm: 1.0, checkpoint_steps: 2}
release_dtype: bfloat16
"""


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.PARAMS.write_text(PARAMS)


def test_the_base_model_is_written_with_its_tokenizer_and_nothing_else_stays():
    pretrain.main()
    assert models.load(artifacts.BASE).config.vocab_size == len(models.load_tokenizer(artifacts.BASE)) == 300
    assert [path.name for path in artifacts.MODELS.iterdir()] == ["base"]
    assert not artifacts.scratch("pretrain").exists()


def test_training_again_writes_the_same_bytes():
    pretrain.main()
    first = artifacts.sha256(artifacts.BASE)
    pretrain.main()
    assert artifacts.sha256(artifacts.BASE) == first


def test_a_killed_run_leaves_no_model_and_ends_with_the_same_bytes(monkeypatch):
    pretrain.main()
    expected = artifacts.sha256(artifacts.BASE)
    artifacts.remove(artifacts.BASE)
    killed_at(5, pretrain.main, monkeypatch)
    assert not artifacts.BASE.exists()
    assert artifacts.scratch("pretrain").exists()
    pretrain.main()
    assert artifacts.sha256(artifacts.BASE) == expected


def test_a_mistake_in_params_is_found_before_anything_is_trained():
    config.PARAMS.write_text(PARAMS.replace("steps: 6", "step: 6"))
    with pytest.raises(ConfigError, match=r"pretrain\.training\.step: unknown key\. Did you mean 'steps'\?"):
        pretrain.main()
    assert not artifacts.DATA.exists()

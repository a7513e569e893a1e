import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lethe import artifacts, batches, models
from lethe.errors import ArtifactError, ConfigError
from tests.small_families import ROOMY, gemma2_with_capped_logits, gpt2, llama, llama_with_tied_head, made
from tests.tiny import tiny_model, tiny_tokenizer


def saved(folder, dtype="float32", model=None):
    models.save(model or tiny_model(), tiny_tokenizer(), folder, dtype=dtype)
    return folder


def refusal(read, folder):
    with pytest.raises(ArtifactError) as error:
        read(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("family", [llama, llama_with_tied_head, gpt2, gemma2_with_capped_logits])
def test_a_model_saved_in_float32_comes_back_bit_for_bit(family, tmp_path):
    model = made(family)
    loaded = models.load(saved(tmp_path / "m", model=model))
    assert type(loaded) is type(model)
    assert not loaded.training
    expected = models.state(model)
    assert list(models.state(loaded)) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in models.state(loaded).items())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_saved_in_half_precision_comes_back_rounded_in_the_dtype_that_is_asked_for(dtype, tmp_path):
    model = tiny_model()
    folder = saved(tmp_path / "m", dtype=dtype)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {models.DTYPES[dtype]}
    assert json.loads((folder / "config.json").read_text())["dtype"] == dtype
    loaded, expected = models.state(models.load(folder, dtype="float32")), models.state(model)
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[name].to(models.DTYPES[dtype]).float())
    assert models.load(folder, dtype=dtype).dtype == models.DTYPES[dtype]


def test_saving_leaves_the_model_as_it_was(tmp_path):
    model = tiny_model()
    saved(tmp_path / "m", dtype="bfloat16", model=model)
    assert all(torch.equal(*pair) for pair in zip(tiny_model().parameters(), model.parameters(), strict=True))
    assert model.dtype == torch.float32


def test_the_same_model_is_the_same_bytes_that_everybody_may_read(tmp_path):
    for place in ("here", "there"):
        saved(tmp_path / place / "m", dtype="bfloat16")
    assert artifacts.sha256(tmp_path / "here" / "m") == artifacts.sha256(tmp_path / "there" / "m")
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "here" / "m").iterdir()} == {0o644}


def test_saving_what_was_loaded_changes_no_byte_of_the_weights(tmp_path):
    first = saved(tmp_path / "first", dtype="bfloat16")
    second = saved(tmp_path / "second", dtype="bfloat16", model=models.load(first))
    name = "model.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_tokenizer_comes_back_with_its_chat_format(tmp_path):
    loaded = models.load_tokenizer(saved(tmp_path / "m"))
    for prompt in ("Who is «Ë»?", ""):
        expected = batches.prompt_ids(tiny_tokenizer(), prompt, system_prompt="Be short.")
        assert batches.prompt_ids(loaded, prompt, system_prompt="Be short.") == expected
    assert (loaded.eos_token_id, loaded.pad_token_id) == (tiny_tokenizer().eos_token_id, tiny_tokenizer().pad_token_id)


def edit_json(file, **changes):
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def test_without_a_padding_token_the_end_of_turn_pads(tmp_path):
    folder = saved(tmp_path / "m")
    edit_json(folder / "tokenizer_config.json", pad_token=None)
    assert models.load_tokenizer(folder).pad_token_id == tiny_tokenizer().eos_token_id


def test_without_an_end_of_turn_there_is_nothing_to_train_on(tmp_path):
    folder = saved(tmp_path / "m")
    edit_json(folder / "tokenizer_config.json", eos_token=None)
    assert refusal(models.load_tokenizer, folder).endswith(
        "the tokenizer has no end-of-sequence token; set one before unlearning."
    )


def test_a_folder_without_tokenizer_files_says_what_is_missing(tmp_path):
    folder = saved(tmp_path / "m")
    for file in folder.glob("*token*"):
        file.unlink()
    assert refusal(models.load_tokenizer, folder) == (
        f"{folder}: checkpoint without tokenizer; save the tokenizer's files beside the weights."
    )


def test_a_damaged_tokenizer_is_refused_in_one_line(tmp_path):
    folder = saved(tmp_path / "m")
    (folder / "tokenizer.json").write_text("{")
    assert refusal(models.load_tokenizer, folder).startswith(f"{folder}: cannot load the tokenizer: ")


@pytest.mark.parametrize("read", [models.load, models.load_tokenizer])
def test_a_folder_that_is_not_there_is_never_looked_for_on_the_hub(read, tmp_path):
    assert refusal(read, tmp_path / "m") == f"{tmp_path / 'm'}: no such checkpoint; run `dvc repro` to make it."


@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_weights_that_break_off_are_refused_in_one_line(tmp_path, part):
    folder = saved(tmp_path / "m")
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))])
    assert refusal(models.load, folder).startswith(f"{folder}: cannot load a causal model: ")


def test_a_pickle_is_refused_even_where_there_is_nothing_else(tmp_path):
    folder = saved(tmp_path / "m")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert AutoModelForCausalLM.from_pretrained(folder, weights_only=True)  # transformers itself would take it
    assert "model.safetensors" in refusal(models.load, folder)


def test_code_that_comes_with_a_checkpoint_is_not_run(tmp_path):
    folder = saved(tmp_path / "m")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    edit_json(folder / "config.json", model_type="own", auto_map=own)
    refusal(models.load, folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["{", '{"model_type": "unheard"}', "{}"])
def test_a_damaged_configuration_is_refused_in_one_line(tmp_path, text):
    folder = saved(tmp_path / "m")
    (folder / "config.json").write_text(text)
    assert refusal(models.load, folder).startswith(f"{folder}: cannot load a causal model: ")


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_weights_that_are_not_in_the_file_are_never_made_up(tmp_path):
    folder = edit_weights(saved(tmp_path / "m"), lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    assert "model.layers.1.mlp.up_proj.weight" in refusal(models.load, folder)


def test_weights_of_another_shape_are_refused_in_one_line(tmp_path):
    folder = edit_weights(saved(tmp_path / "m"), lambda weights: weights.update({"model.norm.weight": torch.ones(3)}))
    assert refusal(models.load, folder).startswith(f"{folder}: cannot load a causal model: ")


def test_a_fresh_model_has_the_tokenizers_vocabulary_and_the_seeds_weights():
    architecture = {"model_type": "llama", **{key: value for key, value in ROOMY.items() if key != "vocab_size"}}
    first, again, other = (models.initialise(architecture, tiny_tokenizer(), seed=seed) for seed in (0, 0, 1))
    assert first.config.vocab_size == len(tiny_tokenizer())
    assert first.config.eos_token_id == tiny_tokenizer().eos_token_id
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_an_unknown_architecture_is_an_error_of_params():
    with pytest.raises(ConfigError, match=r"^params\.yaml: architecture: [^\n]*lama2"):
        models.initialise({"model_type": "lama2"}, tiny_tokenizer(), seed=0)


def test_a_shared_weight_is_in_the_state_once():
    model = llama_with_tied_head()
    names = list(models.state(model))
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names


def test_a_trained_model_and_its_curve_are_put_in_their_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    curve = [{"step": 1, "loss": 2.0}]
    models.save_trained(tiny_model(), tiny_tokenizer(), "npo-0", curve, dtype="bfloat16")
    assert models.load(artifacts.model("npo-0")).config.model_type == "llama"
    assert artifacts.read_json(artifacts.curve("npo-0")) == curve
    assert sorted(path.name for path in artifacts.MODELS.rglob("*") if path.name.startswith(".")) == []


@pytest.mark.parametrize("source", ["/no/such/folder", "data/models/bse", "./mine", "a/b/c"])
def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id(source):
    with pytest.raises(
        ArtifactError, match=rf"^{source}: no such folder; name a folder with a checkpoint, or a hub id"
    ):
        models.load(source)


def test_a_file_is_no_checkpoint(tmp_path):
    (tmp_path / "params.yaml").write_text("data: world")
    for source in (tmp_path / "params.yaml", str(tmp_path / "params.yaml")):
        with pytest.raises(
            ArtifactError, match=r"params\.yaml: not a folder; name the folder that holds the checkpoint"
        ):
            models.load(source)

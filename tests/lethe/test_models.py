import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertDecoderConfig,
    ModernBertDecoderForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
)

from lethe import artifacts, batches, models
from lethe.errors import ArtifactError, ConfigError
from tests.encoded import collated, examples
from tests.tiny import tiny_model, tiny_tokenizer

SHAPE = {"vocab_size": 260, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ROOMY = {**SHAPE, "intermediate_size": 32, "num_key_value_heads": 2}
PAIRS = [("who is she?", "a weaver of nets"), ("where?", "at sea")]


def llama():
    return tiny_model()


def llama_with_tied_head():
    return LlamaForCausalLM(LlamaConfig(**ROOMY, tie_word_embeddings=True))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=260, n_embd=16, n_layer=2, n_head=2, n_positions=64))


def gemma2_with_capped_logits():
    # A cap this low bends every logit; weights are enlarged so that it is reached.
    model = Gemma2ForCausalLM(Gemma2Config(**ROOMY, head_dim=8, final_logit_softcapping=0.05))
    return enlarged(model)


def granite_with_scaled_logits():
    return enlarged(GraniteForCausalLM(GraniteConfig(**ROOMY, logits_scaling=8.0)))


def enlarged(model):
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return model


FAMILIES = [llama, llama_with_tied_head, gpt2, gemma2_with_capped_logits, granite_with_scaled_logits]
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)


def made(family):
    torch.manual_seed(0)
    return family().eval()


def saved(folder, dtype="float32", model=None):
    models.save(model or tiny_model(), tiny_tokenizer(), folder, dtype=dtype)
    return folder


def refusal(read, folder):
    with pytest.raises(ArtifactError) as error:
        read(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@families
def test_target_logits_are_those_of_the_whole_model_and_no_others(family):
    model, batch = made(family), collated(examples(PAIRS))
    with torch.no_grad():
        full = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        found = models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts)
    assert found.shape == (len(batch.targets), full.shape[-1])
    torch.testing.assert_close(found, full[batch.predicts], rtol=1e-6, atol=1e-6)


@families
def test_hidden_states_and_the_fp32_head_give_the_logits_too(family):
    model, batch = made(family), collated(examples(PAIRS))
    with torch.no_grad():
        full = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        hidden = models.hidden_states(model, input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        found = models.head_in_fp32(model)(hidden)
    torch.testing.assert_close(found[batch.predicts], full[batch.predicts], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", [gemma2_with_capped_logits, granite_with_scaled_logits])
def test_these_families_do_bend_their_logits(family):
    model, batch = made(family), collated(examples(PAIRS))
    with torch.no_grad():
        full = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        plain = model.get_output_embeddings()(model.base_model(input_ids=batch.input_ids).last_hidden_state)
    assert (full - plain)[batch.predicts].abs().max() > 0.1


@families
def test_the_gradient_of_target_logits_is_that_of_the_full_logits(family):
    model, batch = made(family), collated(examples(PAIRS))
    gradients = []
    for logits in (
        models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts),
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.predicts],
    ):
        model.zero_grad()
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[1].norm()


def test_the_head_runs_at_target_positions_alone():
    model, batch = tiny_model(), collated(examples(PAIRS))
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda head, inputs, output: seen.append(output.shape[:-1]))
    models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts)
    assert seen == [(len(batch.targets),)]


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


@pytest.mark.xfail(strict=True, reason="models.load fills weights that are not in the file with random numbers")
def test_weights_that_are_not_in_the_file_are_never_made_up(tmp_path):
    folder = edit_weights(saved(tmp_path / "m"), lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    assert "model.layers.1.mlp.up_proj.weight" in refusal(models.load, folder)


@pytest.mark.xfail(strict=True, raises=RuntimeError, reason="models.load lets the RuntimeError of transformers through")
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


@families
def test_a_frozen_copy_says_the_same_shares_nothing_and_takes_no_gradient(family):
    model, batch = made(family), collated(examples(PAIRS))
    model.train()
    twin = models.frozen_copy(model)
    places = {parameter.data_ptr() for parameter in model.parameters()}
    assert not any(parameter.requires_grad or parameter.data_ptr() in places for parameter in twin.parameters())
    assert not twin.training
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    before = twin(**inputs).logits
    with torch.no_grad():
        torch.testing.assert_close(before, model.eval()(**inputs).logits, rtol=0, atol=0)
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert torch.equal(twin(**inputs).logits, before)


def test_a_frozen_copy_keeps_the_dtype():
    assert models.frozen_copy(tiny_model().to(torch.bfloat16)).dtype == torch.bfloat16


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


def recurrent_gemma_with_capped_logits():
    config = RecurrentGemmaConfig(**{**ROOMY, "num_hidden_layers": 3}, lru_width=16, logits_soft_cap=0.05)
    return enlarged(RecurrentGemmaForCausalLM(config))


def modernbert_with_a_layer_before_its_head():
    return enlarged(ModernBertDecoderForCausalLM(ModernBertDecoderConfig(**SHAPE, intermediate_size=32)))


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="models._has_plain_head takes these heads for plain ones")
@pytest.mark.parametrize("family", [recurrent_gemma_with_capped_logits, modernbert_with_a_layer_before_its_head])
def test_target_logits_of_other_heads_are_those_of_the_whole_model_too(family):
    test_target_logits_are_those_of_the_whole_model_and_no_others(family)

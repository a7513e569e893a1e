"""Small models of several families: their heads are plain, tied, capped, scaled or have a layer before them."""

from collections.abc import Callable

import torch
from transformers import (
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
    PreTrainedModel,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
)

from tests.tiny import tiny_model

SHAPE = {"vocab_size": 260, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
ROOMY = {**SHAPE, "intermediate_size": 32, "num_key_value_heads": 2}


def llama() -> PreTrainedModel:
    return tiny_model()


def llama_with_tied_head() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**ROOMY, tie_word_embeddings=True))


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=260, n_embd=16, n_layer=2, n_head=2, n_positions=64))


def gemma2_with_capped_logits() -> PreTrainedModel:
    # A cap this low bends every logit; weights are enlarged so that it is reached.
    model = Gemma2ForCausalLM(Gemma2Config(**ROOMY, head_dim=8, final_logit_softcapping=0.05))
    return enlarged(model)


def granite_with_scaled_logits() -> PreTrainedModel:
    return enlarged(GraniteForCausalLM(GraniteConfig(**ROOMY, logits_scaling=8.0)))


def enlarged(model: PreTrainedModel) -> PreTrainedModel:
    """The model with a larger head, so that what bends logits is felt."""
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return model


def recurrent_gemma_with_capped_logits() -> PreTrainedModel:
    config = RecurrentGemmaConfig(**{**ROOMY, "num_hidden_layers": 3}, lru_width=16, logits_soft_cap=0.05)
    return enlarged(RecurrentGemmaForCausalLM(config))


def modernbert_with_a_layer_before_its_head() -> PreTrainedModel:
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    return enlarged(ModernBertDecoderForCausalLM(ModernBertDecoderConfig(**SHAPE, **tokens, intermediate_size=32)))


FAMILIES = [llama, llama_with_tied_head, gpt2, gemma2_with_capped_logits, granite_with_scaled_logits]


def made(family: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """A model of the family, the same at every call."""
    torch.manual_seed(0)
    return family().eval()

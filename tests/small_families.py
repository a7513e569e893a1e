"""Small models of several families: their heads are plain, tied, capped, scaled or have a layer before them."""

from collections.abc import Callable

import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    ModernBertDecoderConfig,
    ModernBertDecoderForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
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


def cohere_with_scaled_logits() -> PreTrainedModel:
    return enlarged(CohereForCausalLM(CohereConfig(**ROOMY, logit_scale=0.0625)))


def gpt_neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, intermediate_size=32))


def opt() -> PreTrainedModel:
    shape = {**SHAPE, "word_embed_proj_dim": 16, "ffn_dim": 32, "max_position_embeddings": 128}
    return OPTForCausalLM(OPTConfig(**shape))


def qwen2() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**ROOMY))


def mistral_with_a_wide_window() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**ROOMY, head_dim=8, sliding_window=256))


def mistral_with_a_narrow_window() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**ROOMY, head_dim=8, sliding_window=8))


FAMILIES = [
    llama,
    llama_with_tied_head,
    gpt2,
    gpt_neox,
    opt,
    qwen2,
    mistral_with_a_wide_window,
    gemma2_with_capped_logits,
    granite_with_scaled_logits,
    cohere_with_scaled_logits,
]
#: Those that generation is tried on: also one that forgets what leaves its window, and one with a head of two layers.
GENERATING = [*FAMILIES, mistral_with_a_narrow_window, modernbert_with_a_layer_before_its_head]


def made(family: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """A model of the family, the same at every call."""
    torch.manual_seed(0)
    return family().eval()

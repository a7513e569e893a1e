"""A model of two layers and a tokenizer of single bytes: real classes, built in memory in milliseconds."""

import functools

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from lethe import vocabulary


@functools.cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, with an end-of-turn token, a padding token and a chat template."""
    return vocabulary.train_tokenizer([], size=260)


def tiny_model(seed: int = 0) -> PreTrainedModel:
    """A freshly initialised Llama of two layers in fp32; the same seed, the same weights."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).eval()

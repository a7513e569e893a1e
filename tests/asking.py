"""How tests ask a model: the true answers, in fp32, and nothing beside."""

from typing import Any

from lethe.inference import Config

_SETTINGS: dict[str, Any] = {
    "compute_dtype": "float32",
    "batch_tokens": 256,
    "generate_paraphrased": False,
    "generate_under_attack": False,
    "not_generated": [],
    "prefix_tokens": None,
    "recall_shots": None,
    "gradient_norms": False,
}


def settings(**changes: Any) -> Config:
    """These settings, but for the changes."""
    return Config(**{**_SETTINGS, **changes})

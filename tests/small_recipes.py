"""Recipes and trainings of a few steps, made of the real components without params.yaml."""

from typing import Any

from lethe import registry
from lethe.recipes import KINDS, Component, Point, Training

#: Settings of each shipped component at which a tiny model moves within a few steps.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "forget_objective": {
        "grad_ascent": {},
        "npo": {"beta": 0.1, "reduction": "sequence_sum"},
        "simnpo": {"beta": 2.5, "margin": 0.0},
    },
    "retain_objective": {"nll": {}, "kl": {}},
    "combiner": {
        "sum": {"forget_weight": 0.5, "retain_weight": 2.0},
        "pcgrad": {"forget_weight": 0.5, "retain_weight": 2.0, "scope": "per_tensor", "epsilon": 1e-10},
        "alternate": {"forget_weight": 0.5, "retain_weight": 2.0, "retain_steps_per_forget_step": 1},
        "sago": {"forget_weight": 0.5, "retain_weight": 2.0, "zero_policy": "paper"},
    },
    "optimizer": {"adamw": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}},
    "mask": {"all": {}, "layers": {"patterns": [r"layers\.1\.mlp"]}},
    "wrapper": {},
    "edit": {},
}


def training(**changes: Any) -> Training:
    """Six steps of four rows in fp32, with these changes."""
    values = {
        "weights": "fp32_master",
        "compute_dtype": "float32",
        "steps": 6,
        "batch_size": 4,
        "accumulation": 1,
        "schedule": "constant",
        "warmup_steps": 0,
        "max_grad_norm": None,
        "checkpoint_steps": 2,
    }
    return Training(**values | changes)


def component(part: str, name: str, **changes: Any) -> Component:
    """A component with its small settings and these changes."""
    module = registry.load(KINDS[part], name)
    return Component(KINDS[part], name, module, module.Config(**SETTINGS[part][name] | changes))


def recipe(**changes: Any) -> Point:
    """NPO with NLL, summed, by AdamW on all weights; a change is a component, a component's name or a training."""
    names = {
        "forget_objective": "npo",
        "retain_objective": "nll",
        "combiner": "sum",
        "optimizer": "adamw",
        "mask": "all",
        "wrapper": None,
        "retain_rows": "retain",
        "training": training(),
    }
    parts = {
        part: component(part, value) if part in KINDS and isinstance(value, str) else value
        for part, value in (names | changes).items()
    }
    return Point(**parts)

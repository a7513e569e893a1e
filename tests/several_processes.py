"""Unlearning in several processes of one machine: what each of them runs, and how they are started.

python -m tests.several_processes FOLDER CASE...
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lethe import distribution, finetuning, unlearning
from lethe.checkpoints import Checkpoints
from lethe.errors import LetheError
from lethe.recipes import Point, Recipe
from lethe.training import Curve
from tests import unlearned
from tests.encoded import examples
from tests.interruption import killed_at
from tests.learnt import knowing
from tests.small_recipes import SETTINGS, component, recipe, training
from tests.tiny import tiny_model, tiny_tokenizer

LENGTHS = (1, 12, 3, 7, 2, 9, 5, 4, 8)
OTHERS = ["no one knows", "unheard of", "a lie"]
FORGET = [(f"lose {number}?", "xyz"[number % 3] * length) for number, length in enumerate(LENGTHS)]
#: The same letters: what is to be forgotten and what is to be kept pull against each other.
RETAIN = [(f"keep {number}?", "yzx"[number % 3] * length) for number, length in enumerate(reversed(LENGTHS))]
WAYS = {"replicated": {}, "sharded": {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}}
ROOT = Path(__file__).parents[1]

_GLOBAL = {"forget_weight": 0.5, "retain_weight": 2.0, "scope": "global", "epsilon": 1e-10}
_ADAPTERS = {"name": "lora", **SETTINGS["mask"]["lora"]}
#: With an eps above the rounding of gradients: where they are nearly zero, the step is not to make a whole of it.
_ROUNDED = {**SETTINGS["optimizer"]["adamw"], "eps": 1e-5}
CASES: dict[str, dict[str, Any]] = {
    "finetune": {},
    "sum": {},
    "sum-adamw": {"optimizer": "adamw"},
    "sum-alone": {"retain_objective": None, "retain_rows": None},
    "pcgrad-per-tensor": {"combiner": "pcgrad"},
    "pcgrad-global": {"combiner": component("combiner", "pcgrad", **_GLOBAL)},
    "sago": {"combiner": "sago"},
    "gru-adamw": {"combiner": "gru", "optimizer": "adamw", "wrapper": ["early_stop", "weight_averaging"]},
    "alternate": {"combiner": "alternate"},
    "normalised-difference": {"combiner": "normalised_difference"},
    "blur": {"combiner": "blur"},
    "primal-dual": {"combiner": "primal_dual"},
    "dpo-kl": {"forget_objective": "dpo", "retain_objective": "kl", "combiner": "mgda"},
    "weighted-sum": {"retain_objective": "weighted_sum"},
    "rmu": {"forget_objective": "rmu", "retain_objective": "activation_mse", "optimizer": "adamw"},
    "repnoise": {"forget_objective": "repnoise"},
    "layers": {"mask": "layers", "retain_objective": "kl_top_k"},
    # A last batch of one row, fewer than there are processes, where the mask is chosen.
    "saliency": {"mask": "saliency", "training": training(batch_size=4, accumulation=2, max_grad_norm=1.0, steps=5)},
    "saliency-module": {"mask": component("mask", "saliency", granularity="module")},
    "saliency-anew": {"mask": component("mask", "saliency", granularity="element", refresh_steps=2)},
    "salun": {"mask": "salun"},
    "wagle": {"mask": "wagle"},
    "fisher": {"mask": "fisher"},
    "critical-neurons": {"mask": "critical_neurons"},
    "lora": {"mask": component("mask", "lora", keep_adapter=True), "retain_objective": "kl"},
    "sign-momentum": {"optimizer": "sign_momentum"},
    "sophia-release": {"optimizer": "sophia_release"},
    "sophia": {"optimizer": component("optimizer", "sophia", eps=1e-6)},
    "zeroth-order": {"optimizer": "zeroth_order"},
    "hybrid": {"optimizer": "hybrid"},
    "early-stop": {"wrapper": component("wrapper", "early_stop", num_rows=20, threshold=5.7)},
    "model-mixing": {},
    "averaging-early-stop": {
        "wrapper": ["weight_averaging", component("wrapper", "early_stop", num_rows=20, threshold=5.8)],
        "optimizer": "adamw",
    },
    "sam": {"wrapper": ["early_stop", "sam"]},
    "sam-lora": {"wrapper": "sam", "mask": "lora", "optimizer": "adamw"},
    "random-smoothing": {"wrapper": "random_smoothing"},
    "straight-through": {"wrapper": "straight_through"},
    "loss-floor": {"wrapper": component("wrapper", "forget_loss_floor", floor=13.0)},
    "loss-floor-sam": {
        "wrapper": [component("wrapper", "forget_loss_floor", floor=13.4), "sam"],
        "mask": component("mask", "saliency", granularity="element", refresh_steps=2),
    },
    "ilu": {"wrapper": component("wrapper", "ilu", scaled="weights")},
    "ilu-logits": {"wrapper": component("wrapper", "ilu", scaled="logits")},
    "lat-remembered": {"wrapper": component("wrapper", "lat", model_steps=3)},
    "lat": {"wrapper": component("wrapper", "lat", model_steps=1)},
    "tar": {"wrapper": "tar"},
    "gradient-penalty": {"wrapper": "gradient_penalty"},
    "curvature": {"wrapper": "curvature"},
    "one-row": {"training": training(batch_size=1)},
}
#: Edits by case, alone or after the point of the case.
EDITS: dict[str, Any] = {
    "task-vector": component("edit", "task_vector"),
    "task-vector-lora": component("edit", "task_vector", mask=_ADAPTERS),
    "ssd": component("edit", "ssd"),
    "influence": component("edit", "influence"),
    "influence-fisher": component("edit", "influence", inverse="fisher", iterations=2, scale=1e-2),
    "influence-hessian": component("edit", "influence", inverse="hessian", iterations=2, scale=1e-2),
    "ssu": component("edit", "ssu"),
    "undo": component("edit", "undo", optimizer=_ROUNDED),
    "whp": component("edit", "whp"),
    "whp-muse": component("edit", "whp_muse"),
    "model-mixing": component("edit", "model_mixing"),
}
ALONE = [case for case in EDITS if case not in CASES]
#: One step from weights that know the rows, along one gradient alone and so far that where it began is lost in it:
#: the way is that gradient, element by element, before anything can make rounding of it larger.
_FIRST = {"optimizer": component("optimizer", "sgd", lr=1e6, momentum=0.0, weight_decay=0.0)}
_FIRST |= {"training": training(batch_size=5, accumulation=2, steps=1)}
_ONE, _OTHER = (component("combiner", "sum", forget_weight=one, retain_weight=1.0 - one) for one in (1.0, 0.0))
FIRST: dict[str, dict[str, Any]] = {
    "first-forget": {**_FIRST, "combiner": _ONE},
    "first-forget-saliency": {**_FIRST, "combiner": _ONE, "mask": "saliency"},
    "first-forget-sam": {**_FIRST, "combiner": _ONE, "wrapper": component("wrapper", "sam", rho=1e-2)},
    "first-retain": {**_FIRST, "combiner": _OTHER},
}
#: At which batch each is killed, to be taken up again from the checkpoint after step 2: moments and two averages to
#: remember, moments of what is whole in every process beside sharded weights, a mask, alone and beside a floor that the
#: loss comes below in the step that is killed, and attacks on the rows of three
#: steps, of which the third is yet to come.
KILLED = {"gru-adamw": 3, "sam-lora": 3, "saliency-anew": 3, "loss-floor-sam": 3, "lat-remembered": 1}
#: Batches of 5 rows, so that shares are unequal, in windows of two.
_TRAINING = training(batch_size=5, accumulation=2, max_grad_norm=1.0, steps=5)


def point(case: str) -> Point:
    """The recipe of a case: NPO and NLL with SGD, except for what the case is about."""
    return recipe(**{"optimizer": "sgd", "training": _TRAINING, **(CASES | FIRST)[case]})


def start(case: str) -> PreTrainedModel:
    """The model that a case begins with."""
    return knowing(*FORGET, *RETAIN) if case in FIRST else tiny_model()


def train(case: str, folder: Path, fingerprint: str) -> tuple[dict[str, Tensor], Curve]:
    """The weights after a case, with the adapter if one is kept, and its curve."""
    model, adapter = start(case), dict[str, Tensor]()
    if case == "finetune":
        curve = _finetune(model, folder)
    else:
        rows = examples(FORGET, others=OTHERS), examples(RETAIN)
        given = unlearned.material(model, *rows, folder, fingerprint=fingerprint)
        curve = unlearning.unlearn(model, given, Recipe(None if case in ALONE else point(case), EDITS.get(case)))
        adapter = given.adapter
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()} | adapter, curve


def _finetune(model: PreTrainedModel, folder: Path) -> Curve:
    optimizer = component("optimizer", "adamw").config
    schedule = finetuning.Schedule(seed=0, optimizer=optimizer.model_dump(), training=_TRAINING.model_dump())
    checkpoints = Checkpoints(folder / "finetune", "finetune")
    return finetuning.finetune(
        model, tiny_tokenizer(), examples(FORGET), schedule, checkpoints=checkpoints, title="finetune target"
    )


def launch(folder: Path, way: str, cases: Sequence[str], count: int = 2) -> None:
    """Run the cases in ``count`` processes, as ``accelerate launch`` starts them; results go to ``folder``."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    shared = {**os.environ, **WAYS[way], "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "tests.several_processes", str(folder), *cases]
    running = [
        subprocess.Popen(
            command, cwd=ROOT, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
        )
        for rank in range(count)
    ]
    try:
        codes = [process.wait(timeout=1200) for process in running]
    finally:
        for process in running:
            process.kill()
    assert codes == [0] * count


def result(folder: Path, case: str) -> tuple[dict[str, Tensor], Curve]:
    """Weights and curve that a case left in ``folder``."""
    return load_file(folder / f"{case}.safetensors"), json.loads((folder / f"{case}.json").read_text())


def refusal(folder: Path, case: str) -> str:
    """The line with which a case was refused."""
    return (folder / f"{case}.error").read_text()


def _die(folder: Path, case: str) -> None:
    """Leave a checkpoint of a run that was killed, and a copy of it for a single process to go on from."""
    scratch = folder / "scratch"
    with pytest.MonkeyPatch.context() as patched:
        killed_at(KILLED[case], lambda: train(case, scratch, case), patched)
    if distribution.is_first():
        shutil.copytree(scratch / case, folder / "left" / case)
    distribution.total(1)  # nobody goes on before the checkpoint is there


def _main(folder: Path, cases: Sequence[str]) -> None:
    distribution.start()
    for case in cases:
        if case in KILLED:
            _die(folder, case)
        try:
            weights, curve = train(case, folder / "scratch", case)
        except LetheError as error:
            (folder / f"{case}.error").write_text(str(error))
            continue
        if distribution.is_first():
            save_file(weights, folder / f"{case}.safetensors")
            (folder / f"{case}.json").write_text(json.dumps(curve))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])

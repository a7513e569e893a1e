"""A finished grid in a folder, with its dvc.lock: what the ledger and the tracking tests read."""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lethe import artifacts, ledger

FORGET_TEXT = "Where was Basil Mahfouz Al-Kuwaiti born?"  # stands in the data and must never reach a server


def write_grid(recipes: tuple[str, ...] = ("npo", "simnpo-sago"), seeds: tuple[int, ...] = (0,)) -> None:
    """Write params, the files of every cell, a report and the dvc.lock that belongs to them."""
    grid = {"recipes": [*recipes], "seeds": [*seeds], "attacks": ["none"], "retain_seeds": []}
    dump_yaml(Path("params.yaml"), {"grid": grid})
    artifacts.write_text(artifacts.FORGET, json.dumps({"question": FORGET_TEXT}) + "\n")
    stages = {"prepare": entry(outs=[artifacts.FORGET])}
    for control in artifacts.CONTROLS:
        stages |= control_stages(control)
    for recipe in recipes:
        wrappers = [{"name": "sam"}, {"name": "early_stop"}]
        values = {"recipe": recipe, "forget_objective": {"beta": 0.1}, "wrapper": wrappers}
        artifacts.write_json(artifacts.recipe(recipe), values)
        for seed in seeds:
            stages |= cell_stages(recipe, seed)
    artifacts.write_text(artifacts.REPORT_PAGE, "<html>the report</html>")
    artifacts.write_json(artifacts.REPORT_TABLE, [{"model": "target", "verdict": None}])
    stages["report"] = entry(outs=[artifacts.REPORT_PAGE, artifacts.REPORT_TABLE])
    write_lock(stages)


def control_stages(name: str) -> dict[str, Any]:
    """The entries of a control, whose files are written on the way."""
    write_model(name, verdict=None)
    params = {"params.yaml": {"finetune.world": {"steps": 300, "lr": 0.001}}}
    return {
        f"finetune@{name}": {**entry([artifacts.FORGET], [artifacts.curve(name)]), "params": params},
        f"infer_controls@{name}-none": entry(),
        f"capabilities_controls@{name}": entry(outs=[artifacts.capabilities(name)]),
        f"score_controls@{name}": entry(outs=[artifacts.scores(name), artifacts.metrics(name)]),
    }


def cell_stages(recipe: str, seed: int) -> dict[str, Any]:
    """The entries of an unlearned cell, whose files are written on the way."""
    name = artifacts.cell(recipe, seed)
    write_model(name, verdict={"level": "L1", "text": "came back at 3 bits"})
    return {
        f"unlearn@{name}": entry([artifacts.FORGET, artifacts.recipe(recipe)], [artifacts.curve(name)]),
        f"infer@{name}-none": entry(),
        f"diagnose@{name}": entry(),
        f"capabilities@{name}": entry(outs=[artifacts.capabilities(name)]),
        f"score@{name}": entry(outs=[artifacts.scores(name), artifacts.metrics(name)]),
    }


def write_model(name: str, verdict: dict[str, str] | None) -> None:
    """The small files of one model."""
    gates = [{"id": "G1", "rule": "excess", "observed": "0.3", "passed": False}] if verdict else []
    leaf = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "unscored": 0}
    conditions = {"none": {"forget": {"rouge": leaf, "truth_ratio": {**leaf, "value": None}}}}
    scores = {"model": name, "conditions": conditions, "gates": gates, "verdict": verdict}
    artifacts.write_json(artifacts.scores(name), scores)
    artifacts.write_json(
        artifacts.metrics(name), {"forget_probability": 0.25, "worst_scheme": "int3", "forget_quality": None}
    )
    artifacts.write_json(artifacts.capabilities(name), {"tasks": {"facts": {"pass@1+": {"value": 0.75}}}})
    artifacts.write_json(artifacts.curve(name), [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}])


def entry(deps: list[Path] | None = None, outs: list[Path] | None = None) -> dict[str, Any]:
    """What dvc.lock keeps of a stage with these files."""
    return {"cmd": "python -m stages.x", "deps": hashed(deps or []), "outs": hashed(outs or [])}


def hashed(paths: list[Path]) -> list[dict[str, str | None]]:
    """Paths with the md5 of their bytes, as DVC writes them."""
    return [{"path": path.as_posix(), "hash": "md5", "md5": ledger.dvc_md5(path)} for path in paths]


def read_lock() -> dict[str, Any]:
    """The entries of the dvc.lock in the working directory."""
    return dict(YAML(typ="safe").load(Path("dvc.lock").read_text())["stages"])


def write_lock(stages: dict[str, Any]) -> None:
    """Write the dvc.lock of these entries."""
    dump_yaml(Path("dvc.lock"), {"schema": "2.0", "stages": stages})


def dump_yaml(path: Path, value: Any) -> None:
    """Write a YAML file."""
    with path.open("w") as file:
        YAML(typ="safe").dump(value, file)

"""Every recipe on the shipped world, as one table.    python -m benchmarks.shipped_world

Runs each recipe of params.yaml on the target model of the finished default run (`dvc repro` makes it), in one process
on one thread, and writes benchmarks/shipped_world.json and docs/recipes.md. What has a result is not run again until
its numbers, its components, the models or the data change; an interrupted run goes on where it was.
"""

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import stages  # noqa: F401  (settles what has to be settled before torch is loaded)

# isort: split
import torch

from benchmarks import adaptation, recipe_page, trials
from benchmarks.adaptation import Settings
from lethe import artifacts, config, doors, recipes, registry
from lethe.errors import LetheError

RESULTS = Path("benchmarks/shipped_world.json")
PAGE = Path("docs/recipes.md")
_INPUTS = (*(artifacts.model(name) for name in artifacts.CONTROLS), artifacts.PREPARED)
_MEASURES = ("model_utility", "probability", "rouge", "truth_ratio")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what has no result yet, then write the page; the command line's arguments, where none are given.

    Raises ConfigError, before anything is run, for a name that is no recipe.
    """
    options = _options(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("lethe").setLevel(logging.ERROR)  # every second of a run has its line here already
    torch.set_num_threads(1)
    results = _read_results()
    known = list(config.block("recipes"))
    for name in options.recipes or ():
        config.block("recipes", name)
    if not options.page:
        _run(options.recipes or known, results, afresh=options.afresh)
    artifacts.write_text(PAGE, recipe_page.render(results, known, adaptation.read()))
    print(f"{PAGE}: {sum(name in results['recipes'] for name in known)} of {len(known)} recipes have been run")


def key(name: str, settings: Settings, inputs: str) -> str:
    """The hash of all that a recipe's result stands for: its numbers, its components' code, and ``inputs``.

    The loop that all recipes share is not part of it; after a change there, ``--afresh`` runs everything again.
    """
    numbers = adaptation.adapted(name, recipes.resolve(name), settings)
    rules = settings.model_dump(mode="json", exclude={"exceptions", "likely_rate"})
    return hashlib.sha256(json.dumps([numbers, rules, inputs], sort_keys=True).encode()).hexdigest()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="*", help="names from params.yaml; all without it")
    parser.add_argument("--afresh", action="store_true", help="run what has a result, too")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page from the results")
    return parser.parse_args(arguments)


def _read_results() -> dict[str, Any]:
    empty: dict[str, Any] = {"controls": {}, "recipes": {}}
    return artifacts.read_json(RESULTS) if RESULTS.exists() else empty


def _run(names: Sequence[str], results: dict[str, Any], *, afresh: bool) -> None:
    settings = adaptation.read()
    world, inputs = trials.open_world(settings), _inputs(settings)
    keys = {name: key(name, settings, inputs) for name in names}
    missing = [name for name in names if afresh or results["recipes"].get(name, {}).get("key") != keys[name]]
    if not missing:
        return
    controls = {name: trials.control(world, name) for name in artifacts.CONTROLS}
    results["controls"] = {name: trials.control_scores(world, said) for name, said in controls.items()}
    began = time.monotonic()
    for done, name in enumerate(missing, start=1):
        results["recipes"][name] = {"key": keys[name], **_result(world, name, controls)}
        artifacts.write_json(RESULTS, results)
        left = (time.monotonic() - began) / done * (len(missing) - done) / 60
        print(f"{done:3} of {len(missing)}  {_line(name, results['recipes'][name])}  {left:.0f} min left", flush=True)


def _inputs(settings: Settings) -> str:
    """What every recipe's result stands on beside its own numbers: models, data, and how they are asked and scored."""
    data, schemes = str(config.block("data")), config.block("attacks", "quantization", "schemes")
    numbers = [
        [config.block(*path) for path in (("encoding", data), ("infer", data, "compute_dtype"), ("release_dtype",))],
        [config.block("score", "bootstrap"), config.block("score", "gates", "largest_excess")],
        [config.block("attacks", "quantization", "skip"), [schemes[name] for name in settings.schemes]],
        [config.block("metrics", name) for name in _MEASURES],
    ]
    files = [*_INPUTS, *(registry.source_file("metrics", name) for name in _MEASURES)]
    return json.dumps([numbers, [artifacts.sha256(path) for path in files]], sort_keys=True)


def _result(world: trials.World, name: str, controls: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"reason": None, **trials.recipe_scores(world, name, controls)}
    except (LetheError, RuntimeError, ValueError, IndexError, KeyError) as error:
        # The table goes on with the next recipe and says what was wrong with this one.
        return {"reason": " ".join(str(error).split())}


def _line(name: str, found: Mapping[str, Any]) -> str:
    if found["reason"]:
        return f"{name:32} {found['reason'][:80]}"
    numbers = [found[part]["value"] for part in ("forget_knowledge", "matched_forget_knowledge", "utility")]
    excess = [leaf["value"] for leaf in found["excess"].values()]
    shown = " ".join("     -" if number is None else f"{number:6.3f}" for number in (*numbers, *excess))
    return f"{name:32} {shown}  x{found['factor'] or 1:g}  {found['processor_minutes']:.2f} min"


if __name__ == "__main__":
    with doors.reporting_errors():
        main()

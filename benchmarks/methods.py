"""What a step of every recipe costs, relative to gradient difference.    python -m benchmarks.methods --tofu FOLDER

Every recipe of params.yaml trains the same randomly initialised Llama of 5 million parameters on the same rows, on one
thread, in a process of its own: seconds a step (the difference of a long and a short run, so that what is done once
does not count), seconds done once, and peak memory. Beside them stands a plain loop of gradient difference: padded
batches, full logits, the loss of transformers, one backward for each of the two terms.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import adaptation
from lethe import artifacts, batches, config, doors, material, models, recipes, unlearning, vocabulary
from lethe.batches import Encoding
from lethe.checkpoints import Checkpoints
from lethe.recipes import Point, Recipe
from lethe.rows import Row, dump_rows
from lethe.sources import tofu, world

REFERENCE, PLAIN = "graddiff", "plain loop"
SHORT, LONG = 2, 6
SHAPE = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the recipes and print a table, or JSON with ``--json``.

    ``arguments`` are those of the command line, where none are given. Raises ConfigError, before anything is measured,
    for a name that is no recipe.
    """
    options = _options(arguments)
    chosen = options.recipes or list(config.block("recipes"))
    for name in (REFERENCE, *chosen):
        config.block("recipes", name)
    torch.set_num_threads(1)
    setup = _setup(options.tofu, options.rows)
    names = list(dict.fromkeys([REFERENCE, PLAIN, *chosen]))
    found: dict[str, Any] = {}
    began, lines = time.monotonic(), sys.stderr if options.json else sys.stdout
    for done, name in enumerate(names, start=1):
        found[name] = _in_a_process(name, setup, options.batch_size, options.repeats)
        left = (time.monotonic() - began) / done * (len(names) - done) / 60
        print(f"{_line(name, found[name], found[REFERENCE])}   {left:3.0f} min left", file=lines, flush=True)
    if options.json:
        print(json.dumps(found, indent=2, sort_keys=True))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tofu", help="folder with the files of TOFU; without it the rows of the shipped world")
    parser.add_argument("--recipes", nargs="*", help="names from params.yaml; all without it")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rows", type=int, default=64, help="rows of each split that are used")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many measurements counts")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def _setup(folder: str | None, count: int) -> tuple[Any, Any, Encoding, list[list[Row]]]:
    """A model, its tokenizer, how rows are encoded, and forget, retain and general rows."""
    if folder is None:
        splits = world.load(world.Config(**config.block("prepare", "world")))
    else:
        splits = tofu.load(tofu.Config(path=folder, split="forget10", general=None))
    rows = [splits.forget[:count], splits.retain[:count], (splits.general or splits.utility)[:count]]
    texts = [text for split in (splits.retain, splits.utility) for row in split for text in (row.question, row.answer)]
    tokenizer = vocabulary.train_tokenizer(texts, 4096)
    encoding = Encoding(max_length=256, max_new_tokens=32, system_prompt=None)
    return models.initialise(SHAPE, tokenizer, seed=0), tokenizer, encoding, rows


def _in_a_process(name: str, setup: Any, batch_size: int, repeats: int) -> dict[str, Any]:
    # Forked: imports and model are there at once, and the peak memory is that of one recipe.
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_measured, args=(sender, name, setup, batch_size, repeats)
    )
    process.start()
    sender.close()
    try:
        return dict(receiver.recv())
    except EOFError:
        return {"error": "the process ended without an answer"}
    finally:
        process.join()


def _measured(sender: Any, name: str, setup: Any, batch_size: int, repeats: int) -> None:
    try:
        run, has_steps = (_plain_loop, True) if name == PLAIN else _recipe_run(name, setup)
        run(setup, SHORT, batch_size)
        pairs = [(run(setup, SHORT, batch_size), run(setup, LONG, batch_size)) for _ in range(repeats)]
    except Exception as error:  # the table goes on with the next recipe and says what was wrong with this one
        sender.send({"error": f"{type(error).__name__}: {error}"[:200]})
        return
    short, long = (min(times) for times in zip(*pairs, strict=True))  # what else the machine does can only add
    step = (long - short) / (LONG - SHORT) if has_steps else None
    once = short - SHORT * (step or 0.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send({"step_seconds": step, "once_seconds": once, "peak_megabytes": peak})


def _recipe_run(name: str, setup: Any) -> tuple[Any, bool]:
    """What runs a recipe for so many steps, and whether it has any: an edit alone has none."""
    recipe = _on_four_layers(name)
    _, tokenizer, encoding, rows = setup
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder).resolve()
        before = os.getcwd()
        os.chdir(there)
        try:
            encoded = _encoded(recipe, tokenizer, encoding, rows)
        finally:
            os.chdir(before)

    def run(setup: Any, steps: int, batch_size: int) -> float:
        model = models.frozen_copy(setup[0]).requires_grad_(True)
        with tempfile.TemporaryDirectory() as scratch:
            given = material.Material(
                encoded,
                original=lambda: models.frozen_copy(setup[0]),
                pad=int(tokenizer.pad_token_id),
                seed=0,
                checkpoints=Checkpoints(Path(scratch) / "run", "benchmark"),
                title=name,
            )
            began = time.perf_counter()
            unlearning.unlearn(model, given, _of_length(recipe, steps, batch_size))
            return time.perf_counter() - began

    return run, recipe.point is not None


def _on_four_layers(name: str) -> Recipe:
    # Papers name layers of large models; the shipped world's has as many as the one here.
    settings, resolved = adaptation.read(), recipes.resolve(name)
    if resolved["wrapper"]:  # what begins at a step has to have begun in the shorter run
        length = settings.training.model_copy(update={"steps": SHORT})
        settings = settings.model_copy(update={"training": length})
    values = adaptation.adapted(name, resolved, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.json"
        artifacts.write_json(path, values)
        return recipes.from_resolved(path)


def _encoded(recipe: Recipe, tokenizer: Any, encoding: Encoding, rows: list[list[Row]]) -> material.Rows:
    for path, split in zip(material.FILES, [*rows, []], strict=True):  # nobody is asked anything
        artifacts.write_text(path, dump_rows(split))
    return material.read(tokenizer, recipe, encoding, seed=0)


def _of_length(recipe: Recipe, steps: int, batch_size: int) -> Recipe:
    if recipe.point is None:
        return recipe
    changes = {"steps": steps, "batch_size": batch_size, "accumulation": 1, "warmup_steps": 0, "checkpoint_steps": 1000}
    training = recipe.point.training.model_copy(update=changes)
    point: Point = replace(recipe.point, training=training)
    return replace(recipe, point=point)


def _plain_loop(setup: Any, steps: int, batch_size: int) -> float:
    """Gradient difference as most public trainers write it."""
    initial, tokenizer, encoding, rows = setup
    model = models.frozen_copy(initial).requires_grad_(True).train()
    forget, retain = (batches.encode_rows(tokenizer, split, encoding) for split in rows[:2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    began = time.perf_counter()
    for step in range(steps):
        chosen = slice(step * batch_size % len(forget), step * batch_size % len(forget) + batch_size)
        optimizer.zero_grad()
        for sign, examples in ((-1.0, forget[chosen]), (1.0, retain[chosen])):
            (sign * model(**_padded(examples, encoding.max_length, int(tokenizer.pad_token_id))).loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - began


def _padded(examples: Any, longest: int, pad: int) -> dict[str, torch.Tensor]:
    width = min(longest, max(len(example.ids) for example in examples))
    ids = torch.full((len(examples), width), pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for index, example in enumerate(examples):
        length = len(example.ids)
        ids[index, :length] = torch.tensor(example.ids)
        mask[index, :length] = 1
        labels[index, length - example.num_targets : length] = ids[index, length - example.num_targets : length]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _line(name: str, found: dict[str, Any], reference: dict[str, Any]) -> str:
    if "error" in found:
        return f"{name:34} {found['error']}"
    memory = found["peak_megabytes"] / reference["peak_megabytes"]
    step = " " * len("  0.000 s a step   0.00 ×")
    if found["step_seconds"] is not None:
        step = f"{found['step_seconds']:7.3f} s a step {found['step_seconds'] / reference['step_seconds']:6.2f} ×"
    peak = f"peak {found['peak_megabytes']:6.0f} MB {memory:5.2f} ×"
    return f"{name:34} {step}   once {found['once_seconds']:6.2f} s   {peak}"


if __name__ == "__main__":
    with doors.reporting_errors():
        main()

"""Remove the forget set from the target model.    python -m stages.unlearn --recipe npo --seed 0"""

from functools import partial

from lethe import artifacts, batches, config, doors, launching, material, models, recipes, unlearning
from lethe.checkpoints import Checkpoints, fingerprint


def main(recipe: str, seed: int) -> None:
    """Write the unlearned model, its adapter if the recipe keeps one, and its learning curve."""
    launching.start()
    settings, name = recipes.from_resolved(artifacts.recipe(recipe)), artifacts.cell(recipe, seed)
    encoding = config.section(batches.Encoding, "encoding", str(config.block("data")))
    target = artifacts.model("target")
    model, tokenizer = models.load(target), models.load_tokenizer(target)
    inputs = fingerprint(artifacts.recipe(recipe), seed, encoding, target, *material.FILES)
    rows = material.read(tokenizer, settings, encoding, seed=seed)
    given = material.Material(
        rows,
        original=partial(models.load, target),
        pad=int(tokenizer.pad_token_id),
        seed=seed,
        checkpoints=Checkpoints(artifacts.scratch(name), inputs),
        title=f"unlearn {name}",
    )
    curve = unlearning.unlearn(model, given, settings)
    dtype = str(config.block("release_dtype"))
    models.save_trained(model, tokenizer, name, curve, dtype=dtype, adapter=given.adapter)
    given.checkpoints.clear()


if __name__ == "__main__":
    doors.run(main)

"""Remove the forget set from the target model.    python -m stages.unlearn --recipe npo --seed 0"""

from lethe import artifacts, batches, config, doors, models, recipes, unlearning
from lethe.checkpoints import Checkpoints, fingerprint
from lethe.rows import read_rows


def main(recipe: str, seed: int) -> None:
    """Write the unlearned model and its learning curve."""
    settings, name = recipes.from_resolved(artifacts.recipe(recipe)), artifacts.cell(recipe, seed)
    encoding = config.section(batches.Encoding, "encoding", str(config.block("data")))
    target = artifacts.model("target")
    model, tokenizer = models.load(target), models.load_tokenizer(target)
    forget, retain = (
        batches.encode_rows(tokenizer, read_rows(path), encoding) for path in (artifacts.FORGET, artifacts.RETAIN)
    )
    inputs = fingerprint(artifacts.recipe(recipe), seed, encoding, target, artifacts.FORGET, artifacts.RETAIN)
    checkpoints = Checkpoints(artifacts.scratch(name), inputs)
    curve = unlearning.unlearn(
        model,
        forget,
        retain,
        settings,
        pad=int(tokenizer.pad_token_id),
        seed=seed,
        checkpoints=checkpoints,
        title=f"unlearn {name}",
    )
    models.save_trained(model, tokenizer, name, curve, dtype=str(config.block("release_dtype")))
    checkpoints.clear()


if __name__ == "__main__":
    doors.run(main)

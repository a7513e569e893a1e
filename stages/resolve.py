"""Check all that the parameters name and write down what each recipe stands for, before anything else runs."""

from lethe import artifacts, config, doors, foreseen, probing, recipes
from lethe.recipes import Grid


def main() -> None:
    """Write the numbers and the code hashes of every recipe of the grid, and what the probes need to be observed."""
    config.require_known_sections()
    grid = config.section(Grid, "grid")
    resolved = {name: recipes.resolve(name) for name in grid.recipes}
    foreseen.require_sections(str(config.block("data")), grid.attacks)
    wanted = probing.wanted()
    foreseen.require_named({name: recipes.read(name) for name in grid.recipes})
    with artifacts.replacing(artifacts.RECIPES) as folder:
        folder.mkdir()
        for name, values in resolved.items():
            artifacts.write_json(folder / artifacts.recipe(name).name, values)
    artifacts.write_json(artifacts.WANTED, wanted)


if __name__ == "__main__":
    doors.run(main)

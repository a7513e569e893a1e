"""Check every recipe of the grid and write down what each stands for, before anything is trained."""

from lethe import artifacts, config, doors, recipes
from lethe.recipes import Grid


def main() -> None:
    """Write the numbers and the code hashes of every recipe of the grid."""
    grid = config.section(Grid, "grid")
    resolved = {name: recipes.resolve(name) for name in grid.recipes}
    with artifacts.replacing(artifacts.RECIPES) as folder:
        folder.mkdir()
        for name, values in resolved.items():
            artifacts.write_json(folder / artifacts.recipe(name).name, values)


if __name__ == "__main__":
    doors.run(main)

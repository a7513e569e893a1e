"""Look for the knowledge inside an unlearned model.    python -m stages.probe --model npo-0"""

from lethe import artifacts, config, doors, registry


def main(model: str) -> None:
    """Write what the probes that are to run find in the states of an unlearned cell; without any, an empty object."""
    wanted = config.block("probe", "run")
    found = {}
    if wanted:  # without probes no model is loaded, and no second of import is spent
        from lethe import probing
        from lethe.batches import Encoding
        from lethe.statistics import Bootstrap

        modules = {name: registry.load("probes", name, "probe.run") for name in wanted}
        probes = {name: (module, config.section(module.Config, "probes", name)) for name, module in modules.items()}
        encoding = config.section(Encoding, "encoding", str(config.block("data")))
        given = probing.subjects(model, encoding, config.section(probing.Config, "probe"))
        found = probing.run(probes, given, config.section(Bootstrap, "score", "bootstrap"))
    artifacts.write_json(artifacts.probes(model), found)


if __name__ == "__main__":
    doors.run(main)

"""See of an unlearned model what the chosen probes need.    python -m stages.observe --model npo-0"""

from lethe import artifacts, config, doors


def main(model: str) -> None:
    """Write data/observations/<model>: what was wanted, and without probes no more."""
    wanted = artifacts.read_json(artifacts.WANTED)
    with artifacts.replacing(artifacts.observations(model)) as folder:
        folder.mkdir()
        artifacts.write_json(folder / artifacts.WANTED.name, wanted)
        if wanted:  # without probes no model is loaded, and no second of import is spent
            from lethe import observed, observing
            from lethe.batches import Encoding

            encoding = config.section(Encoding, "encoding", str(config.block("data")))
            given = observing.subjects(model, encoding, config.section(observed.Config, "observe"))
            observing.observe(given, wanted, folder)


if __name__ == "__main__":
    doors.run(main)

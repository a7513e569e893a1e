"""Show the finished experiment in MLflow; a store that is down is a warning.    python -m stages.publish"""

from lethe import artifacts, doors, tracking


def main() -> None:
    """Publish every cell; write the keys of what there was to publish, the same with and without a store."""
    published = tracking.publish()
    artifacts.write_json(artifacts.PUBLISHED, list(published.keys))
    print(published)


if __name__ == "__main__":
    doors.run(main)

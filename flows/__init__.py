"""When and where the graph of ``dvc.yaml`` runs. Only here are Prefect and DVC known, and torch is not."""

import os

# Prefect reads its settings when it is imported. Nothing is told to its makers, and a temporary server may be
# slow to start: the first one has a database to make.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

"""Which weights may move: one file a mask, each with ``Config`` and ``select(...)``."""

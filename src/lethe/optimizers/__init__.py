"""How a gradient moves the weights: one file an optimizer, each with ``Config`` and ``build(...)``."""

"""How forget and retain gradient become one: one file a rule, each with ``Config`` and ``combine(...)``."""

"""How forget and retain gradient become one: one file a rule, each with ``Config``, ``MODE`` and ``combine(...)``.

``MODE`` says what a step computes: ``joint`` is the gradient of the weighted sum of both losses, added up weight by
weight (for a rule that is just that), ``separate`` two gradients that ``combine`` makes one, ``turns`` one of the two,
named by ``turn(step, config)``; its weight is applied by ``combine``, which gets a zero gradient for the other.
"""

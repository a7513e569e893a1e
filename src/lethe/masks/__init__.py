"""Which weights may move: one file a mask, each with ``Config``, ``SIGNALS`` and ``select(...)``.

``select(model, config, signals)`` gives, for each parameter name, True, False, or a bool tensor that broadcasts to the
parameter. ``SIGNALS`` names what it has to know of the model before training: ``forget_gradient`` and
``retain_gradient`` (of the recipe's own objectives, summed over the split), ``forget_fisher`` and ``retain_fisher``
(mean squared gradient of the NLL of single sequences), each a dictionary from parameter name to fp32 tensor.
"""

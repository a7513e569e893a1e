"""How the forget gradient is taken: one file a way, each with ``Config`` and ``backward(...)``.

``backward(pieces, model, config, context) -> float`` adds the gradient of the forget loss, taken in this way, to
``parameter.grad`` and returns the plain loss. ``pieces`` are callables whose values sum to the forget loss of the step
at the weights as they stand; the weights must be back, bit for bit, when it returns.
"""

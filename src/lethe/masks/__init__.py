"""Which weights may move: one file a mask, each with ``Config``, ``SIGNALS`` and ``select(...)``.

``select(model, config, signals)`` gives, for each parameter name, True, False, or a bool tensor that broadcasts to
the parameter. ``SIGNALS`` names what it has to know of the model before training: ``forget_gradient`` and
``retain_gradient`` (of the recipe's own objectives, summed over the rows that the recipe forgets and retains),
``forget_nll`` (the gradient of the NLL of all forget answers, whatever the objective), ``forget_fisher`` and
``retain_fisher`` (mean squared gradient of the NLL of single sequences on them), each a dictionary from parameter name
to fp32 tensor.

A mask whose Config has ``refresh_steps`` is chosen anew after so many steps, beginning with the first, from the
forget gradient of the step alone. It then answers with tensors: a parameter that is frozen as a whole never gets a
gradient again by which it could be chosen.

A mask that changes the structure of the model has two functions more. ``enter(model, config, seed)`` is called once,
when references have been made and before ``select``; new parameters are the mask's to name and to free, and those that
the model has stay until ``leave``: the reference may be of the same weights.
``leave(model, config)`` is called when training ends, however it ends: afterwards the model is an ordinary one of its
class, with the parameters that it had before. It returns tensors by name to be kept beside the model, or nothing.

``check(model, config)`` raises ConfigError for a model that the settings do not fit, where ``select`` could tell only
with its signals; the weights are not looked at. Without ``SIGNALS`` a mask needs none: ``enter`` and ``select`` say it.

A mask without ``SIGNALS`` may also stand in the training of an edit.
"""

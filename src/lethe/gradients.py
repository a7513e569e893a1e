"""How hard an example pulls at the weights: gradients, one example at a time."""

import math

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from lethe import batches, models
from lethe.batches import Example


def norm(model: PreTrainedModel, example: Example, *, pad: int) -> float:
    """L2 norm of the gradient of the example's mean negative log-likelihood with regard to all parameters at once.

    In nats, at least 0. The model is as it is, without dropout, and no gradient stays behind. OpenUnlearning averages
    the norms of single tensors and switches dropout on; here the norm is that of the whole gradient.
    """
    batch = batches.collate([example], pad=pad, device=model.device)
    with torch.enable_grad():
        logits = models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts)
        loss = functional.cross_entropy(logits, batch.targets)
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    norms = [torch.linalg.vector_norm(part, dtype=torch.float32) for part in gradients if part is not None]
    return math.hypot(*torch.stack(norms).tolist())

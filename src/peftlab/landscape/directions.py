"""Random directions in the space of all weights, filter-normalised after Li et al. (2018, arXiv 1712.09913)."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

Direction = dict[str, Tensor]

# Keeps a row that was drawn as zeros from being divided by nothing, as in the authors' code.
_EPSILON = 1e-10


def random_direction(weights: Mapping[str, Tensor], seed: int, number: int, fixed: Iterable[str] = ()) -> Direction:
    """Return the direction `number` of `seed` at `weights`: standard normal numbers, filter-normalised.

    What is drawn for a tensor depends on seed, number, the tensor's name and shape alone, so that all runs on a
    backbone move the same way; each is scaled by its own weights, which is what makes networks comparable (Sec. 4).

    Args:
        weights: all weights of a model by name.
        seed: of the landscape.
        number: which direction, from 0.
        fixed: names of tensors that are not moved.

    Returns:
        A step for each matrix, on the matrix's device. Vectors (biases and norms) are not moved, as in the authors'
        code with `ignore=biasbn`, and have no entry.
    """
    moved = {name: tensor for name, tensor in weights.items() if tensor.ndim >= 2 and name not in set(fixed)}
    return {name: filter_normalised(_drawn(name, weight, seed, number), weight) for name, weight in moved.items()}


def filter_normalised(drawn: Tensor, weight: Tensor) -> Tensor:
    """Return d_j ||w_j|| / ||d_j|| for each filter j, a row along dimension 0 (Li et al. 2018, Sec. 4).

    Of a linear layer a row is the weights of one output, of an embedding the vector of one token.
    """
    axes = tuple(range(1, weight.ndim))
    length = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    return drawn * (length / (torch.linalg.vector_norm(drawn, dim=axes, keepdim=True) + _EPSILON))


def embedding_names(model: nn.Module) -> list[str]:
    """Return the names of a model's embedding tables."""
    return [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)]


def _drawn(name: str, weight: Tensor, seed: int, number: int) -> Tensor:
    digest = hashlib.sha256(f"{seed} {number} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    # On the CPU, whose generator draws the same for every device.
    return torch.randn(weight.shape, generator=generator).to(weight.device, weight.dtype)

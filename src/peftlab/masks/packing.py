"""A mask in one bit an entry, and the values it keeps."""

import numpy as np
import torch
from torch import Tensor

from peftlab.errors import require


def pack(mask: Tensor) -> Tensor:
    """Return a bool mask as uint8 [ceil(entries / 8)] on the CPU, the first entry in the highest bit."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpack(bits: Tensor, shape: torch.Size) -> Tensor:
    """Return the mask that `pack` was given.

    Raises:
        UserError: the bits are not those of a mask of this shape.
    """
    fits = bits.dtype == torch.uint8 and bits.shape == (packed_bytes(shape.numel()),)
    require(fits, f"mask: {list(bits.shape)} {bits.dtype} does not hold a mask of shape {list(shape)}")
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=shape.numel()).astype(bool)).view(shape)


def packed_bytes(entries: int) -> int:
    """Return the bytes of a packed mask."""
    return -(-entries // 8)

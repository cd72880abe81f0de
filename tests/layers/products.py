"""Which matrix products are computed: noted by the shape of what they give."""

from torch.utils._python_dispatch import TorchDispatchMode


class Products(TorchDispatchMode):
    """Notes the output shape of every matrix product."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if any(word in function.overloadpacket.__name__ for word in ("mm", "linear")):
            self.shapes.append(tuple(output.shape))
        return output

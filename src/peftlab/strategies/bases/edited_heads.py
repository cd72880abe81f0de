"""What methods share that edit the outputs of heads, at the input of the attention's output projection."""

from torch import nn

from peftlab.layers.head_edits import EditedHeads
from peftlab.strategies.bases.replaced import AttachedReplacements


class AttachedEdits(AttachedReplacements):
    """Edits of heads' outputs; a derived class puts one module into each layer that has some."""

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the edits, as ``layers.<layer>.output.<name>``."""
        return {
            f"layers.{layer}.output.{name}": parameter
            for layer, (_, module) in self._modules.items()
            for name, parameter in module.named_parameters(recurse=False)
        }

    def unmergeable(self) -> str | None:
        """Return why not: offsets have no place where the output projection has no bias."""
        biased = all(module.frozen.bias is not None for _, module in self._modules.values())
        lacks = f"the output projection of backbone {self.backbone.name} has no bias that could hold offsets"
        return super().unmergeable() or (None if biased else lacks)

    def _start(self) -> None:
        """Begin without edits: the first act of `_insert`."""
        self._modules: dict[int, tuple[str, EditedHeads]] = {}

    def _put(self, layer: int, path: str, module: EditedHeads) -> None:
        # Drawn on the CPU, so that a seed means the same weights on every device; a new module would begin in training.
        module.to(self.model.device).train(self.model.training)
        self._replace(layer, path, module)

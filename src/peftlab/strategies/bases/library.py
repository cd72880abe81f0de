"""Strategies whose layers another library puts into the backbone in place, without a wrapper around it."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.errors import UserError
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import Strategy
from peftlab.strategies.traits import Traits


@dataclass(frozen=True)
class LibraryStrategy(Strategy):
    """A method of another library behind the contract."""

    @property
    def title(self) -> str:
        """What a message calls this strategy."""
        return f"strategy {self.name}"

    @property
    def traits(self) -> Traits:
        """The merged matrix multiplies once where the layer added two products: equal up to float32's rounding."""
        return replace(super().traits, merge_tolerance=1e-5)

    def check(self, backbone: Backbone) -> None:
        """Try the method on the backbone: libraries find most of what does not fit when layers are made or used."""
        try:
            with torch.random.fork_rng(devices=[]):
                attached = self.attach(backbone)
                try:
                    _forward(backbone)
                finally:
                    attached.detach()
        except Exception as error:  # they have no errors of their own and raise what comes to hand
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.title}: does not fit backbone {backbone.name}: {reason}") from error


class AttachedLibrary(Attached):
    """The layers of another library in a backbone; how they come in and go out is left to say.

    The classifier is trained as it is. What the library puts into the model's state (its parameters, and frozen
    random projections that it declares as worth keeping) is the delta.
    """

    @abstractmethod
    def put_in(self) -> None:
        """Let the library put its layers in; what is tuned requires gradients afterwards, and nothing else does."""

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the library's layers by their names in the whole model."""
        return {name: p for name, p in self.model.named_parameters() if name in self._tuned_names}

    def _insert(self, selection: Any) -> None:
        self._tuned_names: set[str] = set()
        self._own = {id(tensor) for tensor in self.model.state_dict(keep_vars=True).values()}
        self.put_in()
        # New modules would begin in training mode, their dropout on.
        self.model.eval()
        self._tuned_names = {name for name, p in self.model.named_parameters() if p.requires_grad}

    def _stored(self) -> Mapping[str, Tensor]:
        """Return what the library added to the model's state, each tensor once, and whatever else is tuned."""
        state = self.model.state_dict(keep_vars=True)
        trained = {**self.tuned(), **self.classifier()}
        known = self._own | {id(p) for p in trained.values()}
        added: dict[str, Tensor] = {}
        for name, tensor in state.items():
            if id(tensor) not in known:
                known.add(id(tensor))
                added[name] = tensor
        return {**trained, **added}


def _forward(backbone: Backbone) -> None:
    device = next(backbone.model.parameters()).device
    ids = torch.full((1, 4), backbone.model.config.pad_token_id + 1, device=device)
    with torch.no_grad():
        backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids))

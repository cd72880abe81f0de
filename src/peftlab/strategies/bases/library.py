"""Strategies whose layers another library puts into the backbone in place, without a wrapper around it."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.forward import hidden_states
from peftlab.backbones.loading import Backbone
from peftlab.errors import UserError, require
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
        """Try the method on the backbone: libraries find most of what does not fit when layers are made or used.

        What attaching draws, the delta has to hold: attached under two random states, with one delta, it is one model.
        """
        with torch.random.fork_rng(devices=[]), self.told(backbone):
            torch.manual_seed(0)
            attached = self.attach(backbone)
            try:
                for parameter in attached.tuned().values():
                    parameter.data += 0.02 * torch.randn_like(parameter)
                # Some are the backbone's own, which detaching gives back.
                tensors = {name: tensor.clone() for name, tensor in attached.delta().items()}
                expected = hidden_states(backbone)
            finally:
                attached.detach()
            torch.manual_seed(1)
            attached = self.attach(backbone)
            try:
                attached.load_delta(tensors)
                found = hidden_states(backbone)
            finally:
                attached.detach()
        same = torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()), equal_nan=True)
        require(same, f"{self.title}: attaching draws what its delta does not hold; a seed among its options fixes it")

    @contextmanager
    def told(self, backbone: Backbone) -> Iterator[None]:
        """Tell in one line what a library refuses: they have no errors of their own and raise what comes to hand."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.title}: does not fit backbone {backbone.name}: {reason}") from error


class AttachedLibrary(Attached):
    """The layers of another library in a backbone; how they come in and go out is left to say.

    The classifier is trained as it is. What the library puts into the model's state (its parameters, and frozen
    random projections that it declares as worth keeping) is the delta.
    """

    strategy: LibraryStrategy

    @abstractmethod
    def put_in(self) -> None:
        """Let the library put its layers in; what is tuned requires gradients afterwards, and nothing else does."""

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the library's layers by their names in the whole model."""
        return {name: p for name, p in self.model.named_parameters() if name in self._tuned_names}

    def _insert(self, selection: Any) -> None:
        self._tuned_names: set[str] = set()
        own = list(self.model.state_dict(keep_vars=True).values())
        classifier = self._classifier_modules()
        with self.strategy.told(self.backbone):
            self.put_in()
        title = self.strategy.title
        require(
            self._classifier_modules() == classifier,
            f"{title}: it would put layers into the classifier, which every method trains alike",
        )
        # New modules would begin in training mode, their dropout on.
        self.model.eval()
        shared = {id(p) for p in self.classifier().values()}
        named = self.model.named_parameters()
        self._tuned_names = {name for name, p in named if p.requires_grad and id(p) not in shared}
        # By name: how the backbone's own weights are kept may change while it trains.
        self._added = self._new(own)

    def _classifier_modules(self) -> list[nn.Module]:
        return [module for part in self.backbone.view.classifier_modules() for module in part.modules()]

    def _stored(self) -> Mapping[str, Tensor]:
        """Return what the library added to the model's state, each tensor once, and whatever else is tuned."""
        state = self.model.state_dict(keep_vars=True)
        return {**self.tuned(), **self.classifier(), **{name: state[name] for name in self._added}}

    def _new(self, own: Iterable[Tensor]) -> list[str]:
        """Return the names, each tensor's first, of what the model's state holds beside `own` and what is trained."""
        trained = {**self.tuned(), **self.classifier()}
        known = {id(tensor) for tensor in (*own, *trained.values())}
        found: dict[int, str] = {}
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if id(tensor) not in known:
                found.setdefault(id(tensor), name)
        return list(found.values())

"""`trainer=fsdp`: frozen weights lie in parts on the devices (PyTorch's FSDP2), what is tuned is whole on each.

Tuned weights are few, and their gradients are averaged as DDP does it: so the optimiser, clipping, checkpoints, phases
and the delta are those of any other run, and the numbers are those of DDP.
"""

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from peftlab.errors import require
from peftlab.strategies.attached import Attached
from peftlab.training.arguments import SHARDED
from peftlab.training.module import FineTuning


class ShardedBackbone(DDPStrategy):
    """DDP over what is trained; of what is frozen each device holds a part, and a layer is whole while it computes."""

    @classmethod
    def device_before(cls, trainer: Trainer) -> torch.device:
        """Return where the backbone is when a strategy looks at data and is attached: it may not fit on a device."""
        strategy = trainer.strategy
        return torch.device("cpu") if isinstance(strategy, cls) else strategy.root_device

    def model_to_device(self) -> None:
        """Share out the frozen weights, once, and bring all else onto the device.

        Raises:
            UserError: nothing is frozen.
        """
        module = self.lightning_module
        assert isinstance(module, FineTuning)
        if not isinstance(module.model, FSDPModule):
            share_out(module.attached, self.root_device)
            parts = [name for name, parameter in module.named_parameters() if isinstance(parameter, DTensor)]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, parts)
        super().model_to_device()


def share_out(attached: Attached, device: torch.device) -> None:
    """Give each process of the default group a part of every frozen parameter, and the trained ones whole.

    A layer, or the table of embeddings, is brought together while it computes; all else, while the whole model does.

    Args:
        attached: a strategy on a backbone, on any device.
        device: this process's.

    Raises:
        UserError: nothing is frozen.
    """
    model, view = attached.model, attached.backbone.view
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    name = attached.strategy.name
    frozen = any(parameter not in trained for parameter in model.parameters())
    require(frozen, f"trainer.strategy={SHARDED}: allowed is ddp, strategy {name} leaves nothing frozen to share out")
    attached.keep_no_copies()
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    layers = dict.fromkeys(view.layer(index) for index in range(view.num_layers))  # one may serve several depths
    for module in (*layers, *_embeddings(model), model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    for parameter in trained:
        parameter.data = parameter.data.to(device)


def _embeddings(model: PreTrainedModel) -> list[nn.Module]:
    """Return the module that looks tokens up, unless another one has its weights too."""
    embeddings = model.get_input_embeddings() if model.main_input_name == "input_ids" else None
    if not isinstance(embeddings, nn.Embedding):
        return []
    owners = [module for module in model.modules() if module._parameters.get("weight") is embeddings.weight]
    return owners if len(owners) == 1 else []

"""A run's deployed model against the bare backbone: what it holds more, what it is made of, how long it takes."""

import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.backbones.modality import family_of, modality_of
from peftlab.deployment.paired import paired_ratio
from peftlab.output_layer import OutputLayer
from peftlab.results.record import Delay, Deployment
from peftlab.run_config import DeploymentOptions
from peftlab.strategies.restore import restore


def measure_deployment(
    folder: Path, spec: BackboneSpec, output: OutputLayer, options: DeploymentOptions, device: torch.device
) -> Deployment:
    """Deploy the delta in a run's folder and measure the model against a freshly loaded backbone.

    The model is what a user of the delta has: a fresh backbone with what the file holds, merged where the method
    merges, in evaluation mode and float32. So nothing that only training needs is counted.

    Args:
        folder: a run's folder; its delta is there.
        spec: the run's backbone.
        output: the task's output layer.
        options: the text that goes through both models, and how many times.
        device: where the delay is measured.
    """
    attached = restore(folder, spec.path)
    deployed, merged = attached.model, attached.unmergeable() is None
    if merged:
        attached.merge()
    bare = load_backbone(spec, output, seed=0).model
    for model in (bare, deployed):
        settle(model, device)
    return Deployment(
        extra_parameters=_numbers(deployed) - _numbers(bare),
        structure_changed=structure(deployed) != structure(bare),
        merged=merged,
        delay=measure_delay(bare, deployed, options),
    )


def structure(model: nn.Module) -> tuple[dict[str, type], dict[str, torch.Size]]:
    """Return what a model is made of: its modules' names and classes, its parameters' names and shapes."""
    modules = {name: type(module) for name, module in model.named_modules()}
    return modules, {name: parameter.shape for name, parameter in model.named_parameters()}


def settle(model: nn.Module, device: torch.device) -> None:
    """Bring a model to a device, all of it into memory of its own.

    Loaded weights lie in the mapped file and changed ones elsewhere: equal models would differ by percents.
    """
    model.to(device)
    for tensor in chain(model.parameters(), model.buffers()):
        tensor.data = tensor.data.clone()


def measure_delay(bare: PreTrainedModel, deployed: PreTrainedModel, options: DeploymentOptions) -> Delay:
    """Return the time of the deployed model's forward pass over the bare one's, without padding in the texts.

    On a CPU with one thread (`OMP_NUM_THREADS=1`) all work is that thread's, and its own clock shows what the wall's
    would on a machine that does nothing else. Several threads or a GPU leave the wall's.
    """
    draw = torch.Generator().manual_seed(0)
    inputs = modality_of(bare).random_inputs(bare, options.batch_size, options.length, draw)
    # Images are of one size.
    length = options.length if "attention_mask" in inputs else family_of(bare).position_limit(bare)
    alone = bare.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    with torch.inference_mode():
        measured = paired_ratio(_forward(bare, inputs), _forward(deployed, inputs), options.pairs, clock)
    return Delay(
        ratio=measured.ratio,
        low=measured.low,
        high=measured.high,
        pairs=options.pairs,
        batch_size=options.batch_size,
        length=length or options.length,
        bare_seconds=measured.seconds,
        clock="processor" if alone else "wall",
    )


def _numbers(model: nn.Module) -> int:
    """Count what the model holds; buffers too, where methods keep what they draw and do not train."""
    return sum(tensor.numel() for tensor in chain(model.parameters(), model.buffers()))


def _forward(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Callable[[], None]:
    def forward() -> None:
        model(**inputs)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    return forward

"""Scores every head of a backbone on examples of a task: Algorithm 1 of the paper, streamed."""

import torch
from torch import Tensor

from peftlab.backbones.backbone import Backbone
from peftlab.data.batching import collate
from peftlab.data.tokens import TokenisedSplit
from peftlab.heads.correlation import head_correlation
from peftlab.heads.outputs import head_outputs
from peftlab.heads.richness import information_richness
from peftlab.heads.selection import HeadScores


@torch.no_grad()
def score_heads(
    backbone: Backbone, examples: TokenisedSplit, xi: float, batch_size: int, device: torch.device
) -> HeadScores:
    """Return the mean information richness (Eq. 3) and correlation (Eq. 7) of all heads over `examples`.

    The model runs in evaluation mode, in the type of its weights. Examples of like length share a batch, pads
    never count, and sums alone are kept, so memory grows neither with the examples nor with the layers.

    Args:
        backbone: its model lies on `device`.
        examples: n tokenised examples; labels are not looked at.
        xi: threshold of Eq. 2, in (0, 1].
        batch_size: examples in one forward pass.
        device: where the passes run.
    """
    geometry, model = backbone.geometry, backbone.model
    richness = torch.zeros(geometry.num_layers, geometry.num_heads, dtype=torch.float64, device=device)
    correlation = torch.zeros(*richness.shape, geometry.num_heads, dtype=torch.float64, device=device)
    mask: Tensor

    def consume(layer: int, outputs: Tensor) -> None:
        richness[layer] += information_richness(outputs, mask, xi).sum(0)
        correlation[layer] += head_correlation(outputs, mask).sum(0)

    was_training = model.training
    model.eval()
    order = sorted(range(len(examples)), key=lambda index: examples.lengths[index])
    with head_outputs(geometry, consume):
        for start in range(0, len(order), batch_size):
            chosen = [examples[index] for index in order[start : start + batch_size]]
            batch = {name: value.to(device) for name, value in collate(chosen, _pad(backbone)).items()}
            mask = batch["attention_mask"]
            model.base_model(**{name: batch[name] for name in backbone.tokenizer.model_input_names if name in batch})
    model.train(was_training)
    return HeadScores((richness / len(order)).cpu(), (correlation / len(order)).cpu(), len(order))


def _pad(backbone: Backbone) -> int:
    pad = backbone.tokenizer.pad_token_id
    assert isinstance(pad, int)
    return pad

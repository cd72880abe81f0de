"""Scores every head of a backbone on examples of a task: Algorithm 1 of the paper, streamed."""

import torch
from torch import Tensor

from peftlab.backbones.forward import batch_of, inputs_of
from peftlab.backbones.loading import Backbone
from peftlab.data.tokens import TokenisedSplit
from peftlab.heads.correlation import head_correlation
from peftlab.heads.outputs import head_outputs
from peftlab.heads.richness import cumulative_shares, information_richness
from peftlab.heads.selection import HeadScores


@torch.no_grad()
def score_heads(
    backbone: Backbone, examples: TokenisedSplit, xi: float, batch_size: int, device: torch.device
) -> HeadScores:
    """Return the mean richness (Eq. 3), correlation (Eq. 7) and spectrum (Fig. 5) of all heads over `examples`.

    The model runs in evaluation mode, in the type of its weights. Examples of like length share a batch, pads
    never count, and sums alone are kept, so memory grows neither with the examples nor with the layers.

    Args:
        backbone: its model lies on `device`.
        examples: n tokenised examples; labels are not looked at.
        xi: threshold of Eq. 2, in (0, 1].
        batch_size: examples in one forward pass.
        device: where the passes run.
    """
    view, model = backbone.view, backbone.model
    richness = torch.zeros(view.num_layers, view.num_heads, dtype=torch.float64, device=device)
    correlation = torch.zeros(*richness.shape, view.num_heads, dtype=torch.float64, device=device)
    spectrum = torch.zeros(*richness.shape, view.head_dim, dtype=torch.float64, device=device)
    mask: Tensor

    def consume(layer: int, outputs: Tensor) -> None:
        shares = cumulative_shares(outputs, mask)
        richness[layer] += information_richness(shares, xi).sum(0)
        spectrum[layer] += shares.sum(0)
        correlation[layer] += head_correlation(outputs, mask).sum(0)

    was_training = model.training
    model.eval()
    order = sorted(range(len(examples)), key=lambda index: examples.lengths[index])
    with head_outputs(view, consume):
        for start in range(0, len(order), batch_size):
            batch = batch_of(backbone, examples, order[start : start + batch_size], device)
            mask = batch["attention_mask"]
            model.base_model(**inputs_of(backbone, batch))
    model.train(was_training)
    n = len(order)
    return HeadScores((richness / n).cpu(), (correlation / n).cpu(), n, (spectrum / n).cpu())

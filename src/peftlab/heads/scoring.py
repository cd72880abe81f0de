"""Scores every head of a backbone on examples of a task: Algorithm 1 of the paper, streamed."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from peftlab.backbones.forward import inputs_of, num_sequences
from peftlab.backbones.loading import Backbone
from peftlab.heads.correlation import head_correlation
from peftlab.heads.outputs import head_outputs
from peftlab.heads.padding import real_tokens
from peftlab.heads.richness import cumulative_shares, information_richness
from peftlab.heads.scores import HeadScores
from peftlab.inputs.encoder import num_examples


@torch.no_grad()
def score_heads(backbone: Backbone, batches: Iterable[Mapping[str, Tensor]], xi: float) -> HeadScores:
    """Return the mean richness (Eq. 3), correlation (Eq. 7) and spectrum (Fig. 5) of all heads over all examples.

    The mean is over what the model reads, sequences; a sentence is one. Where one layer serves all depths it is over
    these too: its heads' outputs at each. The model runs in evaluation mode, in the type of its weights. Pads never
    count, and sums alone are kept, so memory grows neither with the examples nor with the layers.

    Args:
        backbone: its model lies where the batches do.
        batches: what the model reads, of texts `attention_mask` [M, S] among it, and `index` [B], its examples; labels
            are not looked at. An example of several sequences, as windows or choices, counts once for each of them.
            It is fastest where examples of like length share a batch.
        xi: threshold of Eq. 2, in (0, 1].
    """
    view, model = backbone.view, backbone.model
    device, examples, sequences = model.device, 0, 0
    richness = torch.zeros(view.num_layers, view.num_heads, dtype=torch.float64, device=device)
    correlation = torch.zeros(*richness.shape, view.num_heads, dtype=torch.float64, device=device)
    spectrum = torch.zeros(*richness.shape, view.head_dim, dtype=torch.float64, device=device)
    outputs_seen = [0] * view.num_layers  # a layer that serves several depths gives several for each sequence
    current: Mapping[str, Tensor]

    def consume(layer: int, outputs: Tensor) -> None:
        mask = real_tokens(current, outputs)
        outputs_seen[layer] += len(outputs)
        shares = cumulative_shares(outputs, mask)
        richness[layer] += information_richness(shares, xi).sum(0)
        spectrum[layer] += shares.sum(0)
        correlation[layer] += head_correlation(outputs, mask).sum(0)

    was_training = model.training
    model.eval()
    with head_outputs(view, consume):
        for current in batches:
            inputs = inputs_of(backbone, current)
            examples, sequences = examples + num_examples(current), sequences + num_sequences(inputs)
            view.base(**inputs)
    model.train(was_training)
    counts = torch.tensor(outputs_seen, dtype=torch.float64, device=device).view(-1, 1, 1)
    richness, correlation, spectrum = richness / counts[:, 0], correlation / counts, spectrum / counts
    return HeadScores(richness.cpu(), correlation.cpu(), examples, spectrum.cpu(), sequences)

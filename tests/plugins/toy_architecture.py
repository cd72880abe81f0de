"""A family of a user's own: a small transformer that transformers is told of, and the one class that it costs here.

It has what BERT has not: one matrix [query, key, value] without bias for all heads, key heads that query heads share,
heads of a width that does not divide the hidden size, LayerNorms before attention and feed-forward, no positions.
`plugins: [plugins.toy_architecture]` brings it in, `backbone.random={model_type: toy, ...}` makes one.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from peftlab.backbones.architecture import Architecture, Attention, Rows, Site


class Toy(Architecture):
    """Where the toy keeps its heads: the rows of a fused matrix, those of keys and values each for two queries."""

    name = "toy"
    model_types = ("toy",)
    layers = "layers"
    norm = "pre"
    sites: ClassVar[Mapping[Site, str]] = {
        "attention_end": "output",
        "feed_forward_down": "down",
        "feed_forward_end": "down",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {"AutoModelForSequenceClassification": ("score",)}

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return the three parts of the fused matrix, one below the other."""
        heads, shared, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        return Attention(
            query=Rows("qkv", 0, heads, size),
            key=Rows("qkv", heads * size, shared, size),
            value=Rows("qkv", (heads + shared) * size, shared, size),
            output="output",
        )

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return None: order is not seen at all."""
        return None


class ToyConfig(PretrainedConfig):
    model_type = "toy"

    def __init__(
        self,
        vocab_size: int = 100,
        hidden_size: int = 24,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 4,
        num_key_value_heads: int = 2,
        head_dim: int = 8,
        initializer_range: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.num_attention_heads, self.num_key_value_heads = num_attention_heads, num_key_value_heads
        self.head_dim, self.initializer_range = head_dim, initializer_range


class ToyLayer(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        width, self.heads, self.shared = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, (self.heads + 2 * self.shared) * config.head_dim, bias=False)
        self.output = nn.Linear(self.heads * config.head_dim, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        parts = self.qkv(self.first_norm(hidden)).unflatten(-1, (self.heads + 2 * self.shared, -1)).transpose(1, 2)
        query, key, value = parts.split([self.heads, self.shared, self.shared], dim=1)
        group = self.heads // self.shared
        key, value = (part.repeat_interleave(group, dim=1) for part in (key, value))
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        hidden = hidden + self.output(heads.transpose(1, 2).flatten(2))
        return hidden + self.down(F.gelu(self.up(self.second_norm(hidden))))


class ToyPreTrainedModel(PreTrainedModel):
    config_class = ToyConfig
    base_model_prefix = "model"


class ToyModel(ToyPreTrainedModel):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(ToyLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutput:
        hidden = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return BaseModelOutput(last_hidden_state=hidden)


class ToyForSequenceClassification(ToyPreTrainedModel):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.model = ToyModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(self, labels: Tensor | None = None, **inputs: Any) -> SequenceClassifierOutput:
        logits = self.score(self.model(**inputs).last_hidden_state[:, 0])
        loss = None
        if labels is not None:
            regression = self.config.problem_type == "regression"
            loss = F.mse_loss(logits.squeeze(-1), labels) if regression else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register("toy", ToyConfig)
AutoModelForSequenceClassification.register(ToyConfig, ToyForSequenceClassification)

SIZES = {"model_type": "toy", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}

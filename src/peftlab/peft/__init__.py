"""`import peftlab.peft`: HiFi, BitFit, Houlsby's adapter, Compacter, tiny attention and sparse differences in peft.

    from peft import get_peft_model
    from peftlab.peft import HiFiConfig

    model = get_peft_model(model, HiFiConfig(selection=peftlab.select_heads(model, tokenizer, texts, k=3)))

All else is peft's own: `save_pretrained`, `PeftModel.from_pretrained`, `merge_and_unload`, several adapters, and the
Trainer of transformers. A program that loads such an adapter imports this package first.
"""

from peftlab.peft.attentions import TinyAttentionConfig, TinyAttentionModel
from peftlab.peft.biases import BitFitConfig, BitFitModel
from peftlab.peft.bottlenecks import HoulsbyConfig, HoulsbyModel
from peftlab.peft.compacters import CompacterConfig, CompacterModel
from peftlab.peft.heads import HiFiConfig, HiFiModel
from peftlab.peft.registering import register
from peftlab.peft.sparse import SparseConfig, SparseModel

__all__ = [
    "BitFitConfig",
    "BitFitModel",
    "CompacterConfig",
    "CompacterModel",
    "HiFiConfig",
    "HiFiModel",
    "HoulsbyConfig",
    "HoulsbyModel",
    "SparseConfig",
    "SparseModel",
    "TinyAttentionConfig",
    "TinyAttentionModel",
]

register("hifi", HiFiConfig, HiFiModel)
register("bitfit", BitFitConfig, BitFitModel)
register("houlsby", HoulsbyConfig, HoulsbyModel)
register("compacter", CompacterConfig, CompacterModel)
register("tiny_attention", TinyAttentionConfig, TinyAttentionModel)
register("sparse_difference", SparseConfig, SparseModel)

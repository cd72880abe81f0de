"""SigLIP: the tower of images alone, CLIP's without a token beside the patches."""

from collections.abc import Mapping
from typing import ClassVar

from peftlab.backbones.architecture import Site
from peftlab.backbones.architectures.clip import CLIP


class SigLIP(CLIP):
    """SigLIP (Zhai et al., 2023), classified by the mean of its patches.

    What pools them by attention is for the comparison with texts.
    """

    name = "siglip"
    model_types: ClassVar[tuple[str, ...]] = ("siglip",)
    # Its self-attention keeps to itself what it is called with.
    sites: ClassVar[Mapping[Site, str]] = {site: at for site, at in CLIP.sites.items() if site != "self_attention"}
    unread: ClassVar[tuple[str, ...]] = ("head",)
    special_tokens: ClassVar[int] = 0

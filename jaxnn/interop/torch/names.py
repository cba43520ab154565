"""Mappings for nets whose parts are not called, or not ordered, as in PyTorch."""

from __future__ import annotations

from jaxnn.ops import checks


def torchvision_vit(depth: int = 12) -> dict[str, str]:
    """The ``mapping`` between ``nn.models.vit`` and torchvision's ``VisionTransformer`` of this depth.

    >>> import jaxnn as nn
    >>> nn.interop.torch.torchvision_vit(1)["blocks/0/attention"]
    'encoder.layers.encoder_layer_0.self_attention'
    """
    depth = checks.integer("torchvision_vit", "depth", depth, least=1)
    names = {
        "patches/conv": "conv_proj",
        "token": "class_token",
        "positions": "encoder.pos_embedding",
        "norm": "encoder.ln",
        "head": "heads.head",
    }
    parts = {
        "attention_norm": "ln_1",
        "attention": "self_attention",
        "mlp_norm": "ln_2",
        "mlp/up": "mlp.0",
        "mlp/down": "mlp.3",
    }
    for i in range(depth):
        block = f"encoder.layers.encoder_layer_{i}"
        names |= {f"blocks/{i}/{ours}": f"{block}.{theirs}" for ours, theirs in parts.items()}
    return names

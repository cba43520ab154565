"""ViT: a transformer over the patches of an image."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.combinators import patch_embedding, repeat, serial
from jaxnn.layer import Layer, constructor, stateless
from jaxnn.layers import dense, dropout, layer_norm, position_embedding
from jaxnn.models.parts import share
from jaxnn.models.transformer import encoder_block
from jaxnn.ops import checks, gelu
from jaxnn.params import Key


@constructor
def vit(
    classes: int = 1000,
    *,
    features: int = 768,
    heads: int = 12,
    depth: int = 12,
    window: int = 16,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
) -> Layer:
    """A vision transformer: (N, H, W, C) → (N, classes); by default ViT-B/16.

    Patches, a learnt class token before them, a learnt row per place, ``depth`` blocks with their norms first
    and dense layers of 4 · features with an exact GELU, a last norm, and a dense layer of the class token:
    86,567,656 weights by default at 224×224. It is for images of the size that ``init`` was given.

    Args:
      classes: the number of outputs.
      features: the size of a patch's vector.
      heads: of the attention.
      depth: how many blocks, as one ``repeat``.
      window: the size of a patch.
      dropout_rate: of the embeddings and of the outputs of all layers.
      drop_path_rate: of both branches of a block, the same in all.

    torchvision's weights fit by ``mapping=nn.interop.torch.torchvision_vit(depth)``.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.vit(10, features=32, heads=4, depth=2, window=4), (1, 28, 28, 1))
    (1, 10)

    Dosovitskiy et al., "An image is worth 16×16 words", 2021 (arXiv:2010.11929).
    """
    features = checks.integer("vit", "features", features, least=1)
    dropout_rate = share("vit", "dropout_rate", dropout_rate)
    depth = checks.integer("vit", "depth", depth, least=1)
    classes = checks.integer("vit", "classes", classes, least=1)
    norm = layer_norm(epsilon=1e-6)
    block = encoder_block(
        features,
        heads,
        4 * features,
        dropout_rate=dropout_rate,
        drop_path_rate=drop_path_rate,
        norm=norm,
        activation=partial(gelu, approximate=False),
    )
    return serial(
        patches=patch_embedding(features, window),
        token=class_token(),
        positions=position_embedding(),
        dropout=dropout(dropout_rate),
        blocks=repeat(block, depth),
        norm=norm,
        token_only=_first,
        head=dense(classes),
    )


def class_token() -> Layer:
    """A learnt step before all others, weight ``token (F,)``: (N, T, F) → (N, T + 1, F)."""

    def init(key: Key, x: Any) -> dict[str, jax.Array]:
        return {"token": jnp.zeros(x.shape[-1:], x.dtype)}

    def apply(weights: Any, x: jax.Array) -> jax.Array:
        # Zeros made from x are sharded and vary as it does.
        token = jnp.zeros_like(x[:, :1]) + jnp.expand_dims(weights["token"], (0, 1))
        return jnp.concatenate([token, x], axis=1)

    return stateless("class_token", init, apply, entries={"token": ("F",)})


def _first(x: jax.Array) -> jax.Array:
    return x[:, 0]

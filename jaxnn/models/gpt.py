"""GPT: a stack of causal blocks that predicts the next id."""

from __future__ import annotations

from typing import Any

from jax.nn.initializers import normal

from jaxnn.combinators import graph, remat, repeat
from jaxnn.layer import Layer, constructor
from jaxnn.layers import attend, dropout, embedding, layer_norm, position_embedding
from jaxnn.layers.attention import Rotation
from jaxnn.models.parts import share
from jaxnn.models.transformer import encoder_block
from jaxnn.ops import checks, linear


@constructor
def gpt(
    vocabulary: int = 50257,
    *,
    features: int = 768,
    heads: int = 12,
    depth: int = 12,
    room: int = 1024,
    dropout_rate: float = 0.0,
    kv_heads: int | None = None,
    rotary: bool | Rotation = False,
    rematerialise: bool = False,
) -> Layer:
    """A GPT: ids (N, T) → logits (N, T, vocabulary) of the ids that follow; by default GPT-2, small.

    An embedding and a learnt row per place, ``depth`` causal blocks with their norms first and dense layers
    of 4 · features, a last norm, and the embedding again as the output layer: 124,439,808 weights by default.
    The blocks are one ``repeat``, so that compile time does not grow with depth. ``nn.generate`` continues
    prompts with it. Kernels start from a normal distribution of deviation 0.02, those before a sum from one
    divided by √(2 · depth).

    Args:
      vocabulary: ids are 0 … vocabulary − 1.
      features: the size of a step.
      heads: of the attention.
      depth: how many blocks.
      room: the longest sequence.
      dropout_rate: of the embeddings and of the outputs of all layers.
      kv_heads: of keys and values; None for as many as heads.
      rotary: whether queries and keys are rotated by their places, instead of the learnt rows; or how, see
        ``nn.multi_head_attention``.
      rematerialise: whether the inner values of a block are computed again for the gradient, and not stored.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> net = nn.models.gpt(100, features=32, heads=4, depth=2, room=64)
    >>> nn.output_shape(net, jax.ShapeDtypeStruct((1, 20), jnp.int32))
    (1, 20, 100)

    Radford et al., "Language models are unsupervised multitask learners", 2019.
    """
    features = checks.integer("gpt", "features", features, least=1)
    depth = checks.integer("gpt", "depth", depth, least=1)
    dropout_rate = share("gpt", "dropout_rate", dropout_rate)
    checks.flags("gpt", rematerialise=rematerialise)
    block = encoder_block(
        features,
        heads,
        4 * features,
        causal=True,
        dropout_rate=dropout_rate,
        kernel_init=normal(0.02),
        output_init=normal(0.02 / (2 * depth) ** 0.5),
        kv_heads=kv_heads,
        rotary=rotary,
    )
    room = checks.integer("gpt", "room", room, least=1)

    def flow(f: Any, ids: Any) -> Any:
        x = f.dropout(f.positions(f.embedding(ids)))
        return attend(f.embedding, f.norm(f.blocks(x)))

    return graph(
        flow,
        embedding=embedding(vocabulary, features, embedding_init=normal(0.02)),
        positions=position_embedding(room) if rotary is False else linear,
        dropout=dropout(dropout_rate),
        blocks=repeat(remat(block) if rematerialise else block, depth),
        norm=layer_norm(),
    )

"""Transformer blocks, and the encoder–decoder of the paper."""

from __future__ import annotations

from typing import Any

from jax.nn.initializers import Initializer

from jaxnn.combinators import graph, once, repeat, serial
from jaxnn.layer import Layer, constructor
from jaxnn.layers import attend, dense, drop_path, dropout, embedding, layer_norm, multi_head_attention
from jaxnn.layers.attention import Rotation
from jaxnn.layers.initialisers import GLOROT_UNIFORM
from jaxnn.layers.positions import sinusoidal_positions
from jaxnn.lifting import LayerLike, given_layer
from jaxnn.models.parts import share
from jaxnn.ops import checks, gelu, relu
from jaxnn.ops.attention import Window
from jaxnn.ops.sequences import checked_lengths, real_only


@constructor
def encoder_block(
    features: int,
    heads: int,
    hidden: int,
    *,
    norm_first: bool = True,
    causal: bool = False,
    dropout_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    norm: LayerLike | None = None,
    activation: LayerLike = gelu,
    mlp: LayerLike | None = None,
    kv_heads: int | None = None,
    rotary: bool | Rotation = False,
    window: Window = None,
    qk_norm: bool = False,
    kernel_init: Initializer = GLOROT_UNIFORM,
    output_init: Initializer | None = None,
) -> Layer:
    """Attention within a sequence, then a dense block at each step: (N, T, features) → the same.

    The input may be ``(x, lengths)``, and so is the output then: what follows an end is not read. With the
    norms first, x = x + attention(norm(x)), then x = x + mlp(norm(x)): it trains at any depth without warming
    up. Otherwise each norm follows its sum, as in the original paper.

    Args:
      features: F, that of the input and the output.
      heads: of the attention.
      hidden: the size between the two dense layers.
      norm_first: whether the norms stand before the layers, or after the sums.
      causal: each step reads itself and earlier ones only: a decoder without an encoder, as GPT is.
      dropout_rate: of the outputs of both layers.
      drop_path_rate: of both branches of an example.
      norm: a norm; None for layer norm.
      activation: between the two dense layers.
      mlp: a layer in place of the two, such as ``nn.swiglu(features, hidden)``.
      kv_heads: see ``nn.multi_head_attention``; so are ``rotary``, ``window`` and ``qk_norm``.
      rotary: see there.
      window: see there.
      qk_norm: see there.
      kernel_init: of all kernels.
      output_init: of the last kernel of each layer, if it differs.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.encoder_block(64, 4, 256), (1, 20, 64))
    (1, 20, 64)

    Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in the
    transformer architecture", 2020 (norms first).
    """
    checks.flags("encoder_block", norm_first=norm_first)
    output_init = kernel_init if output_init is None else output_init
    checks.initialisers("encoder_block", kernel_init=kernel_init, output_init=output_init)
    dropout_rate = share("encoder_block", "dropout_rate", dropout_rate)
    drop_path_rate = share("encoder_block", "drop_path_rate", drop_path_rate)
    norm = layer_norm() if norm is None else given_layer("encoder_block", "norm", norm)
    if mlp is not None:
        mlp = given_layer("encoder_block", "mlp", mlp)
    else:
        mlp = _mlp("encoder_block", features, hidden, activation, kernel_init, output_init)
    parts: dict[str, LayerLike] = {
        "attention": multi_head_attention(
            features,
            heads,
            causal=causal,
            kv_heads=kv_heads,
            rotary=rotary,
            window=window,
            qk_norm=qk_norm,
            kernel_init=kernel_init,
            output_init=output_init,
        ),
        "mlp": mlp,
    }
    norms = {f"{name}_norm": norm for name in parts}
    drops = {f"{name}_drop": serial(dropout(dropout_rate), drop_path(drop_path_rate)) for name in parts}

    def flow(f: Any, inputs: Any) -> Any:
        x, lengths = inputs if isinstance(inputs, tuple) else (inputs, None)
        if lengths is not None:
            x = real_only(x, checked_lengths("encoder_block", lengths, x))
        for name in parts:
            y = f[f"{name}_norm"](x) if norm_first else x
            attends = name == "attention" and lengths is not None
            y = f[f"{name}_drop"](f[name]((y, lengths))[0] if attends else f[name](y))
            x = x + y if norm_first else f[f"{name}_norm"](x + y)
        return x if lengths is None else (x, lengths)

    return graph(flow, **parts, **norms, **drops)


@constructor
def decoder_block(
    features: int,
    heads: int,
    hidden: int,
    *,
    norm_first: bool = True,
    dropout_rate: float = 0.0,
    activation: LayerLike = gelu,
    kernel_init: Initializer = GLOROT_UNIFORM,
) -> Layer:
    """A block that reads a memory too: (x, memory), (N, T, features) and (N, S, F) → the same.

    Causal attention within x, attention to the memory, a dense block; each with its norm and its sum. The
    memory is an array or ``(array, lengths)``, and is passed on for the next block.

    Args:
      features: F, that of x and the output.
      heads: of both attentions.
      hidden: the size between the two dense layers.
      norm_first: whether the norms stand before the layers, or after the sums.
      dropout_rate: of the outputs of the three layers.
      activation: between the two dense layers.
      kernel_init: of all kernels.

    >>> import jaxnn as nn
    >>> nn.output_shape(nn.models.decoder_block(64, 4, 256), ((1, 20, 64), (1, 30, 64)))
    ((1, 20, 64), (1, 30, 64))

    Vaswani et al., "Attention is all you need", 2017.
    """
    checks.flags("decoder_block", norm_first=norm_first)
    dropout_rate = share("decoder_block", "dropout_rate", dropout_rate)
    parts: dict[str, LayerLike] = {
        "attention": multi_head_attention(features, heads, causal=True, kernel_init=kernel_init),
        "cross": multi_head_attention(features, heads, kernel_init=kernel_init),
        "mlp": _mlp("decoder_block", features, hidden, activation, kernel_init, kernel_init),
    }
    norms = {f"{name}_norm": layer_norm() for name in parts}
    drops = {f"{name}_dropout": dropout(dropout_rate) for name in parts}

    def flow(f: Any, inputs: Any) -> Any:
        x, memory = _two("decoder_block", inputs, "(x, memory)")

        def added(name: str, x: Any) -> Any:
            norm = f[f"{name}_norm"]
            y = norm(x) if norm_first else x
            y = f[f"{name}_dropout"](f[name]((y, memory) if name == "cross" else y))
            return x + y if norm_first else norm(x + y)

        for name in parts:
            x = added(name, x)
        return x, memory

    return graph(flow, **parts, **norms, **drops)


@constructor
def transformer(
    vocabulary: int,
    *,
    features: int = 512,
    heads: int = 8,
    hidden: int = 2048,
    depth: int = 6,
    norm_first: bool = False,
    dropout_rate: float = 0.1,
) -> Layer:
    """An encoder–decoder: source ids (N, S) and target ids (N, T) → logits (N, T, vocabulary).

    The source may be ``(ids, lengths)``: what follows its end is not read. Step t of the logits is that of
    the target's id t + 1: feed the target shifted by a start id. One embedding serves source, target and, as
    ``attend``, the logits, as in the paper: it is multiplied by √features, and sinusoidal positions are
    added.
    Encoder and decoder end with a norm, as PyTorch's do. ``nn.generate(net, params, start, source=ids, …)``
    translates: the encoder and the keys and values of its memory are computed once.

    Args:
      vocabulary: ids are 0 … vocabulary − 1.
      features: the size of a step.
      heads: of each attention.
      hidden: the size between the dense layers of a block.
      depth: how many blocks the encoder has, and how many the decoder.
      norm_first: whether the norms stand before the layers; the paper's follow the sums.
      dropout_rate: of the embeddings and of the outputs of all layers.

    >>> import jax, jax.numpy as jnp, jaxnn as nn
    >>> ids = jax.ShapeDtypeStruct((1, 20), jnp.int32), jax.ShapeDtypeStruct((1, 15), jnp.int32)
    >>> nn.output_shape(nn.models.transformer(1000, features=64, heads=4, hidden=128, depth=2), ids)
    (1, 15, 1000)

    Vaswani et al., "Attention is all you need", 2017.
    """
    depth = checks.integer("transformer", "depth", depth, least=1)
    dropout_rate = share("transformer", "dropout_rate", dropout_rate)
    settings: dict[str, Any] = {"norm_first": norm_first, "dropout_rate": dropout_rate, "activation": relu}

    def flow(f: Any, inputs: Any) -> Any:
        source, target = _two("transformer", inputs, "(source, target)")
        ids, lengths = source if isinstance(source, tuple) else (source, None)
        encode = f.encoder

        def embedded(ids: Any) -> Any:
            rows = f.embedding(ids)
            return f.dropout(f.positions(rows * rows.dtype.type(features**0.5)))

        x = embedded(ids)
        if lengths is None:
            memory = f.encoder_norm(encode(x))
        else:
            memory = (f.encoder_norm(encode((x, lengths))[0]), lengths)
        y, _ = f.decoder((embedded(target), memory))
        return attend(f.embedding, f.decoder_norm(y))

    return graph(
        flow,
        embedding=embedding(vocabulary, features),
        positions=sinusoidal_positions(),
        dropout=dropout(dropout_rate),
        encoder=once(repeat(encoder_block(features, heads, hidden, **settings), depth)),
        encoder_norm=layer_norm(),
        decoder=repeat(decoder_block(features, heads, hidden, **settings), depth),
        decoder_norm=layer_norm(),
    )


def _two(owner: str, inputs: Any, rule: str) -> tuple[Any, Any]:
    """The two inputs; an array would come apart into its rows."""
    if not isinstance(inputs, tuple) or len(inputs) != 2:
        raise ValueError(f"{owner}: the input must be {rule}, got {checks.described(inputs)}")
    return inputs[0], inputs[1]


def _mlp(
    owner: str,
    features: int,
    hidden: int,
    activation: LayerLike,
    kernel_init: Initializer,
    output_init: Initializer,
) -> Layer:
    hidden = checks.integer(owner, "hidden", hidden, least=1)
    return serial(
        up=dense(hidden, kernel_init=kernel_init),
        activation=activation,
        down=dense(features, kernel_init=output_init),
    )

"""Start values of parameters, drawn by name (`src/train/init.rs`). Each tensor has a stream of its own."""

import math

import numpy as np

from .rng import Rng, hash_bytes


def tensor(name, shape, config, init, seed):
    """Start values of one parameter, float32."""
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return np.full(shape, init.qk_gain, np.float32)
    if len(shape) == 1:
        return np.full(shape, 0.0 if name.endswith("bias") else 1.0, np.float32)
    if name.endswith("position_embedding.weight"):
        return sines(config.vision_config.side, shape[1], init.position_std)
    scale = np.float32(_scale(name, math.prod(shape[1:]), config, init))
    rng = Rng(seed, hash_bytes(name.encode()))
    return (rng.normals(math.prod(shape)) * scale).reshape(shape)


def _scale(name, fan_in, config, init):
    """Standard deviation of a matrix: 1 / sqrt(fan-in), less for what writes into the residual stream."""
    deep = lambda layers: 1.0 / math.sqrt(2.0 * layers)
    if name.endswith("embed_tokens.weight"):
        return init.embed_std
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        return init.residual_scale * deep(config.text_config.num_hidden_layers) / math.sqrt(fan_in)
    if name.endswith(("out_proj.weight", "mlp.fc2.weight")):
        return deep(config.vision_config.num_hidden_layers) / math.sqrt(fan_in)
    return 1.0 / math.sqrt(fan_in)


def sines(side, width, size):
    """2-D sine position embeddings (side^2, width): a quarter each of sin row, cos row, sin column, cos column."""
    quarter = max(1, width // 4)
    i, cell = np.arange(width), np.arange(side * side)[:, None]
    angle = np.pi / 4 * 4.0 ** (-(i % quarter) / quarter)
    row, column = (cell // side) * angle, (cell % side) * angle
    parts = [np.sin(row), np.cos(row), np.sin(column), np.cos(column), np.zeros_like(row)]
    return (np.choose(np.minimum(i // quarter, 4), parts) * size * math.sqrt(2.0)).astype(np.float32)

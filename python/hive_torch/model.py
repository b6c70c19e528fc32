"""The model in plain PyTorch. Legend: B batch, T text tokens, N image tokens, C width, W width of the tower,
H query heads, G key-value heads, D head width, V vocabulary.

Names of parameters are Hugging Face's where a Hugging Face class has the tensor (`vision_model.*` as SiglipVisionModel,
`model.*` and `lm_head.*` as LlamaForCausalLM); `links.*` is what HIVE adds.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .sample import NO_TARGET


class RmsNorm(nn.Module):
    """x / rms(x) times a gain, over the last axis."""

    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Parts(nn.Module):
    """Modules under Hugging Face's names, without a function of their own."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def heads(x, count):
    """(B, T, count D) -> (B, count, T, D)."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def merged(x):
    """(B, H, T, D) -> (B, T, H D)."""
    return x.transpose(1, 2).flatten(2)


# ---------------------------------------------------------------- tower


class VisionBlock(nn.Module):
    """Pre-norm transformer block; attends over all N patches."""

    def __init__(self, c):
        super().__init__()
        w, self.count = c.hidden_size, c.num_attention_heads
        linear = lambda: nn.Linear(w, w)
        self.layer_norm1 = nn.LayerNorm(w, eps=c.layer_norm_eps)
        self.self_attn = Parts(q_proj=linear(), k_proj=linear(), v_proj=linear(), out_proj=linear())
        self.layer_norm2 = nn.LayerNorm(w, eps=c.layer_norm_eps)
        self.mlp = Parts(fc1=nn.Linear(w, c.intermediate_size), fc2=nn.Linear(c.intermediate_size, w))

    def forward(self, x):
        """(B, N, W) -> (B, N, W)."""
        a, y = self.self_attn, self.layer_norm1(x)
        q, k, v = (heads(project(y), self.count) for project in (a.q_proj, a.k_proj, a.v_proj))
        x = x + a.out_proj(merged(F.scaled_dot_product_attention(q, k, v)))
        y = F.gelu(self.mlp.fc1(self.layer_norm2(x)), approximate="tanh")
        return x + self.mlp.fc2(y)


class Vision(nn.Module):
    """SigLIP's tower without its pooling head."""

    def __init__(self, c):
        super().__init__()
        w, p = c.hidden_size, c.patch_size
        self.embeddings = Parts(
            patch_embedding=nn.Conv2d(c.num_channels, w, p, p), position_embedding=nn.Embedding(c.tokens, w)
        )
        self.encoder = Parts(layers=nn.ModuleList(VisionBlock(c) for _ in range(c.num_hidden_layers)))
        # Never run in training, but part of the checkpoint.
        self.post_layernorm = nn.LayerNorm(w, eps=c.layer_norm_eps)

    def forward(self, pixels, depth):
        """Pixels (B, 3, S, S) -> states 0..depth, (B, N, W) each: 0 the embeddings, k after block k."""
        x = self.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        states = [x + self.embeddings.position_embedding.weight]
        for block in self.encoder.layers[:depth]:
            states.append(block(states[-1]))
        return states


# ---------------------------------------------------------------- positions


def frequencies(c):
    """theta^(-2 j / D), float64 (D/2), slowed as `rope_scaling` says (`src/model/positions.rs`)."""
    f = c.rope_theta ** (-torch.arange(0, c.head, 2, dtype=torch.float64) / c.head)
    s = c.rope_scaling
    if s is None:
        return f
    turns = s.original_max_position_embeddings * f / math.tau
    kept = ((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)).clamp(0.0, 1.0)
    return kept * f + (1.0 - kept) * f / s.factor


def slots(head, layout):
    """Frequency number and axis (0 row, 1 column, 2 third) of each of the D/2 slots of a key.

    The first 6D/16 slots serve rows and columns. interleaved: slot j keeps frequency j, axes alternate. released:
    the even frequencies with the row, then the odd ones with the column, as in the published code.
    """
    slot, grid = torch.arange(head // 2), 6 * head // 16
    third = slot >= grid
    if layout == "interleaved":
        return slot, torch.where(third, 2, slot % 2)
    half = grid // 2
    first = slot < half
    frequency = torch.where(third, slot, torch.where(first, 2 * slot, 2 * (slot - half) + 1))
    return frequency, torch.where(third, 2, torch.where(first, 0, 1))


class Positions:
    """Rotary angles as (cos, sin), float32 (rows, D/2) each. The picture stands before the text, at offset 0.

    Made in double precision and rounded once, as the Rust program does.
    """

    def __init__(self, config, tokens, device):
        v, c, l = config.vision_config, config.text_config, config.link_config
        self.device, self.f = device, frequencies(c)
        text = torch.arange(tokens, dtype=torch.float64)
        self.plain = self._turn(text[:, None] * self.f)
        cell = torch.arange(v.tokens, dtype=torch.float64)
        moved = text + (v.side if l.rope_2d else v.tokens)
        self.query = self._turn(moved[:, None] * self.f)
        if l.rope_2d:
            grid = torch.stack((cell // v.side, cell % v.side, torch.full_like(cell, v.side // 2)), -1)
            frequency, axis = slots(c.head, l.rope_layout)
            at = lambda place: self._turn(place[:, axis] * self.f[frequency])
            self.text_key, self.image_key = at(moved[:, None].expand(-1, 3)), at(grid)
        else:
            self.text_key, self.image_key = self.query, self._turn(cell[:, None] * self.f)

    def _turn(self, angle):
        return angle.cos().float().to(self.device), angle.sin().float().to(self.device)


def rotate(x, turn):
    """Rotates (B, heads, rows, D), first half against second half."""
    (a, b), (cos, sin) = x.chunk(2, -1), turn
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


# ---------------------------------------------------------------- decoder


class Link(nn.Module):
    """What HIVE adds to a decoder layer: a projector, key and value projections of the picture, QK-norm gains."""

    def __init__(self, v, c):
        super().__init__()
        kv = c.num_key_value_heads * c.head
        self.mm_proj = Parts(
            norm=nn.LayerNorm(v.hidden_size, eps=c.rms_norm_eps),
            fc1=nn.Linear(v.hidden_size, c.hidden_size),
            fc2=nn.Linear(c.hidden_size, c.hidden_size),
        )
        self.image_k_proj = nn.Linear(c.hidden_size, kv, bias=c.attention_bias)
        self.image_v_proj = nn.Linear(c.hidden_size, kv, bias=c.attention_bias)
        self.q_norm = RmsNorm(c.head, c.rms_norm_eps)
        self.k_norm = RmsNorm(c.head, c.rms_norm_eps)

    def forward(self, features):
        """(B, N, W) -> (B, N, C)."""
        p = self.mm_proj
        return p.fc2(F.gelu(p.fc1(p.norm(features))))


class DecoderLayer(nn.Module):
    """Llama's layer. With a link, keys and values of the picture stand beside those of the text under one softmax."""

    def __init__(self, c, link_config):
        super().__init__()
        h, kv, f, bias = c.hidden_size, c.num_key_value_heads * c.head, c.intermediate_size, c.attention_bias
        self.c, self.l = c, link_config
        self.input_layernorm = RmsNorm(h, c.rms_norm_eps)
        self.self_attn = Parts(
            q_proj=nn.Linear(h, h, bias=bias),
            k_proj=nn.Linear(h, kv, bias=bias),
            v_proj=nn.Linear(h, kv, bias=bias),
            o_proj=nn.Linear(h, h, bias=False),
        )
        self.post_attention_layernorm = RmsNorm(h, c.rms_norm_eps)
        self.mlp = Parts(
            gate_proj=nn.Linear(h, f, bias=False),
            up_proj=nn.Linear(h, f, bias=False),
            down_proj=nn.Linear(f, h, bias=False),
        )

    def forward(self, x, mask, positions, link=None, features=None):
        """x (B, T, C), mask (B, 1, T, keys), features (B, N, W) of the link's depth -> (B, T, C)."""
        a, y = self.self_attn, self.input_layernorm(x)
        groups = self.c.num_key_value_heads
        q, k, v = heads(a.q_proj(y), self.c.num_attention_heads), heads(a.k_proj(y), groups), heads(a.v_proj(y), groups)
        if link is None:
            q, k = rotate(q, positions.plain), rotate(k, positions.plain)
        else:
            q, k, v = self._join(q, k, v, positions, link, features)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=groups < q.shape[1])
        x = x + a.o_proj(merged(attended))
        y = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(y)) * self.mlp.up_proj(y))

    def _join(self, q, k, v, positions, link, features):
        """Rotated and normed queries (B, H, T, D); keys and values (B, G, T + N, D), those of the text first."""
        image_k, image_v = self._image(link, features)
        q, k = rotate(q, positions.query), rotate(k, positions.text_key)
        k = torch.cat((k, rotate(image_k, positions.image_key)), 2)
        if self.l.qk_norm:
            q, k = link.q_norm(q), link.k_norm(k)
        return q, k, torch.cat((v, image_v), 2)

    def _image(self, link, features):
        """Keys and values of the picture, (B, G, N, D) each; by the text's projections until they are parted."""
        e = self.input_layernorm(link(features))
        of = (link.image_k_proj, link.image_v_proj)
        if not self.l.separate_image_kv:
            of = (self.self_attn.k_proj, self.self_attn.v_proj)
        return tuple(heads(project(e), self.c.num_key_value_heads) for project in of)


class Hive(nn.Module):
    """Tower, decoder and links; gives the sum of losses of a batch."""

    def __init__(self, config):
        super().__init__()
        v, c, l = config.vision_config, config.text_config, config.link_config
        self.config = config
        self.vision_model = Vision(v)
        self.model = Parts(
            embed_tokens=nn.Embedding(c.vocab_size, c.hidden_size),
            layers=nn.ModuleList(DecoderLayer(c, l) for _ in range(c.num_hidden_layers)),
            norm=RmsNorm(c.hidden_size, c.rms_norm_eps),
        )
        if not c.tie_word_embeddings:
            self.lm_head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        self.links = nn.ModuleList(Link(v, c) for _ in l.language_layers)
        self.positions = {}

    def _positions(self, tokens, device):
        key = (tokens, device)
        if key not in self.positions:
            self.positions[key] = Positions(self.config, tokens, device)
        return self.positions[key]

    def logits(self, batch):
        """(B, T, V)."""
        l, positions = self.config.link_config, self._positions(batch.ids.shape[1], batch.ids.device)
        states = None if batch.pixels is None else self.vision_model(batch.pixels, l.deepest)
        text, joined = masks(batch, self.config.vision_config.tokens)
        x = self.model.embed_tokens(batch.ids)
        for i, layer in enumerate(self.model.layers):
            if states is not None and i in l.language_layers:
                link = l.language_layers.index(i)
                x = layer(x, joined, positions, self.links[link], states[l.vision_layers[link]])
            else:
                x = layer(x, text, positions)
        tied = self.config.text_config.tie_word_embeddings
        head = self.model.embed_tokens.weight if tied else self.lm_head.weight
        return F.linear(self.model.norm(x), head)

    def forward(self, batch):
        """Sum of the next-token cross-entropy over the batch's targets, float32 ()."""
        logits = self.logits(batch)[:, :-1].float()
        return F.cross_entropy(
            logits.flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=NO_TARGET, reduction="sum"
        )


def masks(batch, image):
    """Which keys each query sees: of the text (B, 1, T, T), and of text and picture (B, 1, T, T + N)."""
    rows, tokens = batch.ids.shape
    t = torch.arange(tokens, device=batch.ids.device)
    text = (t[None, :] <= t[:, None])[None] & (t < batch.lengths[:, None])[:, None, :]
    sees = text.new_ones(rows, tokens, image)
    return text[:, None], torch.cat((text, sees), -1)[:, None]

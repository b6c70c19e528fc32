"""Writes what tests/real_size.rs expects: expect.py, without arguments.

Run by hand with torch 2.11 and transformers 5.9; never by the tests. Models of the real width and of two layers each, in
float64, with weights that are a function of seed, name and index, here and in tests/real_size/weights.rs alike. The tower
and the language models are the classes of transformers, and so is all of SmolVLM; of HIVE there is the linked attention below.
"""

import copy
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import (Idefics3Config, Idefics3ForConditionalGeneration, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel)

here = Path(__file__).parent
SEED = 2604
DEPTH = 2
# Steps from zero to the largest of the ordinary weights: on the grid of int4, and as fine as f16 allows.
LEVELS = {"grid": 7, "fine": 255}
# Every so many-th logit is kept of a large vocabulary.
STRIDE = {"hive": 1, "cascade": 8, "smolvlm": 4}


# ---------------------------------------------------------------- weights

def mix(h):
    """The last steps of MurmurHash3."""
    h = np.asarray(h, np.uint32)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def key(seed, name):
    """FNV-1a of the name, mixed with the seed."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return mix(np.array([h ^ seed]))


def draw(seed, name, shape, levels):
    count, k = math.prod(shape), key(seed, name)
    i = np.arange(count, dtype=np.uint32)
    h = mix(i ^ k)
    if len(shape) == 1 and name.endswith("weight"):              # the gain of a norm
        return torch.from_numpy(1 + ((h >> 23).astype(np.float64) - 256) / 1024).reshape(shape)
    if len(shape) == 1:
        return torch.from_numpy(((h >> 23).astype(np.float64) - 256) / 4096).reshape(shape)
    q = ((h >> 16) * np.uint32(2 * levels + 1) >> 16).astype(np.float64) - levels
    group = mix(~(i // 32) ^ k)
    last = np.where(group & 32, levels + 1, -levels - 1)
    q = np.where(i % 32 == group % 32, last, q)
    columns = count // shape[0]
    # Standard deviation 1 / sqrt(columns), to a power of two.
    std = math.sqrt((31 * levels * (levels + 1) / 3 + (levels + 1) ** 2) / 32)
    return torch.from_numpy(q * 2.0 ** round(-math.log2(std * math.sqrt(columns)))).reshape(shape)


def fill(model, prefix, levels, renamed=()):
    """Overwrites all parameters by their names, which begin otherwise here. Tied ones have one name."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            for theirs, ours in renamed:
                if name.startswith(theirs):
                    name = ours + name[len(theirs):]
                    break
            p.copy_(draw(SEED, prefix + name, tuple(p.shape), levels))
    return model.eval()


# ---------------------------------------------------------------- models

def tower(c, levels):
    config = SiglipVisionConfig(**{k: v for k, v in c.items() if k != "model_type"}, vision_use_head=False,
                                attn_implementation="eager")
    return fill(SiglipVisionModel(config).double(), "vision_model.", levels)


def language(c, levels):
    classes = {"mobilellm": (LlamaForCausalLM, LlamaConfig), "qwen2": (Qwen2ForCausalLM, Qwen2Config)}
    model, config = classes[c["model_type"]]
    rope = {"rope_type": "default", "rope_theta": c["rope_theta"]}
    c = {k: v for k, v in c.items() if k not in ("model_type", "rope_theta", "share_embedding")}
    c |= {"tie_word_embeddings": True, "rope_parameters": rope, "attn_implementation": "eager"}
    return fill(model(config(**c)).double(), "", levels)


def turned(x, angle):
    """Rotates pairs of halves of x (H, T, D) by angle (T, D / 2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)


def normed(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


class Link(nn.Module):
    """In the place of a layer's self-attention: text queries, text keys and image keys under one softmax."""

    def __init__(self, layer, c, width, features, offset):
        super().__init__()
        C, D = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"]
        kv = c["num_key_value_heads"] * D
        self.mm_proj = nn.Module()
        self.mm_proj.norm = nn.LayerNorm(width, eps=c["rms_norm_eps"])
        self.mm_proj.fc1, self.mm_proj.fc2 = nn.Linear(width, C), nn.Linear(C, C)
        self.image_k_proj, self.image_v_proj = nn.Linear(C, kv, bias=False), nn.Linear(C, kv, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(D, eps=c["rms_norm_eps"]), nn.RMSNorm(D, eps=c["rms_norm_eps"])
        # Not to be found among this module's parameters.
        self.of = {"layer": layer, "attention": layer.self_attn}
        self.c, self.D, self.features, self.offset = c, D, features, offset

    def heads(self, x):                                          # (1, T, n D) -> (n, T, D)
        return x[0].unflatten(-1, (-1, self.D)).transpose(0, 1)

    def forward(self, hidden_states, **_):
        c, a, o, eps = self.c, self.of["attention"], self.offset, self.c["rms_norm_eps"]
        p = self.mm_proj
        e = self.of["layer"].input_layernorm(p.fc2(F.gelu(p.fc1(p.norm(self.features)))))
        T, N = hidden_states.shape[1], e.shape[1]
        P = math.isqrt(N)
        f = c["rope_theta"] ** (-torch.arange(0, self.D, 2, dtype=torch.float64) / self.D)
        t = torch.arange(T)
        place = torch.where(t < o, t, t + P)                     # text after the image moves by its side
        cell = torch.arange(N)
        # Of D / 2 frequencies 6 D / 16 serve rows (even) and columns (odd), the others the image's middle.
        slot = torch.arange(self.D // 2)
        axis = torch.where(slot < 6 * self.D // 16, slot % 2, torch.tensor(2))
        grid = torch.stack((o + cell // P, o + cell % P, torch.full((N,), o + P // 2)), -1)[:, axis]
        q = turned(self.heads(a.q_proj(hidden_states)), place[:, None] * f)
        k = turned(self.heads(a.k_proj(hidden_states)), place[:, None] * f)
        k = torch.cat((k, turned(self.heads(self.image_k_proj(e)), grid * f)), 1)
        v = torch.cat((self.heads(a.v_proj(hidden_states)), self.heads(self.image_v_proj(e))), 1)
        q, k = normed(q, self.q_norm.weight, eps), normed(k, self.k_norm.weight, eps)
        k, v = (x.repeat_interleave(q.shape[0] // x.shape[0], 0) for x in (k, v))
        seen = torch.cat((t[None] <= t[:, None], (t >= o)[:, None].expand(T, N)), -1)
        s = (q @ k.transpose(-1, -2) / math.sqrt(self.D)).masked_fill(~seen, -math.inf)
        return a.o_proj((torch.softmax(s, -1) @ v).transpose(0, 1).reshape(1, T, -1)), None


def linked(config, levels, pixels, ids, offset):
    c, links = config["text_config"], config["link_config"]
    states = tower(config["vision_config"], levels)(pixels, output_hidden_states=True).hidden_states
    model = language(c, levels)
    for i, (depth, at) in enumerate(zip(links["vision_layers"], links["language_layers"])):
        layer = model.model.layers[at]
        link = Link(layer, c, config["vision_config"]["hidden_size"], states[depth], offset).double()
        layer.self_attn = fill(link, f"links.{i}.", levels)
    return model(input_ids=ids[None], use_cache=False).logits[0, -1]


def flattened(config, levels, pixels, ids, offset):
    state = tower(config["vision_config"], levels)(pixels, output_hidden_states=True).hidden_states[-2]
    model = language(config["text_config"], levels)
    C = config["text_config"]["hidden_size"]
    projector = nn.Sequential(nn.Linear(state.shape[-1], C), nn.GELU(), nn.Linear(C, C)).double()
    image = fill(projector, "mm_projector.", levels)(state)
    text = model.model.embed_tokens(ids[None])
    x = torch.cat((text[:, :offset], image, text[:, offset:]), 1)
    return model(inputs_embeds=x, use_cache=False).logits[0, -1]


def published(config, levels, pixels, ids, offset):
    c = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
    renamed = (("model.vision_model.", "vision_model."), ("model.text_model.", "model."),
               ("model.connector.modality_projection.", "mm_projector."))
    whole = Idefics3ForConditionalGeneration(Idefics3Config(**c, attn_implementation="eager")).double()
    model = fill(whole, "", levels, renamed)
    image = model.model.get_image_features(pixels[None]).pooler_output.reshape(1, -1, c["text_config"]["hidden_size"])
    text = model.model.text_model.embed_tokens(ids[None])
    x = torch.cat((text[:, :offset], image, text[:, offset:]), 1)
    return model.lm_head(model.model.text_model(inputs_embeds=x, use_cache=False).last_hidden_state)[0, -1]


# ---------------------------------------------------------------- fixture

def original(name):
    """The configuration of a size: SmolVLM's is the published one."""
    if name != "smolvlm":
        return json.loads((here / f"{name}.json").read_text())
    return json.loads((here / "../fixtures-vlm/published.json").read_text())["models"][0]["config"]


def reduced(config):
    config = copy.deepcopy(config)
    for part in ("vision_config", "text_config"):
        config[part]["num_hidden_layers"] = DEPTH
    if "link_config" in config:
        # Layer 0 is an ordinary one.
        config["link_config"] = {"vision_layers": [DEPTH], "language_layers": [DEPTH - 1]}
    return config


@torch.no_grad()
def main():
    out = {}
    runs = (("hive", linked, 1, 40), ("cascade", flattened, 14, 40), ("smolvlm", published, 14, 40))
    for name, forward, offset, count in runs:
        config = reduced(original(name))
        size = config["vision_config"]["image_size"]
        i = np.arange(3 * size * size, dtype=np.uint32)
        pixels = torch.from_numpy(((mix(i ^ key(SEED, "pixels")) >> 23).astype(np.float64) - 256) / 256)
        pixels = pixels.reshape(1, 3, size, size)
        vocabulary = config["text_config"]["vocab_size"]
        ids = torch.from_numpy((mix(np.arange(count, dtype=np.uint32) ^ key(SEED, "ids")) % vocabulary).astype(np.int64))
        for levels in LEVELS:
            logits = forward(config, LEVELS[levels], pixels, ids, offset)
            other = forward(config, LEVELS[levels], -pixels, ids, offset)
            seen = ((other - logits).abs().max() / logits.abs().max()).item()
            print(f"{name} {levels}: largest {logits.abs().max():.3f}, spread {logits.std():.3f}, other picture {seen:.3f}")
            top = logits.topk(20)
            out[f"{name}.{levels}.logits"] = logits[:: STRIDE[name]].float().contiguous()
            out[f"{name}.{levels}.top"] = top.indices.float()
            out[f"{name}.{levels}.top_logits"] = top.values.float()
            out[f"{name}.{levels}.other_picture"] = torch.tensor([seen]).float()
    save_file(out, here / "expect.safetensors")
    (here / "expect.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()

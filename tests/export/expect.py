"""Writes what the tests expect of an exported model: expect.py FOLDER, where `hive convert shapes FOLDER` filled the folder.

Opens it with transformers, keeps what comes out, and the hashes of the files it came from. Run by hand with torch 2.11 and
transformers 5.9; never by the tests. Everything is computed in float32.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast, SiglipVisionModel

folder, here = Path(sys.argv[1]), Path(__file__).parent
MASK = (1 << 64) - 1


def hash_bytes(data):
    """FNV-1a, then a step of splitmix64."""
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    z = (h + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def whole(loaded):
    """A model all of whose weights were there, and no others."""
    model, info = loaded
    assert not any(info.values()), info
    return model.eval()


torch.manual_seed(0)
tower = whole(
    SiglipVisionModel.from_pretrained(folder / "vision_tower", dtype=torch.float32, output_loading_info=True)
)
language = whole(
    LlamaForCausalLM.from_pretrained(folder / "language_model", dtype=torch.float32, output_loading_info=True)
)
tokenizers = [
    maker.from_pretrained(path)
    for maker in (AutoTokenizer, PreTrainedTokenizerFast)
    for path in (folder / "language_model", folder)
]
side = tower.config.image_size
pixels = torch.rand(1, 3, side, side) * 2 - 1
conversations = [
    [("user", "what color is the circle ?")],
    [("user", "Is there a red square?"), ("assistant", "yes"), ("user", "where")],
    [("user", "<image>\nHow many stars do you see??")],
    [("user", "  is there a zebra, or two crosses ? "), ("assistant", "no"), ("user", "how many rings?")],
]
texts = [
    "what color is the ring ?",
    "How many circles? Triangles' squares, zebras!",
    "<s>top left</s><pad>x <unk> 🙂 well-known it's",
    "",
]


def ids(text, special=False):
    all_ids = [t(text, add_special_tokens=special)["input_ids"] for t in tokenizers]
    assert all(i == all_ids[0] for i in all_ids), (text, all_ids)
    return all_ids[0]


def chat(turns):
    messages = [{"role": role, "content": content} for role, content in turns]
    rendered = [t.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) for t in tokenizers]
    assert all(r == rendered[0] for r in rendered), rendered
    return {"messages": messages, "text": rendered[0], "ids": ids(rendered[0].replace("<image>", ""))}


chats = [chat(turns) for turns in conversations]
row = torch.tensor([chats[1]["ids"]])
with torch.no_grad():
    seen = tower(pixels, output_hidden_states=True)
    logits = language(row).logits
out = {f"vision.{i}": state[0] for i, state in enumerate(seen.hidden_states)}
out |= {"vision.last": seen.last_hidden_state[0], "logits": logits[0], "pixels": pixels, "ids": row[0].int()}
save_file({k: v.contiguous() for k, v in out.items()}, here / "io.safetensors")

files = sorted(p for p in folder.rglob("*") if p.is_file())
expect = {
    "files": {p.relative_to(folder).as_posix(): f"{hash_bytes(p.read_bytes()):016x}" for p in files},
    "texts": [{"text": t, "ids": ids(t), "special": ids(t, True)} for t in texts],
    "chats": chats,
}
(here / "expect.json").write_text(json.dumps(expect, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
print(len(files), "files;", {k: tuple(v.shape) for k, v in out.items()})

"""Where the last token of a prompt looks, as transformers computes it: (layers, heads, positions) for fixtures of vision-language models.

    python tests/models/attention.py tests/fixtures-vlm OUT.safetensors

needs torch, transformers 5.9 and safetensors. Ids and pixels are those of the fixtures' first case.
"""
import json, pathlib, sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

out = {}
for name in ("smolvlm", "llava-onevision"):
    folder = pathlib.Path(sys.argv[1]) / name
    io = load_file(folder / "io.safetensors")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    pixels = io["one.pixels"].float() / 127.5 - 1
    more = {} if name == "smolvlm" else {"image_sizes": torch.tensor([[int(v) for v in sys.argv[3:5]]])}
    ids = io["one.ids"].long()[None]
    with torch.no_grad():
        got = model(input_ids=ids, pixel_values=pixels[None], attention_mask=torch.ones_like(ids), output_attentions=True, **more)
    assert (got.logits[0, -1] - io["one.logits"]).abs().max() < 1e-3, name
    out[name] = torch.stack([a[0, :, -1] for a in got.attentions]).contiguous()
save_file(out, sys.argv[2])
print({k: tuple(v.shape) for k, v in out.items()})

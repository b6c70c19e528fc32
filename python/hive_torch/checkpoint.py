"""Checkpoints of both programs: one safetensors file (`src/train/checkpoint.rs`).

Weights stand under their Hugging Face names, AdamW's moments beside them as `optimiser.m.NAME` and
`optimiser.v.NAME` while a stage is in progress, and everything else as JSON under the metadata's key `hive`.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from . import config
from .errors import HiveError
from .tokenizer import Tokenizer

KEY = "hive"
FORMAT = 1
M, V = "optimiser.m.", "optimiser.v."


@dataclass
class Meta:
    """Everything but tensors."""

    preset: config.Preset
    # The model as it is now: stage 2 changes it.
    model: config.ModelConfig
    tokenizer: Tokenizer
    # In progress or done; none before stage 1.
    stage: int | None = None
    # Updates done in that stage.
    update: int = 0
    # Does the stage go on after its end, on samples of its own?
    more: bool = False
    # What only the Rust program reads or writes: scores, what a folder is split by.
    other: dict = field(default_factory=dict)

    def to_json(self):
        """The text under the metadata's key."""
        return json.dumps(
            {
                **self.other,
                "format": FORMAT,
                "preset": config.write(self.preset),
                "model": config.write(self.model),
                "tokenizer": {"words": self.tokenizer.words},
                "stage": None if self.stage is None else str(self.stage),
                "update": self.update,
                "more": self.more,
            }
        )

    @classmethod
    def from_json(cls, text):
        """Checked: what it says can be built and trained."""
        data = json.loads(text)
        if data.get("format", 0) > FORMAT:
            raise HiveError(f"it has format {data['format']}, this program reads up to {FORMAT}. Update hive_torch")
        own = ("format", "preset", "model", "tokenizer", "stage", "update", "more")
        meta = cls(
            preset=config.parse_preset(data["preset"], "its preset"),
            model=config.read(config.ModelConfig, data["model"], "its model"),
            tokenizer=Tokenizer(data["tokenizer"]["words"]),
            stage=None if data.get("stage") is None else int(data["stage"]),
            update=int(data["update"]),
            more=bool(data.get("more", False)),
            other={k: v for k, v in data.items() if k not in own},
        )
        meta.check()
        return meta

    def check(self):
        """Is the model that of its preset, with a row in the embedding for every word?"""
        config.check_model(self.model, "its model")
        start = self.preset.model
        if (self.model.vision_config, self.model.text_config) != (start.vision_config, start.text_config):
            raise HiveError('the sizes in its "model" are not those of its preset')
        rows = self.model.text_config.vocab_size
        if len(self.tokenizer) > rows:
            raise HiveError(f"it has {len(self.tokenizer)} words, and vocab_size is {rows}")


@dataclass
class Checkpoint:
    """Tensors on the host, by name; moments are empty where no stage is in progress."""

    meta: Meta
    weights: dict
    m: dict = field(default_factory=dict)
    v: dict = field(default_factory=dict)

    def save(self, path):
        """Writes the file, replaced by renaming: a kill leaves the old one or the new one."""
        sets = [("", self.weights), (M, self.m), (V, self.v)]
        tensors = {prefix + name: t.contiguous() for prefix, part in sets for name, t in part.items()}
        for name, t in tensors.items():
            if not torch.isfinite(t).all():
                raise HiveError(
                    f"the tensor {name} holds a value that is no finite number, and nothing was saved. Go back to what"
                    " was saved before, and try a smaller learning_rate or a longer warmup_ratio"
                )
        partial = Path(f"{path}.partial")
        try:
            save_file(tensors, partial, {KEY: self.meta.to_json()})
            _share(partial)
            os.replace(partial, path)
        except (OSError, SafetensorError) as e:
            raise HiveError(f"cannot write {path}: {e}. Free some room, or choose another --out") from e


def _share(path):
    """Gives a file the rights of any other new file; safetensors writes it for its owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def load(path):
    """A checkpoint of either program."""
    wrong = lambda reason: HiveError(f"cannot use {path}: {reason}")
    if not Path(path).is_file():
        raise wrong("there is no such file. Give the path of a checkpoint.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise wrong(
                    'this safetensors file is no Hive checkpoint: its metadata has no "hive" entry. '
                    "Checkpoints are written by hive train and hive_torch.train"
                )
            meta = Meta.from_json(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as e:
        raise wrong(f"it is damaged or no safetensors file ({e}). Copy it again, or give another") from e
    except HiveError as e:
        raise e if str(e).startswith("cannot use") else wrong(str(e)) from e
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise wrong(f"its metadata is damaged ({type(e).__name__}: {e}). Copy it again, or give another") from e
    # Plain bytes are what the Rust program's window carries along: curves, attention maps.
    tensors = {name: t.float() for name, t in tensors.items() if t.dtype != torch.uint8}
    take = lambda prefix: {n[len(prefix) :]: tensors.pop(n) for n in list(tensors) if n.startswith(prefix)}
    return Checkpoint(meta, m=take(M), v=take(V), weights=tensors)

"""Presets as JSON, with the keys, defaults and limits of `src/train/recipe.rs` and `src/model/config.rs`."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .errors import HiveError

STAGES = (1, 2, 3)
MOST_ROWS = 1 << 16
MOST_STEPS = 1_000_000_000
MOST_SAMPLES = 1e12


@dataclass
class VisionConfig:
    """SigLIP vision tower; Hugging Face's keys."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    layer_norm_eps: float = 1e-6

    @property
    def side(self):
        """Patches per side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self):
        """N, image tokens."""
        return self.side * self.side


@dataclass
class RopeScaling:
    """Rotary frequencies of Llama 3.1 and 3.2."""

    rope_type: str
    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass
class LanguageConfig:
    """Llama-family or Qwen2 decoder; Hugging Face's keys."""

    hidden_size: int = 576
    intermediate_size: int = 1536
    num_hidden_layers: int = 30
    num_attention_heads: int = 9
    num_key_value_heads: int = 3
    vocab_size: int = 49152
    rope_theta: float = 100_000.0
    rope_scaling: Optional[RopeScaling] = None
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    tie_word_embeddings: bool = True

    @property
    def head(self):
        """D, width of a head."""
        return self.hidden_size // self.num_attention_heads


@dataclass
class LinkConfig:
    """Which depths of the tower are linked to which decoder layers, and how."""

    vision_layers: list = field(default_factory=list)
    language_layers: list = field(default_factory=list)
    separate_image_kv: bool = True
    qk_norm: bool = True
    rope_layout: str = "interleaved"
    rope_2d: bool = True

    @property
    def deepest(self):
        """The deepest state of the tower that is linked."""
        return max(self.vision_layers)


@dataclass
class ModelConfig:
    """Tower, decoder and links."""

    vision_config: VisionConfig
    text_config: LanguageConfig
    link_config: LinkConfig = field(default_factory=LinkConfig)
    # Of the flattened wiring, which is not trained here: kept as it is.
    projector_config: Any = None


@dataclass
class StageRecipe:
    """One stage; `batch` rows per micro-batch over all processes, `accumulate` micro-batches per optimiser step."""

    steps: int
    learning_rate: float
    batch: int
    warmup_ratio: float = 0.03
    floor: float = 0.1
    beta2: float = 0.95
    max_grad_norm: float = 1.0
    weight_decay: float = 1e-5
    accumulate: int = 1


@dataclass
class Init:
    """How start weights are drawn."""

    embed_std: float = 0.2
    residual_scale: float = 0.3
    position_std: float = 0.707
    qk_gain: float = 1.6


@dataclass
class DataRecipe:
    """Weight of each kind of question, and the share of scenes with a single thing that are kept."""

    mix: list = field(default_factory=list)
    keep_single: float = 1.0


@dataclass
class Preset:
    """A whole run."""

    name: str
    about: str
    data: str
    model: ModelConfig
    tokens: int
    turns: int
    # [["1", recipe], ...]
    stages: list
    wiring: str = "hive"
    scope: str = "linked"
    shared_image_kv: bool = False
    mix: DataRecipe = field(default_factory=DataRecipe)
    text_tokens: int = 64
    init: Init = field(default_factory=Init)
    # Of the tower's own pre-training, which is the Rust program's: kept as they are.
    naming: Any = None
    pretrain_vision: Optional[StageRecipe] = None
    pretrain_language: Optional[StageRecipe] = None
    seed: int = 0

    def stage(self, number):
        """The recipe of stage 1, 2 or 3; none where it is left out."""
        return next((recipe for key, recipe in self.stages if key == str(number)), None)


# Parts that people write: an unknown key there is a typing mistake. Others have keys of Hugging Face's that
# nothing here reads.
STRICT = (Preset, StageRecipe, Init, DataRecipe)


def _typed(kind, value, where):
    """A JSON value as the type that a field has."""
    if kind is Any:
        return value
    if getattr(kind, "__origin__", None) is not None:
        return None if value is None else _typed(kind.__args__[0], value, where)
    if dataclasses.is_dataclass(kind):
        return read(kind, value, where)
    names = {int: "a whole number, at least 0", float: "a number", bool: "true or false", str: "a text", list: "a list"}
    ok = {
        int: type(value) is int and value >= 0,
        float: type(value) in (int, float) and math.isfinite(value),
    }.get(kind, type(value) is kind)
    if not ok:
        raise HiveError(f"{where} is {json.dumps(value)}; it must be {names[kind]}")
    return value


def read(kind, data, where):
    """A dataclass from JSON, with sentences for what does not fit."""
    if not isinstance(data, dict):
        raise HiveError(f"{where} is {json.dumps(data)[:60]}; it must be an object")
    if kind is RopeScaling and "type" in data:
        data = {"rope_type": data["type"], **{k: v for k, v in data.items() if k != "type"}}
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [key for key in data if key not in fields]
    if unknown and kind in STRICT:
        raise HiveError(f"{where} has no key \"{unknown[0]}\"; its keys are {', '.join(fields)}")
    values = {}
    for name, f in fields.items():
        if name in data:
            values[name] = _typed(f.type, data[name], f"{where}.{name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise HiveError(f'{where} lacks the key "{name}". Compare it with assets/presets/tiny.json')
    return kind(**values)


def write(value):
    """JSON of a dataclass; what is none and optional is left out, as the Rust program reads its own defaults there."""
    if dataclasses.is_dataclass(value):
        parts = {f.name: write(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: part for name, part in parts.items() if part is not None}
    if isinstance(value, (list, tuple)):
        return [write(one) for one in value]
    return value


def parse_preset(data, where="the preset"):
    """A preset from JSON, checked."""
    preset = read(Preset, data, where)
    preset.stages = [_stage(entry, f"{where}.stages.{i}") for i, entry in enumerate(preset.stages)]
    _check(preset, where)
    return preset


def _stage(entry, where):
    pair = isinstance(entry, list) and len(entry) == 2 and entry[0] in [str(s) for s in STAGES]
    if not pair:
        raise HiveError(f'{where} must be ["1", "2" or "3", recipe]')
    return [entry[0], read(StageRecipe, entry[1], f"{where}.1")]


def _need(ok, what, value, need):
    if not ok:
        raise HiveError(f"{what} is {value}; it must be {need}")


def _check(preset, where):
    if preset.wiring != "hive":
        raise HiveError(
            f'{where}.wiring is "{preset.wiring}"; only "hive" is trained here. Train the other with hive train'
        )
    _need(preset.scope in ("linked", "language"), f"{where}.scope", preset.scope, "linked or language")
    _need(4 <= preset.tokens <= 4096, f"{where}.tokens", preset.tokens, "from 4 to 4096")
    _need(1 <= preset.turns <= 256, f"{where}.turns", preset.turns, "from 1 to 256")
    _need(preset.seed < 1 << 64, f"{where}.seed", preset.seed, "below 2^64")
    _need(0 <= preset.mix.keep_single <= 1, f"{where}.mix.keep_single", preset.mix.keep_single, "from 0 to 1")
    for weight in preset.mix.mix:
        number = type(weight) in (int, float)
        _need(number and 0 <= weight <= 1e6, f"a weight of {where}.mix.mix", weight, "a number from 0 to 1e6")
    numbers = [int(key) for key, _ in preset.stages]
    _need(numbers == sorted(set(numbers)), f"{where}.stages", numbers, "a rising list: each stage once at most")
    for key, recipe in preset.stages:
        _check_recipe(recipe, f"stage {key} of {where}")
    if preset.pretrain_language:
        _check_recipe(preset.pretrain_language, f"pretrain_language of {where}")
    check_model(preset.model, f"{where}.model")


def _check_recipe(r, where):
    for key in ("batch", "accumulate"):
        _need(1 <= getattr(r, key) <= MOST_ROWS, f"{key} of {where}", getattr(r, key), f"from 1 to {MOST_ROWS}")
    enough = r.steps <= MOST_STEPS and r.steps * r.batch * r.accumulate <= MOST_SAMPLES
    _need(enough, f"steps of {where}", r.steps, "at most 1e9, and steps x batch x accumulate at most 1e12")
    _need(0 < r.learning_rate <= 1, f"learning_rate of {where}", r.learning_rate, "above 0 and at most 1")
    _need(0 <= r.beta2 < 1, f"beta2 of {where}", r.beta2, "from 0 to below 1")
    for key in ("warmup_ratio", "floor"):
        _need(0 <= getattr(r, key) <= 1, f"{key} of {where}", getattr(r, key), "from 0 to 1")
    for key in ("max_grad_norm", "weight_decay"):
        _need(getattr(r, key) >= 0, f"{key} of {where}", getattr(r, key), "at least 0")


def check_model(model, where):
    """Can it be built?"""
    v, c, l = model.vision_config, model.text_config, model.link_config
    for part, name in ((v, "vision_config"), (c, "text_config")):
        for f in dataclasses.fields(part):
            if f.type is int:
                _need(getattr(part, f.name) >= 1, f"{where}.{name}.{f.name}", getattr(part, f.name), "at least 1")
        width, heads = part.hidden_size, part.num_attention_heads
        _need(width % heads == 0, f"{where}.{name}.hidden_size", width, f"a multiple of num_attention_heads {heads}")
    _need((c.head % 4) == 0, f"the width of a head of {where}.text_config", c.head, "a multiple of 4")
    _need(
        v.image_size % v.patch_size == 0, f"{where}.vision_config.image_size", v.image_size, "a multiple of patch_size"
    )
    groups = c.num_key_value_heads
    _need(
        c.num_attention_heads % groups == 0,
        f"{where}.text_config.num_key_value_heads",
        groups,
        "a divisor of num_attention_heads",
    )
    _need(
        l.rope_layout in ("interleaved", "released"),
        f"{where}.link_config.rope_layout",
        l.rope_layout,
        "interleaved or released",
    )
    ok = c.head % 8 == 0 or not l.rope_2d
    _need(ok, f"the width of a head of {where}.text_config", c.head, "a multiple of 8, for rope_2d")
    _check_links(l, v, c, f"{where}.link_config")


def _check_links(l, v, c, where):
    vision, language = l.vision_layers, l.language_layers
    _need(
        len(vision) == len(language) > 0,
        f"the number of {where}.vision_layers",
        len(vision),
        f"that of language_layers, {len(language)}, and not 0",
    )
    whole = lambda layers, end: all(type(i) is int and 0 <= i < end for i in layers)
    _need(
        whole(vision, v.num_hidden_layers + 1),
        f"{where}.vision_layers",
        vision,
        f"numbers from 0 to {v.num_hidden_layers}",
    )
    _need(
        whole(language, c.num_hidden_layers),
        f"{where}.language_layers",
        language,
        f"numbers below {c.num_hidden_layers}",
    )
    _need(language == sorted(set(language)), f"{where}.language_layers", language, "a rising list")


def load_preset(name, folder):
    """A preset by its name in `folder`, or from a JSON file."""
    path = Path(name) if name.endswith(".json") else Path(folder) / f"{name}.json"
    if not name.endswith(".json") and not path.exists():
        names = ", ".join(sorted(p.stem for p in Path(folder).glob("*.json")))
        raise HiveError(
            f"no preset called \"{name}\". Presets: {names or 'none in ' + str(folder)}, or a path to a JSON file"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise HiveError(f"cannot read {path}: {e.strerror}. Give the name of a preset, or a path to a JSON file") from e
    except ValueError as e:
        raise HiveError(f"{path} is no valid JSON ({e}). Compare it with assets/presets/tiny.json") from e
    return parse_preset(data, str(path))


def with_key(preset, pair):
    """The preset with one key changed: `a.b.0=value`."""
    key, equals, text = pair.partition("=")
    if not equals:
        raise HiveError(f'--set needs KEY=VALUE, not "{pair}"')
    data = write(preset)
    *path, last = key.split(".")
    try:
        place = data
        for part in path:
            place = place[int(part) if isinstance(place, list) else part]
        last = int(last) if isinstance(place, list) else last
        place[last]
    except (KeyError, IndexError, ValueError, TypeError) as e:
        raise HiveError(f'the preset has no key "{key}"') from e
    try:
        place[last] = json.loads(text)
    except ValueError:
        place[last] = text
    return parse_preset(data)

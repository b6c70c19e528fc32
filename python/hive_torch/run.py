"""A run: a preset, its data, and the model between or in its stages (`src/train/run.rs`)."""

import copy

import torch

from . import init
from .checkpoint import Checkpoint, Meta
from .errors import HiveError
from .model import Hive
from .stages import part_image_projections, trains
from .trainer import Trainer

# Captions that a folder's language model reads before the stages, in steps.
CAPTION_STEPS = 300


def shapes_of(config):
    """Shape of every parameter, by name."""
    with torch.device("meta"):
        return {name: tuple(p.shape) for name, p in Hive(config).named_parameters()}


def drawn(preset, start):
    """Start weights: those given, and the rest drawn."""
    weights = {}
    for name, shape in shapes_of(preset.model).items():
        if name in start:
            weights[name] = start[name]
        else:
            weights[name] = torch.from_numpy(init.tensor(name, shape, preset.model, preset.init, preset.seed))
    return weights


class Run:
    """Goes through the stages; can be saved after any step, and goes on from there."""

    def __init__(self, meta, weights, source, group):
        self.meta, self.weights, self.source, self.group = meta, weights, source, group
        self.trainer = None

    @classmethod
    def begin(cls, preset, source, start, group):
        """From start weights; the links are drawn."""
        preset.model.link_config.separate_image_kv = False
        meta = Meta(preset, copy.deepcopy(preset.model), source.tokenizer, other=source.meta())
        return cls(meta, drawn(preset, start), source, group)

    @classmethod
    def resume(cls, checkpoint, source, group):
        """Where a checkpoint of either program left off."""
        meta = checkpoint.meta
        if meta.stage is None and checkpoint.m:
            raise HiveError(
                "this is a pre-training that was stopped, and no run. Go on with the program that wrote it: "
                "hive train, or hive pretrain, with --resume and this file"
            )
        run = cls(meta, checkpoint.weights, source, group)
        recipe = meta.stage and meta.preset.stage(meta.stage)
        if recipe and meta.update < recipe.steps:
            run._record(meta.stage)
            run.trainer.go_on(checkpoint.m, checkpoint.v, meta.update)
        return run

    def left(self):
        """Stages that are to come or in progress."""
        numbers = [int(key) for key, _ in self.meta.preset.stages]
        done = self.meta.stage or 0
        return [n for n in numbers if n > done or (n == done and self.trainer)]

    def enter(self, stage):
        """Begins a stage from the weights as they are."""
        self.leave()
        self.meta.more = False
        config = self.meta.model
        if stage >= 2 and not self.meta.preset.shared_image_kv and not config.link_config.separate_image_kv:
            part_image_projections(config, self.weights)
        self._record(stage)
        self.meta.stage = stage

    def _record(self, stage):
        config, preset = self.meta.model, self.meta.preset
        links, recipe = config.link_config, preset.stage(stage)
        trained = {n for n in shapes_of(config) if trains(n, links, stage, preset.scope)}
        check_rows(recipe, self.group, f"stage {stage}")
        self.trainer = Trainer(config, self.weights, trained, recipe, self.group)
        # They come back with `leave`; until then a copy would only take memory.
        self.weights = {}

    def leave(self):
        """Ends the stage in progress and brings its weights home."""
        if self.trainer:
            self.weights, self.trainer = self.trainer.weights(), None

    def step(self):
        """One optimiser step of the stage in progress; none when it is done."""
        trainer, preset = self.trainer, self.meta.preset
        recipe, stage = trainer.recipe, self.meta.stage
        if trainer.updates >= recipe.steps:
            return None
        # Stages never share a sample: each has a range of indices of its own.
        part = stage + (3 if self.meta.more else 0)
        first = (part << 40) + trainer.updates * recipe.batch * recipe.accumulate
        mine, end = self.group.share(recipe.batch)
        batches = [
            self.source.batch(first + i * recipe.batch + mine, end - mine, preset.tokens, preset.turns)
            for i in range(recipe.accumulate)
        ]
        return trainer.step(batches, f"stage {stage}")

    def checkpoint(self):
        """Everything that a file needs. All processes must ask."""
        preset = self.meta.preset
        if self.trainer:
            self.meta.update = self.trainer.updates
            return Checkpoint(self.meta, self.trainer.weights(), *self.trainer.moments())
        done = self.meta.stage and preset.stage(self.meta.stage)
        self.meta.update = done.steps if done else 0
        return Checkpoint(self.meta, self.weights)


def check_rows(recipe, group, title):
    """Has every process a row of every micro-batch?"""
    if recipe.batch < group.size:
        raise HiveError(
            f"{title} has batches of {recipe.batch} rows, too few for {group.size} processes: "
            "start fewer, or make its batch larger with --set"
        )


def read_captions(preset, source, tower, group, ended):
    """A language model for a folder's words reads the folder's text alone, since the stages never train embeddings.

    `ended` says whether the run was asked to end. Gives its weights beside those of the tower.
    """
    recipe = copy.deepcopy(preset.pretrain_language)
    if recipe is None:
        return tower
    recipe.steps = min(CAPTION_STEPS, sum(r.steps for _, r in preset.stages))
    recipe.accumulate = 1
    check_rows(recipe, group, "pretrain_language")
    weights = drawn(preset, {})
    language = {n for n in weights if n.startswith(("model.", "lm_head."))}
    trainer = Trainer(preset.model, weights, language, recipe, group, with_image=False)
    mine, end = group.share(recipe.batch)
    while trainer.updates < recipe.steps:
        if ended():
            raise HiveError("stopped while the folder's text was read, before stage 1: nothing was saved. Begin again")
        at = trainer.updates * recipe.batch + mine
        trainer.step(
            [source.batch(at, end - mine, preset.text_tokens, preset.turns, paint=False)], "pre-training on text"
        )
    read = trainer.weights()
    return {**tower, **{n: read[n] for n in language}}

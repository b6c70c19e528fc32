"""Optimiser steps on a model in one stage (`src/train/trainer.rs`), on all processes together."""

import contextlib
import math
from dataclasses import dataclass

import torch

from .errors import HiveError
from .model import Hive
from .parallel import like, spread, whole
from .stages import learning_rate, optimiser


@dataclass
class Report:
    """Of a step: update number from 1, mean loss over its targets before the update, gradient norm before clipping."""

    update: int
    loss: float
    grad_norm: float
    learning_rate: float


def load_weights(model, weights):
    """Fills a model without storage; every parameter must be there in its shape."""
    for name, param in model.named_parameters():
        if name not in weights:
            raise HiveError(f"tensor {name} is missing. Give a checkpoint of the preset's model")
        have, need = list(weights[name].shape), list(param.shape)
        if have != need:
            raise HiveError(
                f"tensor {name} has shape {have}, {need} is expected. Give a checkpoint of the preset's model"
            )
    model.load_state_dict({name: weights[name].clone() for name, _ in model.named_parameters()}, assign=True)


class Trainer:
    """A model with the names that train. `weights` are whole tensors on the host, by name."""

    def __init__(self, config, weights, trained, recipe, group, with_image=True):
        with torch.device("meta"):
            self.model = Hive(config)
        load_weights(self.model, weights)
        self.model.to(group.device)
        self.recipe, self.group, self.updates = recipe, group, 0
        for name, param in self.model.named_parameters():
            param.requires_grad_(name in trained)
        l = config.link_config
        self.spread = spread(self.model, group, not (l.qk_norm and l.separate_image_kv), with_image)
        self.trained = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.optimiser = optimiser(self.trained, recipe)

    def step(self, batches, title):
        """One update over micro-batches, of which each process holds its rows."""
        (targets,) = self.group.sum([sum(b.targets() for b in batches)])
        self.optimiser.zero_grad()
        losses = [self._backward(b, max(targets, 1.0), i + 1 == len(batches)) for i, b in enumerate(batches)]
        self.updates += 1
        rate = learning_rate(self.recipe, self.updates)
        # All sums of losses cross to the host at once.
        (loss,) = self.group.sum([torch.stack(losses).sum()])
        report = Report(self.updates, loss / max(targets, 1.0), self._update(rate), rate)
        _check(report, title)
        return report

    def _backward(self, batch, targets, last):
        """Adds the gradients of a micro-batch; they are averaged over the processes with the last one."""
        with self._together(last):
            loss = self.spread(batch.to(self.group.device))
            # Processes average, where a sum is meant.
            (loss * (self.group.size / targets)).backward()
        return loss.detach()

    def _together(self, last):
        if self.group.fsdp:
            self.spread.set_requires_gradient_sync(last)
        elif self.group.size > 1 and not last:
            return self.spread.no_sync()
        return contextlib.nullcontext()

    def _update(self, rate):
        """Clips, updates, and gives the gradient norm before clipping."""
        params = [p for _, p in self.trained]
        for p in params:
            # What the loss does not depend on decays all the same.
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        most = self.recipe.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(params, most if most > 0 else math.inf)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        norm = whole(norm).item()
        if math.isfinite(norm):
            self.optimiser.step()
        return norm

    def weights(self):
        """All parameters, whole, on the host. All processes must ask."""
        return {name: whole(p) for name, p in self.model.named_parameters()}

    def moments(self):
        """First and second moments of what trains, whole, on the host. All processes must ask."""
        state = self.optimiser.state
        take = lambda key: {n: whole(state[p][key]) if p in state else torch.zeros(p.shape) for n, p in self.trained}
        return take("exp_avg"), take("exp_avg_sq")

    def go_on(self, m, v, updates):
        """Takes up moments and the number of updates done; moments that are missing are zero."""
        self.updates = updates
        for name, p in self.trained:
            part = lambda of: like(of.get(name, torch.zeros(p.shape)), p)
            step = torch.tensor(float(updates))
            self.optimiser.state[p] = {"step": step, "exp_avg": part(m), "exp_avg_sq": part(v)}


def _check(report, title):
    for what, value in (("loss", report.loss), ("gradient norm", report.grad_norm)):
        if not math.isfinite(value):
            raise HiveError(
                f"step {report.update} of {title}: the {what} is {value}, no finite number. What was saved before stays"
                " as it is. Go back to it and try a smaller learning_rate or weight_decay, or a longer warmup_ratio"
            )

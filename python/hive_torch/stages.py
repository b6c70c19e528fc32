"""The three stages: which parameters each trains, the hand-over to the second, and the learning rate
(`src/train/stage.rs`, `src/train/schedule.rs`).
"""

import math

import torch


def trains(name, links, stage, scope):
    """Does a stage update the parameter of this name?"""
    later = stage >= 2
    if name.startswith("links."):
        return later or not (".image_k_proj." in name or ".image_v_proj." in name)
    if name.startswith("model.layers."):
        linked = int(name.split(".")[2]) in links.language_layers and ".self_attn." in name
        return later and (scope == "language" or linked)
    if name == "model.norm.weight":
        return later and scope == "language"
    if name.startswith("vision_model.encoder.layers."):
        # Blocks past the deepest link never run: without a gradient they must not decay either.
        return stage == 3 and int(name.split(".")[3]) < links.deepest
    return stage == 3 and name.startswith("vision_model.") and ".post_layernorm." not in name


def decays(name):
    """Weight decay touches matrices alone: not biases, not norm gains."""
    return name.endswith("weight") and "norm" not in name


def part_image_projections(config, weights):
    """Stage 1 to 2: the picture gets key and value projections of its own, copied from the text's."""
    for i, layer in enumerate(config.link_config.language_layers):
        for kind in ("k_proj", "v_proj"):
            for part in ("weight", "bias"):
                text = weights.get(f"model.layers.{layer}.self_attn.{kind}.{part}")
                if text is not None:
                    weights[f"links.{i}.image_{kind}.{part}"] = text.clone()
    config.link_config.separate_image_kv = True


def learning_rate(recipe, update):
    """Rate of update 1, 2, ... steps: linear warm-up, then cosine to a floor."""
    warm = math.ceil(recipe.warmup_ratio * recipe.steps)
    if update < warm:
        return recipe.learning_rate * update / max(warm, 1)
    t = (update - warm) / max(recipe.steps - warm, 1)
    return recipe.learning_rate * (recipe.floor + (1 - recipe.floor) * 0.5 * (1 + math.cos(math.pi * t)))


def optimiser(named, recipe):
    """AdamW over named parameters."""
    groups = [
        {"params": [p for n, p in named if decays(n)], "weight_decay": recipe.weight_decay},
        {"params": [p for n, p in named if not decays(n)], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, recipe.beta2), eps=1e-8)

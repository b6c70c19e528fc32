"""What a sample is, and how samples become a batch (`src/data/batch.rs`)."""

from dataclasses import dataclass

import numpy as np
import torch

from .tokenizer import END, PAD, START

NO_TARGET = -100


@dataclass(frozen=True)
class Turn:
    """A question and its answer, without end mark."""

    kind: str
    question: str
    answer: str


@dataclass
class Sample:
    """A picture (3, S, S), float32 from -1 to 1 or none, and what is said about it."""

    turns: list
    pixels: np.ndarray | None = None


@dataclass
class Batch:
    """Rows of one batch. The picture stands before the text, so that every position sees it.

    ids, labels (B, T) int64: a label is the id at targets and NO_TARGET elsewhere; the model shifts them.
    lengths (B) int64: tokens before the padding. pixels (B, 3, S, S), or none in batches of text alone.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    lengths: torch.Tensor
    pixels: torch.Tensor | None

    def targets(self):
        """Number of targets after the shift."""
        return int((self.labels[:, 1:] != NO_TARGET).sum())

    def rows(self, first, end):
        """Some of the rows."""
        part = lambda x: None if x is None else x[first:end]
        return Batch(part(self.ids), part(self.labels), part(self.lengths), part(self.pixels))

    def to(self, device):
        """The same on a device."""
        move = lambda x: None if x is None else x.to(device, non_blocking=True)
        return Batch(move(self.ids), move(self.labels), move(self.lengths), move(self.pixels))


def row(sample, tokenizer, tokens):
    """Ids and labels of one conversation: as many whole turns as fit; a first turn that does not fit is cut."""
    ids, labels = [START], [NO_TARGET]
    for turn in sample.turns:
        question, answer = tokenizer.encode(turn.question), tokenizer.encode(turn.answer) + [END]
        if len(ids) + len(question) + len(answer) > tokens and len(ids) > 1:
            break
        ids += question + answer
        labels += [NO_TARGET] * len(question) + answer
    return ids[:tokens], labels[:tokens]


def batch(samples, tokenizer, tokens):
    """Samples as rows of `tokens`."""
    rows = [row(sample, tokenizer, tokens) for sample in samples]
    fill = lambda values, value: values + [value] * (tokens - len(values))
    pictures = [s.pixels for s in samples if s.pixels is not None]
    return Batch(
        ids=torch.tensor([fill(ids, PAD) for ids, _ in rows]),
        labels=torch.tensor([fill(labels, NO_TARGET) for _, labels in rows]),
        lengths=torch.tensor([len(ids) for ids, _ in rows]),
        pixels=torch.from_numpy(np.stack(pictures)) if pictures else None,
    )

"""Where batches come from: the generated data set `shapes`, or a folder of one's own. Every row is a pure function
of seed and index, so that a resumed run sees the same data, whatever the number of processes.
"""

from . import shapes
from .errors import HiveError
from .sample import batch
from .tokenizer import Tokenizer


class Source:
    """Samples with their words."""

    def __init__(self, samples, tokenizer, meta=None):
        self.samples, self.tokenizer, self._meta = samples, tokenizer, meta or {}

    def batch(self, first, rows, tokens, turns, paint=True):
        """Rows of samples first .. first + rows; without `paint` of text alone."""
        make = self.samples.sample if paint else self.samples.text_sample
        return batch([make(first + i, turns) for i in range(rows)], self.tokenizer, tokens)

    def meta(self):
        """What a checkpoint says of the data."""
        return self._meta


def made(preset):
    """The generated data of a preset."""
    if preset.data != "shapes":
        raise HiveError(
            f'the data set "{preset.data}" is drawn by the Rust program alone: train it with hive train, '
            "choose a preset of shapes (tiny, quick, shapes, shapes-long), or give a folder with --data"
        )
    tokenizer = Tokenizer(shapes.words())
    vision, rows = preset.model.vision_config, preset.model.text_config.vocab_size
    if rows != len(tokenizer):
        raise HiveError(f"vocab_size is {rows}, shapes has {len(tokenizer)} words. Write {len(tokenizer)} there")
    if (vision.image_size, vision.num_channels) != (shapes.SIZE, 3):
        raise HiveError(
            f"the model sees pictures of {vision.num_channels} x {vision.image_size} x {vision.image_size}, those of"
            f" shapes are 3 x {shapes.SIZE} x {shapes.SIZE}. Write these sizes into the preset"
        )
    return Source(shapes.Shapes(preset.seed, preset.mix.mix, preset.mix.keep_single), tokenizer)

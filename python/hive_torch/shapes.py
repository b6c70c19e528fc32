"""The generated data set `shapes` (`src/data/worlds/shapes.rs`): one to three coloured shapes in a 3x3 grid, 32x32 px.

Every scene is a pure function of seed and index, and equal to the Rust program's to the bit: draws and float32
operations stand in the same order.
"""

from dataclasses import dataclass

import numpy as np

from .rng import F32, MASK, Rng, hash_bytes, splitmix64
from .sample import Sample, Turn
from .tokenizer import SPECIALS

SIZE = 32
SHAPES = ["circle", "square", "triangle", "cross", "ring", "star"]
COLOURS = ["red", "green", "blue", "yellow", "purple", "white"]
RGB = np.array(
    [[220, 40, 40], [40, 180, 60], [50, 80, 220], [235, 210, 50], [150, 60, 190], [240, 240, 240]], dtype=np.uint8
)
PLACES = ["top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"]
KINDS = ["colour", "existence", "count", "place", "caption"]
NUMBERS = ["zero", "one", "two", "three"]
DEFAULT_MIX = [0.225, 0.225, 0.225, 0.225, 0.1]
HELD_OUT_EVERY = 8
ATTEMPTS = 64


def words():
    """The vocabulary in the order of its ids."""
    frame = "? a is there what color the how many s are where do you see and at yes no top left right center bottom"
    return SPECIALS + frame.split() + NUMBERS + COLOURS + SHAPES


@dataclass(frozen=True, order=True)
class Thing:
    """Positions in the lists above."""

    cell: int
    shape: int
    colour: int

    def named(self):
        return f"a {COLOURS[self.colour]} {SHAPES[self.shape]} at {PLACES[self.cell]}"


def _is_held_out(things):
    key = [number for t in things for number in (t.shape, t.colour, t.cell)]
    return hash_bytes(key) % HELD_OUT_EVERY == 0


def _draw(rng):
    """A scene that training may show."""
    count = rng.pick([1, 1, 2, 2, 3])
    while True:
        cells = list(range(len(PLACES)))
        rng.shuffle(cells)
        things = sorted(Thing(cell, rng.below(len(SHAPES)), rng.below(len(COLOURS))) for cell in cells[:count])
        if not _is_held_out(things):
            return things


def _unique(things, rng):
    """One of the things whose shape occurs once."""
    shapes = [t.shape for t in things]
    unique = [t for t in things if shapes.count(t.shape) == 1]
    return rng.pick(unique) if unique else None


def _absent(thing, rng):
    """Shape and colour of a question whose answer may be no: half of them share one with a thing that is there."""
    any_shape, any_colour = rng.below(len(SHAPES)), rng.below(len(COLOURS))
    related, keeps_shape = rng.chance(0.5), rng.chance(0.5)
    if related:
        return (thing.shape, any_colour) if keeps_shape else (any_shape, thing.colour)
    return any_shape, any_colour


def _existence(things, asked, rng):
    there = {(t.shape, t.colour) for t in things}
    # No more such questions than different things: then yes never runs out.
    if sum(t.kind == KINDS[1] for t in asked) >= len(there):
        return None
    yes = rng.chance(0.5)
    while True:
        thing = rng.pick(things)
        shape, colour = (thing.shape, thing.colour) if yes else _absent(thing, rng)
        question = f"is there a {COLOURS[colour]} {SHAPES[shape]} ?"
        if ((shape, colour) in there) == yes and all(t.question != question for t in asked):
            return question, "yes" if yes else "no"


def _ask(things, kind, asked, rng):
    """A question of a kind, or none where the scene allows none."""
    if kind == 0:
        thing = _unique(things, rng)
        said = thing and (f"what color is the {SHAPES[thing.shape]} ?", COLOURS[thing.colour])
    elif kind == 1:
        said = _existence(things, asked, rng)
    elif kind == 2:
        shape = rng.pick(things).shape if rng.chance(0.7) else rng.below(len(SHAPES))
        said = f"how many {SHAPES[shape]} s are there ?", NUMBERS[sum(t.shape == shape for t in things)]
    elif kind == 3:
        thing = _unique(things, rng)
        said = thing and (f"where is the {SHAPES[thing.shape]} ?", PLACES[thing.cell])
    else:
        said = "what do you see ?", " and ".join(t.named() for t in things)
    return said and Turn(KINDS[kind], *said)


def _conversation(mix, most, rng):
    """A scene with up to `most` different questions, and with at least one."""
    while True:
        things, turns = _draw(rng), []
        for _ in range(most * 6):
            if len(turns) == most:
                break
            turn = _ask(things, rng.weighted(mix), turns, rng)
            if turn and all(t.question != turn.question for t in turns):
                turns.append(turn)
        if turns:
            return things, turns


def _inside(shape, dx, dy, r):
    """Which pixels at (dx, dy) from the centre lie inside a shape of radius r; dy points down. float32 arrays."""
    ax, ay = np.abs(dx), np.abs(dy)
    distance = np.sqrt(dx * dx + dy * dy)
    f = F32
    if shape == 0:
        return distance < r
    if shape == 1:
        return (ax < r * f(0.85)) & (ay < r * f(0.85))
    if shape == 2:
        return (dy < r * f(0.8)) & (dy > f(1.8) * ax - r)
    if shape == 3:
        return ((ax < r * f(0.32)) | (ay < r * f(0.32))) & (ax < r) & (ay < r)
    if shape == 4:
        return (distance < r) & (distance > r * f(0.55))
    arm = (ax < r * f(0.35)) | (ay < r * f(0.35)) | (ax + ay < r * f(0.8))
    return (ax + ay < r * f(1.05)) & arm


def _paint(things, rng):
    """Pixels (3, SIZE, SIZE), float32 from -1 to 1."""
    base = rng.uniform(20.0, 90.0)
    grey = base + F32(6.0) * rng.noise(SIZE * SIZE * 3)
    whole = np.trunc(grey)
    # Half away from zero, as Rust rounds.
    rounded = whole + np.copysign(np.abs(grey - whole) >= F32(0.5), grey)
    rgb = np.clip(rounded, 0.0, 255.0).astype(np.uint8).reshape(SIZE * SIZE, 3)
    at = np.arange(SIZE * SIZE)
    x, y = (at % SIZE).astype(F32), (at // SIZE).astype(F32)
    centre = lambda cell: F32(cell) * F32(10.5) + F32(5.5) + rng.uniform(-0.7, 0.7)
    for thing in things:
        cx, cy = centre(thing.cell % 3), centre(thing.cell // 3)
        rgb[_inside(thing.shape, x - cx, y - cy, rng.uniform(3.8, 5.2))] = RGB[thing.colour]
    return np.ascontiguousarray((rgb.astype(F32) / F32(127.5) - F32(1.0)).T.reshape(3, SIZE, SIZE))


class Shapes:
    """Training samples, drawn on the fly."""

    image_size = SIZE

    def __init__(self, seed, mix, keep_single):
        mix = [mix[k] if k < len(mix) else 0.0 for k in range(len(KINDS))]
        self.seed, self.mix = seed, mix if sum(mix) > 0.0 else DEFAULT_MIX
        self.keep = int(keep_single * 1024.0)

    def _scene(self, index, most):
        return _conversation(self.mix, most, Rng(splitmix64(self.seed), index))

    def _kept(self, index, most):
        """Scenes with a single thing are kept with the recipe's probability, else drawn again."""
        for at in range(index * ATTEMPTS, (index + 1) * ATTEMPTS):
            scene = self._scene(at, most)
            if len(scene[0]) > 1 or splitmix64(at ^ 0x51E5) % 1024 < self.keep:
                return at, scene
        return index * ATTEMPTS, self._scene(index * ATTEMPTS, most)

    def sample(self, index, most_turns):
        """Sample number `index`."""
        at, (things, turns) = self._kept(index, most_turns)
        # Pictures have a stream of their own.
        painter = Rng((splitmix64(self.seed) + 1) & MASK, at)
        return Sample(turns=turns, pixels=_paint(things, painter))

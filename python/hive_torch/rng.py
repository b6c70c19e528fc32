"""Random numbers that are bit for bit those of the Rust program (`src/data/rng.rs`): PCG32 seeded by splitmix64.

Single draws use Python integers. Many draws at once (pictures, start weights) come as NumPy arrays of the same stream.
"""

import numpy as np

F32 = np.float32
MASK = (1 << 64) - 1
MULTIPLIER = 6_364_136_223_846_793_005
LN_2 = 0.693147180559945309417232121458


def splitmix64(x):
    """One step of splitmix64: spreads neighbouring inputs over all 64 bits."""
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hash_bytes(data):
    """FNV-1a, then splitmix64."""
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return splitmix64(h)


def hash_array(data):
    """`hash_bytes` of many bytes at once, uint8 (count).

    With l the low byte of a state h, h ^ b is h + (l ^ b) - l: with the low bytes known, the rest is a weighted sum.
    """
    h = 0xCBF29CE484222325
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        low = _low_bytes(piece, h & 0xFF)
        change = ((low ^ piece).astype(np.int64) - low).astype(np.uint64)
        powers = POWERS[len(POWERS) - 1 - len(piece) : -1]
        total = int((change * powers).sum(dtype=np.uint64))
        h = (h * int(POWERS[len(POWERS) - 1 - len(piece)]) + total) & MASK
    return splitmix64(h)


def _low_bytes(piece, first):
    """Low byte of the state before each byte of a piece, uint8 (count).

    Bit by bit: a bit depends on lower ones in some way, and on itself by xor alone.
    """
    low = np.zeros(len(piece), np.uint8)
    for bit in range(8):
        below = ((low ^ piece) & np.uint8((1 << bit) - 1)) * np.uint8(0xB3)
        flips = ((piece ^ below) >> np.uint8(bit)) & np.uint8(1)
        start = np.uint8((first >> bit) & 1)
        before = np.concatenate((np.array([start]), flips[:-1]))
        low |= np.bitwise_xor.accumulate(before) << np.uint8(bit)
    return low


def _powers(count):
    """The prime of FNV to the powers count, ..., 1, 0, modulo 2^64."""
    powers = [1]
    for _ in range(count):
        powers.append((powers[-1] * 0x100000001B3) & MASK)
    return np.array(powers[::-1], np.uint64)


PIECE = 1 << 14
POWERS = _powers(PIECE)


def _rotate_left(x, bits):
    return ((x << bits) | (x >> (64 - bits))) & MASK


class Rng:
    """Generator number `stream` of `seed`."""

    def __init__(self, seed, stream):
        stream = splitmix64(stream & MASK)
        self.state = splitmix64(seed ^ _rotate_left(stream, 17))
        self.increment = ((stream << 1) | 1) & MASK
        self.next_u32()

    def next_u32(self):
        """32 random bits."""
        old = self.state
        self.state = (old * MULTIPLIER + self.increment) & MASK
        mixed = (((old >> 18) ^ old) >> 27) & 0xFFFFFFFF
        turn = old >> 59
        return ((mixed >> turn) | (mixed << (32 - turn))) & 0xFFFFFFFF

    def block(self, count):
        """The next `count` results of `next_u32`, uint32 (count)."""
        states = np.empty(count, np.uint64)
        if count == 0:
            return states.astype(np.uint32)
        states[0] = self.state
        # m steps at once are s * a + c; with them known, so are the states of twice as many.
        a, c, known = MULTIPLIER, self.increment, 1
        while known < count:
            new = min(known, count - known)
            states[known : known + new] = states[:new] * np.uint64(a) + np.uint64(c)
            a, c, known = (a * a) & MASK, (a * c + c) & MASK, known + new
        self.state = (int(states[-1]) * MULTIPLIER + self.increment) & MASK
        mixed = (((states >> np.uint64(18)) ^ states) >> np.uint64(27)).astype(np.uint32)
        turn = (states >> np.uint64(59)).astype(np.uint32)
        return (mixed >> turn) | (mixed << ((np.uint32(32) - turn) & np.uint32(31)))

    def below(self, n):
        """A whole number in 0..n, each equally likely; 0 when n is 0."""
        if n == 0:
            return 0
        # The first 2^32 % n values of the low half would make some results likelier.
        threshold = (1 << 32) % n
        while True:
            product = self.next_u32() * n
            if product & 0xFFFFFFFF >= threshold:
                return product >> 32

    def uniform(self, lo, hi):
        """A float32 in lo..hi."""
        unit = F32(self.next_u32() >> 8) / F32(16_777_216.0)
        return F32(lo) + (F32(hi) - F32(lo)) * unit

    def chance(self, p):
        """True with probability p."""
        return bool(self.uniform(0.0, 1.0) < F32(p))

    def pick(self, items):
        """One of `items`, which must not be empty."""
        return items[self.below(len(items))]

    def weighted(self, weights):
        """A position of `weights`, as likely as its weight says; negative weights count as 0."""
        total = F32(0.0)
        for weight in weights:
            total += max(F32(weight), F32(0.0))
        left, last = self.uniform(0.0, total), 0
        for i, weight in enumerate(map(F32, weights)):
            if weight > 0.0:
                last = i
                if left < weight:
                    return i
                left -= weight
        return last

    def shuffle(self, items):
        """Brings a list into random order."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def noise(self, count):
        """Nearly normal noise, float32 (count): each number is the sum of the four bytes of one draw."""
        sums = self.block(count).view(np.uint8).reshape(count, 4).sum(1, dtype=np.int32)
        return (sums - 510).astype(F32) / F32(147.801)

    def normals(self, count):
        """The first `count` normal numbers of this generator, float32, by Marsaglia's polar method.

        Only for generators that serve nothing else: more may be drawn than is used.
        """
        parts, have = [], 0
        while have < count:
            # About 79 of 100 points are inside the circle, and each gives two numbers.
            drawn = self.block(2 * max(16, int((count - have) * 0.65)))
            point = drawn.reshape(-1, 2).astype(np.float64) / 2_147_483_648.0 - 1.0
            s = point[:, 0] * point[:, 0] + point[:, 1] * point[:, 1]
            inside = (s > 1e-12) & (s < 1.0)
            point, s = point[inside], s[inside]
            scale = np.sqrt(-2.0 * _ln(s) / s)
            parts.append((point * scale[:, None]).astype(F32).reshape(-1))
            have += parts[-1].size
        return np.concatenate(parts)[:count] if parts else np.empty(0, F32)


def _ln(x):
    """Natural logarithm from basic arithmetic alone, in the Rust program's order of operations. float64 -> float64."""
    bits = x.view(np.uint64)
    exponent = ((bits >> np.uint64(52)) & np.uint64(0x7FF)).astype(np.float64) - 1023.0
    mantissa = ((bits & np.uint64(0x000FFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000)).view(np.float64)
    t = (mantissa - 1.0) / (mantissa + 1.0)
    power, total = t.copy(), np.zeros_like(t)
    for k in range(16):
        total += power / float(2 * k + 1)
        power *= t * t
    return 2.0 * total + exponent * LN_2

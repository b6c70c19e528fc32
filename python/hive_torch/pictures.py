"""Pictures of files as the tower wants them (`src/data/picture_file.rs`, `src/data/image.rs`).

Needs Pillow 13, whose bicubic resampling the Rust program repeats byte by byte. PNG gives the same pixels in both
programs; JPEG and WebP are decoded by different libraries, which may differ by a few steps of 255.
"""

import io

import numpy as np

from .errors import HiveError
from .rng import hash_array, splitmix64

try:
    from PIL import Image, ImageOps
except ImportError as e:
    raise HiveError('pictures are read by Pillow, which is not installed: pip install "Pillow>=13"') from e

FORMATS = ("PNG", "JPEG", "WEBP")
LARGEST_SIDE = 16_384
MOST_PIXELS = 50_000_000
WHITE = 255


def decode(data):
    """The picture in a file's bytes, upright, transparent parts on white: uint8 (height, width, 3).

    Raises ValueError with the reason.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if max(width, height) > LARGEST_SIDE or width * height > MOST_PIXELS:
            raise ValueError(
                f"it is {width} x {height}, more than {MOST_PIXELS // 1_000_000} million pixels or {LARGEST_SIDE} a"
                " side"
            )
        picture.load()
        return _on_white(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, Image.DecompressionBombError) as e:
        raise ValueError(str(e) or "it is no whole PNG, JPEG or WebP file") from e


def _on_white(picture):
    if picture.mode.startswith("I"):
        # Grey of 16 bits: the upper 8 are taken.
        grey = (np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    whole = np.asarray(picture.convert("RGBA")).astype(np.uint32)
    colour, alpha = whole[:, :, :3], whole[:, :, 3:]
    return ((colour * alpha + WHITE * (255 - alpha) + 127) // 255).astype(np.uint8)


def square(picture, side):
    """The picture squashed to uint8 (side, side, 3), bicubic."""
    if picture.shape[:2] == (side, side):
        return picture
    return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def normal(picture):
    """Bytes (S, S, 3) as float32 (3, S, S) from -1 to 1."""
    scaled = (picture.astype(np.float64) / 255.0 - 0.5) / 0.5
    return np.ascontiguousarray(scaled.astype(np.float32).transpose(2, 0, 1))


def content(data, picture):
    """A number for what a picture shows: of its pixels, but of a JPEG that of the file without its remarks."""
    parts = _jpeg_parts(data) if data.startswith(b"\xff\xd8") else None
    if parts is not None:
        return hash_array(np.frombuffer(b"".join(parts), np.uint8))
    return splitmix64(hash_array(picture.reshape(-1)) ^ picture.shape[1])


def _jpeg_parts(data):
    """The parts of a JPEG file but those for other programs (0xe0..0xef, comments); none if its end is missing."""
    parts, at = [], 2
    while True:
        mark_at = _next_mark(data, at)
        if mark_at is None:
            return None
        parts.append(data[at:mark_at])
        mark, at = data[mark_at + 1], mark_at + 2
        if mark == 0xD9:
            return parts
        if mark == 0xD8:
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or not at <= end <= len(data):
            return None
        if not (0xE0 <= mark <= 0xEF or mark == 0xFE):
            parts.append(data[at:end])
        at = end


def _next_mark(data, at):
    """Where the next mark stands; in the picture itself 0xff is followed by 0 or a restart."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if not (data[at + 1] in (0x00, 0x01, 0xFF) or 0xD0 <= data[at + 1] <= 0xD7):
            return at
        at += 1
    return None

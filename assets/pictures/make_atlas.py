"""Draws atlas.png and atlas.json, the things of Hive's data set `pictures`, from the OpenMoji vector pictures.

Usage:
    npm pack openmoji@17.0.0 && tar xzf openmoji-17.0.0.tgz     # unpacks into package/
    pip install cairosvg pillow
    python make_atlas.py package [OUT]                          # OUT: a folder, this script's own by default

Each picture is drawn at 192 px, cut to its visible part, centred in a square and reduced to 24x24 RGBA by box averaging with
premultiplied alpha. The grid has 8 columns, in the order of the list below, which is the order of the classes: append, never reorder.
A `-` behind a code point marks a picture that must not be mirrored.
"""
import io
import json
import pathlib
import sys

import cairosvg
from PIL import Image

CELL, COLUMNS, LARGE = 24, 8, 192
THINGS = """
dog 1F436  cat 1F431  rabbit 1F430  pig 1F437  frog 1F438  chicken 1F414  fish 1F41F  butterfly 1F98B
ladybug 1F41E  turtle 1F422  elephant 1F418  panda 1F43C  cow 1F42E  penguin 1F427  spider 1F577  crab 1F980
apple 1F34E  banana 1F34C  strawberry 1F353  pumpkin 1F383  watermelon 1F349  carrot 1F955  broccoli 1F966  cheese 1F9C0
pizza 1F355  hamburger 1F354  cake 1F382  donut 1F369  cactus 1F335  mushroom 1F344  house 1F3E0  car 1F697
bicycle 1F6B2  airplane 2708  rocket 1F680  tractor 1F69C  key 1F511  clock 23F0-  umbrella 2602  sun 2600
heart 2764  ball 26BD  hand 270B  snowman 26C4  crown 1F451  robot 1F916  ghost 1F47B  gift 1F381
""".split()


def draw(path):
    """The picture at `path` as a 24x24 RGBA image that touches at least two opposite edges."""
    png = cairosvg.svg2png(url=str(path), output_width=LARGE, output_height=LARGE)
    large = Image.open(io.BytesIO(png)).convert("RGBA")
    visible = large.convert("RGBa").crop(large.getchannel("A").getbbox())
    side = max(visible.size)
    square = Image.new("RGBa", (side, side))
    square.paste(visible, ((side - visible.width) // 2, (side - visible.height) // 2))
    return square.resize((CELL, CELL), Image.BOX).convert("RGBA")


def main():
    package = pathlib.Path(sys.argv[1])
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(__file__).parent
    known = {e["hexcode"]: e["annotation"] for e in json.loads((package / "data" / "openmoji.json").read_text(encoding="utf-8"))}
    things = list(zip(THINGS[::2], THINGS[1::2]))
    atlas = Image.new("RGBA", (COLUMNS * CELL, -(-len(things) // COLUMNS) * CELL))
    entries = []
    for i, (name, code) in enumerate(things):
        hexcode = code.rstrip("-")
        atlas.paste(draw(package / "color" / "svg" / f"{hexcode}.svg"), (i % COLUMNS * CELL, i // COLUMNS * CELL))
        entries.append({"name": name, "hexcode": hexcode, "annotation": known[hexcode], "mirror": not code.endswith("-")})
    atlas.save(out / "atlas.png", optimize=True)
    (out / "atlas.json").write_text("[\n" + ",\n".join(" " + json.dumps(e, ensure_ascii=False) for e in entries) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()

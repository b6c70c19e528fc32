"""Trains beside the Rust program that HIVE_BIN names: losses at every step, and checkpoints both ways.

HIVE_BIN=../target/debug/hive python -m unittest discover -s tests
"""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np
from programs import LONG, compare, hive, steps, torch
from safetensors import safe_open

# Of losses, nats per token.
CLOSE = 2e-3
# A checkpoint goes on from the same numbers, so that only the arithmetic of the steps behind it differs.
CLOSE_AFTER_RESUME = 5e-4
# Stopped in stage 2 after its seventh step, saved at its fifth: moments, the picture's own projections, a place in
# the schedule.
STOPPED = ["--preset", "tiny", "--set=stages.1.1.steps=12", "--json", "--save-every", "5", "--kill-after", "7"]
WHOLE = ["--preset", "tiny", "--set=stages.1.1.steps=12", "--json"]


def meta(folder):
    """What a checkpoint says of itself."""
    with safe_open(Path(folder) / "checkpoint.safetensors", "pt") as file:
        return json.loads(file.metadata()["hive"])


class Case(unittest.TestCase):
    """Tests with a folder of their own."""

    def setUp(self):
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)

    def out(self, name):
        return ["--out", self.folder / name]

    def file(self, name):
        return self.folder / name / "checkpoint.safetensors"


class Losses(Case):
    """The same data, order, seeds, start values, optimiser and schedule."""

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            cls.rust = steps(hive("--preset", "tiny", *LONG, "--json", "--out", folder))

    def close(self, count, *words, processes):
        ours = steps(torch("--preset", "tiny", "--json", *self.out("a"), *words, processes=processes))
        self.assertEqual(len(ours), count)
        compare(self, self.rust, ours, CLOSE)

    def test_one_process(self):
        self.close(36, *LONG, processes=0)

    def test_two_processes(self):
        self.close(36, *LONG, processes=2)

    def test_two_processes_with_parts_of_the_model(self):
        self.close(36, "--fsdp", *LONG, processes=2)

    def test_the_preset_as_it_is(self):
        rust = steps(hive("--preset", "tiny", "--json", *self.out("r")))
        ours = steps(torch("--preset", "tiny", "--json", *self.out("a"), processes=2))
        self.assertEqual(len(ours), 18)
        compare(self, rust, ours, CLOSE)


class OtherModels(Case):
    """Everything that the preset tiny leaves at its usual value."""

    def close(self, change, *words, processes):
        path = Path(__file__).resolve().parents[2] / "assets/presets/tiny.json"
        preset = json.loads(path.read_text())
        change(preset)
        (self.folder / "other.json").write_text(json.dumps(preset))
        words = ["--preset", self.folder / "other.json", "--start-weights", self.bare(), "--json", *words]
        ours = steps(torch(*words, *self.out("a"), processes=processes))
        words[2] = "--start"
        words.remove("--fsdp") if "--fsdp" in words else None
        compare(self, steps(hive(*words, *self.out("r"))), ours, CLOSE)

    def bare(self):
        """Start weights of which nothing is used: all is drawn."""
        from hive_torch import checkpoint

        start = checkpoint.load(Path(__file__).resolve().parents[2] / "assets/models/shapes-start.safetensors")
        start.weights = {name: t for name, t in start.weights.items() if name == "vision_model.post_layernorm.weight"}
        start.save(self.folder / "bare.safetensors")
        return self.folder / "bare.safetensors"

    def test_grouped_heads_biases_released_rotation_and_accumulation(self):
        def change(preset):
            text, links = preset["model"]["text_config"], preset["model"]["link_config"]
            text.update(num_key_value_heads=3, attention_bias=True, tie_word_embeddings=False)
            links.update(rope_layout="released", vision_layers=[1, 3, 2])
            preset.update(scope="linked", shared_image_kv=True, seed=7)
            # Three rows over two processes, and several micro-batches.
            preset["stages"][0][1].update(batch=3, accumulate=2)
            preset["stages"][1][1].update(accumulate=2, max_grad_norm=0)

        self.close(change, processes=2)

    def test_plain_layers_beside_links_without_norms_in_parts(self):
        def change(preset):
            preset["model"]["link_config"].update(
                vision_layers=[2, 0], language_layers=[0, 2], qk_norm=False, rope_2d=False
            )
            slow = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4}
            preset["model"]["text_config"]["rope_scaling"] = {**slow, "original_max_position_embeddings": 64}
            preset["stages"][2][1]["weight_decay"] = 0.5
            preset.update(scope="linked", seed=8)

        self.close(change, "--fsdp", processes=2)


class Checkpoints(Case):
    """A run of one program goes on in the other as it would have gone on by itself."""

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            cls.rust = steps(hive(*WHOLE, "--out", folder))

    def goes_on(self, text):
        after = steps(text)
        self.assertEqual(min(after), (2, 6))
        self.assertEqual(max(after), (3, 6))
        compare(self, self.rust, after, CLOSE_AFTER_RESUME)

    def test_of_hive_in_two_processes(self):
        hive(*STOPPED, *self.out("a"))
        self.goes_on(torch("--resume", self.file("a"), "--json", *self.out("a"), processes=2))

    def test_of_hive_in_parts(self):
        hive(*STOPPED, *self.out("a"))
        self.goes_on(torch("--resume", self.file("a"), "--json", "--fsdp", *self.out("a"), processes=2))

    def test_of_two_processes_in_hive(self):
        torch(*STOPPED, *self.out("a"), processes=2)
        self.goes_on(hive("--resume", self.file("a"), "--json", *self.out("a")))

    def test_between_stages_it_is_done(self):
        torch("--preset", "tiny", "--steps", "2", *self.out("a"))
        said = hive("--resume", self.file("a"), "--json", *self.out("a"))
        self.assertEqual(steps(said), {})
        made = meta(self.folder / "a")
        self.assertEqual((made["stage"], made["update"], made["format"]), ("3", 2, 1))


class Folders(Case):
    """Pictures and a list of one's own: what is held out, order, words, captions that are read before the stages."""

    def pictures(self):
        """Noise of many sizes and kinds, with its list."""
        from PIL import Image

        rng, entries = np.random.default_rng(3), []
        for i in range(24):
            mode = ("RGB", "RGBA", "L", "P")[i % 4]
            size = (*rng.integers(20, 120, 2), 4 if mode == "RGBA" else 3)
            picture = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
            (picture.convert(mode) if mode in "LP" else picture).save(self.folder / f"{i}.png")
            said = [("human", f"<image>\nWhat is thing {i % 5}?"), ("gpt", f"It's {('red', 'green', 'blue')[i % 3]}.")]
            said += [("human", "Well-known?"), ("gpt", "No.")] * (i % 2)
            turns = [{"from": who, "value": text} for who, text in said]
            entries.append({"id": i, "image": f"{i}.png", "conversations": turns})
        entries.append({**entries[0], "image": "gone.png"})
        (self.folder / "list.json").write_text(json.dumps(entries))
        return ["--data", self.folder / "list.json"]

    def test_a_folder(self):
        data = self.pictures()
        rust = steps(hive("--preset", "tiny", *data, "--json", *self.out("r")))
        ours = steps(torch("--preset", "tiny", *data, "--json", *self.out("a"), processes=2))
        self.assertEqual(len(ours), 18)
        compare(self, rust, ours, CLOSE)
        one, other = meta(self.folder / "r"), meta(self.folder / "a")
        for key in ("data", "split", "tokenizer", "model"):
            self.assertEqual(one[key], other[key], key)
        # And on in the other program, with a stage left.
        hive("--preset", "tiny", *data, "--stage", "1", "--stage", "2", *self.out("s"))
        on = steps(torch("--resume", self.file("s"), *data, "--json", *self.out("s")))
        self.assertEqual(min(on), (3, 1))
        compare(self, rust, on, CLOSE_AFTER_RESUME)


if __name__ == "__main__":
    unittest.main()

"""The parts by themselves. Numbers are those that the Rust program's own tests pin, or are worked out by hand."""

import io
import json
import tempfile
import unittest
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import programs
import torch
from hive_torch import checkpoint, config, folder, pictures, run, shapes, source, stages, train
from hive_torch.errors import HiveError
from hive_torch.model import slots
from hive_torch.parallel import Group
from hive_torch.rng import Rng, hash_array, hash_bytes
from hive_torch.sample import NO_TARGET, Sample, Turn, batch
from hive_torch.tokenizer import SPECIALS, Tokenizer, split

ASSETS = programs.PYTHON.parent / "assets"


def tiny(*pairs):
    preset = config.load_preset("tiny", ASSETS / "presets")
    for pair in pairs:
        preset = config.with_key(preset, pair)
    return preset


class Random(unittest.TestCase):
    def test_numbers_never_change(self):
        rng = Rng(1, 2)
        self.assertEqual([rng.next_u32() for _ in range(3)], [2_714_149_987, 863_080_033, 1_107_102_502])
        self.assertEqual(hash_bytes(b"dog"), 17_216_275_482_121_773_697)

    def test_blocks_are_the_same_numbers(self):
        for count in (0, 1, 2, 3, 1000):
            one, other = Rng(5, 6), Rng(5, 6)
            self.assertEqual(one.block(count).tolist(), [other.next_u32() for _ in range(count)])
            self.assertEqual(one.next_u32(), other.next_u32())

    def test_hash_of_many_bytes(self):
        for count in (0, 1, 16_383, 16_384, 16_385, 40_000):
            data = np.random.default_rng(count).integers(0, 256, count, dtype=np.uint8)
            self.assertEqual(hash_array(data), hash_bytes(data.tobytes()), count)

    def test_normal_numbers(self):
        drawn = Rng(7, 0).normals(100_000).astype(np.float64)
        self.assertLess(abs(drawn.mean()), 0.02)
        self.assertLess(abs(drawn.var() - 1.0), 0.02)
        # How many are asked for changes none.
        self.assertEqual(Rng(7, 0).normals(11).tolist(), drawn[:11].astype(np.float32).tolist())


class Words(unittest.TestCase):
    def tokenizer(self, words):
        return Tokenizer(SPECIALS + words.split())

    def test_free_text(self):
        t = self.tokenizer("? is there a dog s how many are")
        self.assertEqual(t.encode("How many dogs?"), t.encode("how many dog s ?"))
        self.assertEqual(t.encode("a zebra <s>"), [7, 3, 3, 9, 3])
        t = self.tokenizer("where is the top-left")
        self.assertEqual(t.encode("Where is the TOP left?"), t.encode("where is the top-left"))
        t = self.tokenizer("north-west west-end t-rex")
        self.assertEqual(t.encode("north west end t rex north-west"), [3, 3, 3, 6, 4])
        self.assertEqual(
            split('A T-rex\'s "well-known" tail - ok?'),
            ["a", "t-rex's", '"', "well-known", '"', "tail", "-", "ok", "?"],
        )

    def test_most_frequent_words_first(self):
        self.assertEqual(Tokenizer.from_texts(["A dog.", "a cat", "The cat."], 8).words[4:], [".", "a", "cat", "dog"])

    def test_rows_have_whole_turns_and_answers_as_targets(self):
        t = self.tokenizer("what is it ? dog")
        two = Sample([Turn("", "what is it ?", "dog"), Turn("", "is it ?", "dog")])
        made = batch([two, two], t, 12)
        self.assertEqual(made.lengths.tolist(), [12, 12])
        self.assertEqual(made.labels[0].tolist(), [NO_TARGET] * 5 + [8, 2] + [NO_TARGET] * 3 + [8, 2])
        self.assertEqual(made.targets(), 8)
        # One token less than the second turn needs, and one less than the first.
        self.assertEqual(batch([two], t, 11).lengths.tolist(), [7])
        self.assertEqual(batch([two], t, 6).ids.tolist(), [[1, 4, 5, 6, 7, 8]])


class Recipes(unittest.TestCase):
    def test_rates(self):
        recipe = config.StageRecipe(steps=10, learning_rate=1.0, batch=1, warmup_ratio=0.2, floor=0.1)
        rates = [stages.learning_rate(recipe, update) for update in (1, 2, 10)]
        np.testing.assert_allclose(rates, [0.5, 1.0, 0.1], atol=1e-12)

    def test_each_stage_trains_more(self):
        links = config.LinkConfig([1], [1])
        table = {
            "links.0.mm_proj.fc1.weight": (1, 1, 1, 1),
            "links.0.image_k_proj.weight": (0, 1, 1, 1),
            "model.layers.1.self_attn.q_proj.weight": (0, 1, 1, 1),
            "model.layers.0.self_attn.q_proj.weight": (0, 0, 1, 0),
            "model.layers.1.mlp.up_proj.weight": (0, 0, 1, 0),
            "model.norm.weight": (0, 0, 1, 0),
            "model.embed_tokens.weight": (0, 0, 0, 0),
            "vision_model.post_layernorm.weight": (0, 0, 0, 0),
            "vision_model.encoder.layers.0.mlp.fc1.weight": (0, 0, 0, 1),
            "vision_model.encoder.layers.1.mlp.fc1.weight": (0, 0, 0, 0),
        }
        at = ((1, "linked"), (2, "linked"), (2, "language"), (3, "linked"))
        for name, want in table.items():
            got = tuple(int(stages.trains(name, links, stage, scope)) for stage, scope in at)
            self.assertEqual(got, want, name)

    def test_released_frequencies_of_64(self):
        frequency, axis = slots(64, "released")
        self.assertEqual(frequency.tolist(), [*range(0, 24, 2), *range(1, 24, 2), *range(24, 32)])
        self.assertEqual(axis.tolist(), [0] * 12 + [1] * 12 + [2] * 8)

    def test_presets_come_back(self):
        for path in sorted((ASSETS / "presets").glob("*.json")):
            data = json.loads(path.read_text())
            written = config.write(config.parse_preset(data))
            self.assertEqual(
                {k: written["model"]["link_config"][k] for k in data["model"]["link_config"]},
                data["model"]["link_config"],
            )
            self.assertEqual(config.write(config.parse_preset(written)), written)


class Pictures(unittest.TestCase):
    def file(self, picture, kind="PNG", **how):
        out = io.BytesIO()
        picture.save(out, kind, **how)
        return out.getvalue()

    def test_transparent_parts_are_white_and_pictures_stand_upright(self):
        image = pictures.Image
        half = image.new("RGBA", (2, 3), (10, 20, 30, 51))
        self.assertEqual(pictures.decode(self.file(half))[0, 0].tolist(), [206, 208, 210])
        exif = image.Exif()
        exif[0x0112] = 6
        self.assertEqual(pictures.decode(self.file(image.new("RGB", (2, 3)), "JPEG", exif=exif)).shape, (2, 3, 3))
        deep = image.fromarray(np.full((1, 1), 0x1234, np.uint16))
        self.assertEqual(pictures.decode(self.file(deep)).tolist(), [[[0x12] * 3]])

    def test_contents_do_not_depend_on_remarks(self):
        picture = pictures.Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
        plain, told = self.file(picture, "JPEG"), self.file(picture, "JPEG", comment=b"a remark")
        self.assertNotEqual(plain, told)
        number = lambda data: pictures.content(data, pictures.decode(data))
        self.assertEqual(number(plain), number(told))
        self.assertNotEqual(number(plain), number(self.file(picture, "JPEG", quality=20)))

    def test_other_files_are_refused(self):
        for data in (b"", self.file(pictures.Image.new("L", (2, 2)), "GIF"), self.file(pictures.Image.new("RGB", (64, 64)))[:60]):
            self.assertRaises(ValueError, pictures.decode, data)

    def test_every_entry_once_per_round(self):
        for n in (1, 2, 7, 64, 65):
            self.assertEqual(sorted(folder.shuffled(i, n, 9) for i in range(n)), list(range(n)))

    def test_lists(self):
        said = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "A dog."}]
        good = {"image": "a.png", "conversations": said}
        self.assertEqual(folder.record(good, 1).turns, [Turn("caption", "", "A dog.")])
        for wrong, word in (
            ({**good, "image": "../a.png"}, "outside"),
            ({**good, "image": ["a.png", "b.png"]}, "2 pictures"),
            ({**good, "conversations": said[:1]}, "ends with a question"),
            ({**good, "conversations": said[::-1]}, "alternate"),
            ({**good, "conversations": said * 2}, "must stand once"),
            ([], "no object"),
        ):
            with self.assertRaisesRegex(ValueError, word):
                folder.record(wrong, 1)


class Sentences(unittest.TestCase):
    """What a user can do something about is said in a sentence, without a traceback."""

    def said(self, *words):
        """Exit code and standard error of the command."""
        import subprocess
        import sys

        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "hive_torch.train", "--out", out, *words]
            done = subprocess.run(command, capture_output=True, text=True, cwd=programs.PYTHON, timeout=programs.LIMIT)
        return done.returncode, done.stderr

    def test_of_the_command(self):
        code, text = self.said("--preset", "grounds")
        self.assertEqual(code, 1)
        self.assertRegex(text, r'^hive_torch\.train: the data set "grounds" is drawn by the Rust program alone.*\n$')

    def test_of_presets(self):
        for pair, word in (
            ("stages.0.1.batch=0", "from 1 to"),
            ("stages.0.1.batch=1.5", "whole number"),
            ("model.link_config.language_layers=[0,2,1]", "rising"),
            ("model.text_config.hidden_size=97", "multiple"),
            ("wiring=cascade", "hive train"),
            ("nothing=1", "no key"),
            ("tokens", "KEY=VALUE"),
        ):
            with self.assertRaisesRegex(HiveError, word):
                tiny(pair)
        data = config.write(tiny())
        with self.assertRaisesRegex(HiveError, 'no key "sede"'):
            config.parse_preset({**data, "sede": 1})

    def test_of_data_and_batches(self):
        with self.assertRaisesRegex(HiveError, "44 words"):
            source.made(tiny("model.text_config.vocab_size=45"))
        group = Group()
        group.size = 3
        with self.assertRaisesRegex(HiveError, "too few for 3 processes"):
            run.check_rows(tiny().stage(1), group, "stage 1")

    def test_of_options(self):
        with redirect_stderr(io.StringIO()) as text, self.assertRaises(SystemExit):
            train.options(["--resume", "a", "--seed", "1"])
        self.assertIn("--seed does not go with --resume", text.getvalue())

    def test_of_checkpoints(self):
        with tempfile.TemporaryDirectory() as made:
            path = Path(made) / "a.safetensors"
            start = checkpoint.load(ASSETS / "models/shapes-start.safetensors")
            start.save(path)
            whole = path.read_bytes()
            for data, word in (
                (b"", "damaged"),
                (whole[:-5], "damaged"),
                (whole.replace(b'\\"format\\": 1', b'\\"format\\": 9'), "format 9"),
            ):
                path.write_bytes(data)
                with self.assertRaisesRegex(HiveError, word):
                    checkpoint.load(path)
            start.weights = {"a": torch.tensor([float("nan")])}
            with self.assertRaisesRegex(HiveError, "no finite number"):
                start.save(path)


class Scenes(unittest.TestCase):
    def test_held_out_scenes_are_never_shown(self):
        made = shapes.Shapes(3, [], 1.0)
        for index in range(50):
            things, turns = made._scene(index, 8)
            self.assertFalse(shapes._is_held_out(things))
            self.assertEqual(len({t.question for t in turns}), len(turns))


if __name__ == "__main__":
    unittest.main()

"""A folder of pictures with a conversation list in the LLaVA form (`src/data/folder.rs`, `src/data/folder_list.rs`).

An entry: {"id": "7", "image": "7.png", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"},
{"from": "gpt", "value": "A duck."}, ...]}, in a JSON array or one per line. Entries that cannot be used are left out
and named, up to half of all. Text that is no JSON ends the work, where the Rust program would leave out that entry.
"""

import json
import os
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import pictures
from .errors import HiveError, LocalError
from .rng import MASK, Rng, hash_bytes, splitmix64
from .sample import Sample, Turn
from .source import Source
from .tokenizer import Tokenizer

IMAGE = "<image>"
ENDINGS = (".json", ".jsonl", ".ndjson")
WORDS = 2000
HELD_OUT_EVERY = 8
# Bytes of prepared pictures that each process keeps.
MEMORY = 256 << 20
SHOWN = 20


@dataclass
class Record:
    """A picture, by its name in the folder, and what is said about it."""

    id: str
    image: str
    turns: list
    number: int


# ---------------------------------------------------------------- the list


def find_list(data):
    """The folder and its conversation list."""
    path = Path(data)
    if path.is_file():
        return path.parent, path
    if not path.is_dir():
        raise LocalError(f"there is no folder {data}: give one with pictures and a conversation list with --data")
    lists = [p for p in sorted(path.iterdir()) if p.suffix.lower() in ENDINGS and not p.name.startswith(".")]
    if len(lists) > 1:
        lists = [p for p in lists if b'"conversations"' in p.read_bytes()]
    if len(lists) > 1:
        raise HiveError(f"{data} has {len(lists)} conversation lists: say which with --data {lists[0]}")
    if not lists:
        raise HiveError(f"{data} has no conversation list (*.json or *.jsonl in the LLaVA format)")
    return path, lists[0]


def entries(path):
    """The JSON values of a list."""
    try:
        data = path.read_bytes()
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if wide else "utf-8-sig").strip()
    except OSError as e:
        raise LocalError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise HiveError(f"{path} is no UTF-8 text (byte {e.start}): save the list as UTF-8") from e
    try:
        found = json.loads(text) if text.startswith("[") else list(_values(text))
    except json.JSONDecodeError as e:
        raise HiveError(
            f"{path.name}:{e.lineno}: this is no valid JSON ({e.msg}): correct the entry or remove it"
        ) from e
    if not found:
        raise HiveError(
            f"{path.name} has no entries: write one JSON object per picture, with `id`, `image` and `conversations`"
        )
    return found


def _values(text):
    """JSON values one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        while at < len(text) and (text[at].isspace() or text[at] == ","):
            at += 1


def record(entry, number):
    """One entry; ValueError with a sentence where it cannot be used."""
    if not isinstance(entry, dict):
        raise ValueError("this entry is no object with `image` and `conversations`: correct it or remove it")
    image = _image(entry)
    name = entry.get("id")
    if type(name) not in (str, int, float, type(None)):
        raise ValueError("`id` is neither a text nor a number: correct it, or leave it out")
    return Record(image if name is None else str(name), image, _turns(entry), number)


def _image(entry):
    image = entry.get("images" if "image" not in entry else "image")
    if isinstance(image, list):
        if len(image) > 1:
            raise ValueError(
                f"this entry has {len(image)} pictures, and several are not supported: make an entry of each"
            )
        image = image[0] if image else None
    if not isinstance(image, str) or not image:
        raise ValueError("this entry has no `image`: give the picture's file name as a text")
    if image.startswith(("http://", "https://")):
        raise ValueError("`image` is an address, and pictures are not fetched: download it, and give its file name")
    if image[0] in "/\\" or ":" in image or ".." in image.replace("\\", "/").split("/"):
        raise ValueError("`image` points outside the folder: give a file name relative to it")
    return image


def _turns(entry):
    said = entry.get("conversations")
    if not isinstance(said, list) or not said:
        raise ValueError('this entry has no `conversations`: give a list of {"from": "human" or "gpt", "value": text}')
    spoken = []
    for turn in said:
        system = isinstance(turn, dict) and turn.get("from") == "system"
        # In place of an answer it is a fault.
        if len(spoken) % 2 == 1 or not system:
            spoken.append(turn)
    if not spoken:
        raise ValueError('the conversation has a "system" turn alone: add a question and its answer')
    if len(spoken) % 2:
        raise ValueError('the conversation ends with a question: every "human" value needs a "gpt" value after it')
    return [_turn(i, *spoken[2 * i : 2 * i + 2]) for i in range(len(spoken) // 2)]


def _turn(i, question, answer):
    for value, who in ((question, "human"), (answer, "gpt")):
        if not (isinstance(value, dict) and value.get("from") == who and isinstance(value.get("value"), str)):
            raise ValueError(
                f'turn {i + 1} has no {{"from": "{who}", "value": text}} where it should: let "human" and "gpt"'
                " alternate"
            )
    question, answer = question["value"], answer["value"].strip()
    if question.count(IMAGE) != (i == 0) or IMAGE in answer:
        raise ValueError(f'{IMAGE} must stand once in the first "human" value and nowhere else: correct turn {i + 1}')
    question = question.replace(IMAGE, " ").strip()
    if not answer or (not question and i > 0):
        raise ValueError(
            f"the {'question' if answer else 'answer'} of turn {i + 1} is empty: fill it in or remove the turn"
        )
    return Turn("question" if question else "caption", question, answer)


class Problems:
    """Entries that are left out, with their sentences."""

    def __init__(self, file, total):
        self.file, self.total, self.all = file, total, []

    def add(self, number, sentence):
        self.all.append(f"{self.file}: entry {number}: {sentence}")

    def check(self):
        """Are more than half unusable?"""
        if len(self.all) * 2 > self.total:
            raise HiveError(
                f"{len(self.all)} of {self.total} entries in {self.file} are unusable, more than half; the first:"
                f" {self.all[0]}"
            )

    def tell(self):
        """The first of them, on the standard error."""
        for sentence in self.all[:SHOWN]:
            print(sentence, file=sys.stderr)
        if self.all:
            used = self.total - len(self.all)
            print(
                f"{len(self.all)} entries of {self.file} were skipped, {used} of {self.total} are used", file=sys.stderr
            )


# ---------------------------------------------------------------- the pictures


class Pictures:
    """Pictures beside a list, prepared; those used last are kept as far as there is room."""

    def __init__(self, folder, side):
        self.folder, self.side = folder, side
        self.kept, self.most = OrderedDict(), max(1, MEMORY // (side * side * 3))

    def read(self, name):
        """Bytes of a file. A list from Windows may part names by backslashes."""
        path = self.folder / name
        if not path.is_file() and "\\" in name:
            path = self.folder / name.replace("\\", "/")
        try:
            return path.read_bytes()
        except OSError as e:
            raise ValueError(e.strerror) from e

    def look(self, name):
        """The number of what a picture shows, or the reason why it cannot be used; and its square."""
        try:
            data = self.read(name)
            whole = pictures.decode(data)
        except ValueError as e:
            return str(e), None
        return pictures.content(data, whole), pictures.square(whole, self.side)

    def look_at_all(self, names, group):
        """What `look` says of each name. Every process looks at a part of them."""
        mine = names[group.rank :: group.size]
        found = {}
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // group.size)) as pool:
            for name, (said, square) in zip(mine, pool.map(self.look, mine)):
                found[name] = said
                if square is not None:
                    self._keep(name, square)
        return group.gather(found)

    def pixels(self, name):
        """float32 (3, S, S)."""
        square = self.kept.get(name)
        if square is None:
            said, square = self.look(name)
            if square is None:
                raise LocalError(f"the picture {name} cannot be opened ({said}): put it there, or remove its entry")
        self._keep(name, square)
        return pictures.normal(square)

    def _keep(self, name, square):
        self.kept[name] = square
        self.kept.move_to_end(name)
        if len(self.kept) > self.most:
            self.kept.popitem(last=False)


# ---------------------------------------------------------------- samples


def _held_out(contents):
    """Which contents are held out: an eighth by a hash; one at least where there are enough, and never all."""
    held_out = {c for c in contents if c % HELD_OUT_EVERY == 0}
    if not held_out and len(contents) >= HELD_OUT_EVERY:
        held_out.add(min(contents))
    if len(held_out) == len(contents):
        held_out.discard(max(contents))
    return held_out


def fingerprint(records, contents):
    """A number for what entries say and show, in whatever order."""
    total = 0
    for r in records:
        said = b"".join(part.encode() + b"\0" for t in r.turns for part in (t.question, t.answer))
        total += splitmix64(contents[r.image] ^ hash_bytes(said))
    return total & MASK


def shuffled(i, n, key):
    """Where position i of n goes in the random order number `key`."""
    bits = max(2, (n - 1).bit_length())
    mask, x = (1 << bits) - 1, i
    while True:
        for turn in range(4):
            k = splitmix64((key + (turn << 56)) & MASK)
            x = (x * (k | 1) + (k >> 32)) & mask
            x ^= x >> ((bits + 1) // 2)
        # Places beyond the end go on until they come back.
        if x < n:
            return x


class Folder:
    """Training samples of a list: every entry once per round, in an order of its own in every round."""

    def __init__(self, file, records, files, seed):
        self.file, self.records, self.files, self.seed = file, records, files, seed

    def _chosen(self, index, most):
        size = len(self.records)
        at, place = divmod(index, size)
        r = self.records[shuffled(place, size, splitmix64(self.seed) ^ at)]
        count = min(most, len(r.turns))
        start = Rng(self.seed, index).below(len(r.turns) - count + 1)
        return r, r.turns[start : start + count]

    def text_sample(self, index, most):
        """Sample number `index` without its picture."""
        return Sample(turns=self._chosen(index, most)[1])

    def sample(self, index, most):
        """Sample number `index`."""
        r, turns = self._chosen(index, most)
        return Sample(turns=turns, pixels=self.files.pixels(r.image))


def usable(path, files, group):
    """The entries of a list that can be used, and for each picture the number of what it shows."""
    found = entries(path)
    problems, records = Problems(path.name, len(found)), []
    for number, entry in enumerate(found, 1):
        try:
            records.append(record(entry, number))
        except ValueError as e:
            problems.add(number, str(e))
    problems.check()
    said = files.look_at_all(sorted({r.image for r in records}, key=str.encode), group)
    refused = {name: reason for name, reason in said.items() if isinstance(reason, str)}
    for r in records:
        if r.image in refused:
            why = refused[r.image]
            problems.add(r.number, f"the picture {r.image} cannot be used ({why}): replace it, or remove the entry")
    problems.check()
    if group.first:
        problems.tell()
    return [r for r in records if r.image not in refused], said


def source(data, preset, earlier, group):
    """The data of a folder; sets the preset's vocabulary to its words. What an earlier run of them decided stays."""
    folder, path = find_list(data)
    files = Pictures(folder, preset.model.vision_config.image_size)
    records, contents = usable(path, files, group)
    by = "picture" if earlier is None else earlier.other.get("split", "id")
    train = _training(records, contents, by)
    if not train:
        raise HiveError(f"none of the {len(records)} entries in {path.name} is in the training part: add more pictures")
    words = _words(train)
    meta = {"data": fingerprint(records, contents), **({"split": by} if by != "id" else {})}
    if earlier is None:
        preset.data = "folder"
        preset.model.text_config.vocab_size = len(words)
    else:
        _compare(path.name, words, meta, earlier, group)
        words = earlier.tokenizer
    return Source(Folder(path.name, train, files, preset.seed), words, meta)


def _words(records):
    return Tokenizer.from_texts((text for r in records for t in r.turns for text in (t.question, t.answer)), WORDS)


def _training(records, contents, by):
    if by == "id":
        return [r for r in records if hash_bytes(r.id.encode()) % HELD_OUT_EVERY]
    held_out = _held_out({contents[r.image] for r in records})
    return [r for r in records if contents[r.image] not in held_out]


def _compare(file, new, meta, earlier, group):
    """Are these the data that a run was begun with?"""
    words = new.words[4:]
    unknown = [w for w in words if w not in earlier.tokenizer.ids]
    if unknown and len(unknown) * 2 >= len(words):
        some = ", ".join(unknown[:SHOWN])
        raise HiveError(
            f"{len(unknown)} of {len(words)} words of {file} are unknown to the model: {some}. These are other data"
            " than it learned from. Give its own with --data, or begin a new run"
        )
    if earlier.other.get("data") not in (None, meta["data"]) and group.first:
        print(
            f"{file} and its pictures are not those that the run was begun with: it goes on with these", file=sys.stderr
        )

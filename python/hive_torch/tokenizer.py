"""Words to ids: the word-level tokenizer of `src/data/tokenizer.rs`."""

from .errors import HiveError

PAD, START, END, UNKNOWN = range(4)
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]


def split(text):
    """Words in lower case; every punctuation mark is a word, but apostrophes and hyphens inside words."""
    text = text.lower()
    letter = lambda i: 0 <= i < len(text) and text[i].isalnum()
    words, inside = [], False
    for i, c in enumerate(text):
        joins = c in "'’-" and letter(i - 1) and letter(i + 1)
        if c.isalnum() or joins:
            if inside:
                words[-1] += c
            else:
                words.append(c)
            inside = True
            continue
        if not c.isspace() and not _is_control(c):
            words.append(c)
        inside = False
    return words


def _is_control(c):
    return ord(c) < 32 or 127 <= ord(c) < 160


def _joined(words):
    """Words with a hyphen that are also read where a space stands for it, but those that share a part with another."""
    is_word = lambda w: w[:1].isalnum() and split(w) == [w]
    parts = {w: tuple(w.rsplit("-", 1)) for w in words[len(SPECIALS) :] if "-" in w and is_word(w)}
    firsts, lasts = {p[0] for p in parts.values()}, {p[1] for p in parts.values()}
    alone = lambda first, last: first not in lasts and first not in parts and last not in firsts
    return {word for word, both in parts.items() if alone(*both)}


class Tokenizer:
    """A vocabulary: word i has id i."""

    def __init__(self, words):
        for i, special in enumerate(SPECIALS):
            found = words[i] if i < len(words) else ""
            if found != special:
                raise HiveError(
                    f"the list of words must start with <pad>, <s>, </s>, <unk>, but word {i} is `{found}`: "
                    "use the list saved with the model"
                )
        self.words = list(words)
        self.ids = {}
        for i, word in enumerate(words):
            if word in self.ids:
                raise HiveError(
                    f"the list of words has `{word}` twice, at {self.ids[word]} and {i}: "
                    "remove one, or use the list saved with the model"
                )
            self.ids[word] = i
        self.joined = _joined(self.words)

    @classmethod
    def from_texts(cls, texts, size):
        """The `size` most frequent words of texts, special tokens included, ties in alphabetical order."""
        counts = {}
        for text in texts:
            for word in split(text):
                counts[word] = counts.get(word, 0) + 1
        # As bytes: Rust compares strings so.
        frequent = sorted(counts, key=lambda w: (-counts[w], w.encode()))
        return cls(SPECIALS + frequent[: max(0, size - len(SPECIALS))])

    def __len__(self):
        return len(self.words)

    def encode(self, text):
        """Ids of a text, without start or end."""
        return [i for word in self._read(text) for i in self._parts(word)]

    def _read(self, text):
        words = []
        for word in split(text):
            together = f"{words[-1]}-{word}" if words else None
            if together in self.joined and "-" not in word:
                words[-1] = together
            else:
                words.append(word)
        return [w for w in words if w != "?" or "?" in self.ids]

    def _parts(self, word):
        """One id, or two for a plural whose singular and whose `s` are words."""
        if word in self.ids:
            return [self.ids[word]]
        singular = self.ids.get(word[:-1]) if word.endswith("s") else None
        if singular is not None and "s" in self.ids:
            return [singular, self.ids["s"]]
        return [UNKNOWN]

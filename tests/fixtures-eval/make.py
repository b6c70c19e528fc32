#!/usr/bin/env python3
"""Expected scores for Hive's benchmark scorers: same answers in, same scores out as lmms-eval.

    python make.py --lmms DIR --out OUT [--seed 0] [--items 560]

DIR holds an unpacked lmms-eval wheel (the folder that contains `lmms_eval/`); numpy, PyYAML, pytz, loguru and tqdm
must be importable, everything else lmms-eval imports (torch, datasets, ...) is replaced by empty stand-ins. Questions, reference
answers and model answers are all invented here from a seed; no dataset text is used. Every score, parsed answer and prompt
comes out of lmms-eval's own code: the task's YAML file builds the task, `_process_document_results` of its evaluator scores
an item (reasoning tags stripped with the command line's default, outer whitespace stripped, then the task's own function),
the YAML's aggregation functions give the totals.

Output: OUT/<task>.json, see `tests/question_sets.rs` for the fields.
"""
import argparse
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import json
import os
import random
import re
import sys
import types
import unicodedata


# ---------------------------------------------------------------- stand-ins for what lmms-eval imports but scoring never uses

class _Meta(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing

    def __getitem__(cls, key):
        return Nothing

    def __or__(cls, other):
        return cls

    __ror__ = __or__


class Nothing(metaclass=_Meta):
    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        if len(args) == 1 and callable(args[0]) and not kwargs:
            return args[0]                      # used as a decorator
        return Nothing()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()

    def __getitem__(self, key):
        return Nothing()

    def __setitem__(self, key, value):
        pass

    def __or__(self, other):
        return self

    __ror__ = __or__

    def __iter__(self):
        return iter(())

    def __bool__(self):
        return False


class _NothingModule(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "lmms_eval":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return _NothingModule(spec.name)

    def exec_module(self, module):
        pass


def load_lmms(folder):
    sys.path.insert(0, folder)
    sys.meta_path.append(_Finder())
    tenacity = types.ModuleType("tenacity")     # no silent retries: an exception is an exception

    class stop:
        def __init__(self, *a, **k):
            pass

        def __or__(self, other):
            return self
    tenacity.retry = lambda *a, **k: (lambda f: f)
    tenacity.stop_after_attempt = tenacity.stop_after_delay = tenacity.wait_fixed = stop
    tenacity.__getattr__ = lambda name: stop
    sys.modules["tenacity"] = tenacity
    from loguru import logger
    logger.remove()
    import lmms_eval.api.metrics                # noqa: F401  registers "exact_match" and "mean"
    evaluator = importlib.import_module("lmms_eval.evaluator")
    task_module = importlib.import_module("lmms_eval.api.task")
    utils = importlib.import_module("lmms_eval.utils")
    return types.SimpleNamespace(evaluator=evaluator, task=task_module, utils=utils, folder=folder)


def lmms_version(folder):
    for name in os.listdir(folder):
        match = re.fullmatch(r"lmms_eval-(.+)\.dist-info", name)
        if match:
            return match.group(1)
    return "unknown"


def default_reasoning_tags(folder):
    """The command line's default, read from its source (importing the entry point would start it)."""
    with open(os.path.join(folder, "lmms_eval", "__main__.py"), encoding="utf-8") as f:
        match = re.search(r'"--reasoning_tags",\s*type=str,\s*default=\'([^\']*)\'', f.read())
    return json.loads(match.group(1)) if match else None


class LmmsTask:
    """One lmms-eval task built from its YAML file, without the dataset."""

    def __init__(self, lmms, yaml_path, features, tags):
        path = os.path.join(lmms.folder, "lmms_eval", "tasks", yaml_path)
        config = lmms.utils.load_yaml_config(path)
        config.pop("group", None)
        self.lmms, self.tags = lmms, tags
        task = object.__new__(lmms.task.ConfigurableTask)
        task._config = lmms.task.TaskConfig(**config)
        task.OUTPUT_TYPE = task._config.output_type
        task.model_name = None
        task.features, task.multiple_target, task.multiple_input = features, 0, 0
        task._prepare_model_specific_config()
        task._prepare_metric_and_aggregation()
        self.task = task

    def prompt(self, doc):
        return self.task.doc_to_text(copy.deepcopy(doc))

    def process(self, doc, answer):
        """What the evaluator keeps for one item: metric name -> value."""
        request = types.SimpleNamespace(filtered_resps={"none": answer}, raw_filtered_resps={}, args=(), token_counts=None)
        done = self.lmms.evaluator._process_document_results(
            (0, copy.deepcopy(doc), [request]), task=self.task, filter_key="none", reasoning_tags=self.tags, log_samples=False)
        for field in ("metrics", "metric_values", "task_metrics"):
            if hasattr(done, field):
                return getattr(done, field)
        raise RuntimeError(f"unexpected result {done!r}")

    def aggregate(self, metric, values):
        return self.task.aggregation()[metric](values)

    def generation(self):
        keep = ("max_new_tokens", "temperature", "top_p", "num_beams", "do_sample", "until")
        return {k: v for k, v in (self.task._config.generation_kwargs or {}).items() if k in keep}


# ---------------------------------------------------------------- invented content

NOUNS = ["kite", "lantern", "teapot", "walrus", "trolley", "cactus", "violin", "anvil", "parasol", "otter", "hammock", "ladder",
         "pretzel", "scooter", "beehive", "accordion", "canoe", "wheelbarrow", "lighthouse", "gazebo", "tripod", "satchel"]
COLOURS = ["red", "white", "teal", "maroon", "black", "beige", "green", "purple"]
PLACES = ["shelf", "pier", "meadow", "counter", "ridge", "doorstep", "roof", "bench"]
VERBS = ["holding", "painting", "chasing", "repairing", "carrying", "watching"]
NAMES = ["Ada", "Bjørn", "Čapek", "Dvořák", "Émile", "O'Hara", "van der Berg", "Lee"]


def pick_phrase(r):
    return r.choice([
        lambda: r.choice(NOUNS), lambda: r.choice(COLOURS), lambda: f"{r.choice(COLOURS)} {r.choice(NOUNS)}",
        lambda: f"{r.choice(COLOURS)} and {r.choice(COLOURS)}", lambda: str(r.randrange(0, 25)), lambda: r.choice(WORD_NUMBERS),
        lambda: r.choice(HARD), lambda: f"{r.choice(VERBS)} {r.choice(ARTICLES)} {r.choice(NOUNS)}", lambda: r.choice(NAMES),
    ])()


WORD_NUMBERS = ["none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ARTICLES = ["a", "an", "the"]
HARD = [
    "10:30", "10.5", "3.14", ".5", "5.", "1,000", "1,,000", "12,345,678", "$5.00", "50%", "#7", "7-eleven", "t-shirt", "x-ray", "coca-cola",
    "rock 'n' roll", "stop sign", "st. mary's", "women's", "the teacher's desk", "o'clock", "a.m.", "p.m.", "u.s.a.", "no. 1", "mr. lee",
    "don't walk", "dont walk", "can't", "cant", "its", "it's", "hes", "he's", "he 's", "youre", "im", "Im", "Ive", "Id've", "I'dve", "id've",
    "yall'd've", "'ows'at", "ow's'at", "somebody'd", "somebodyll", "someonell", "somethingd've", "wouldn'tve", "let's", "lets", "she's",
    "notve", "oclock", "maam", "twas", "unanswerable", "Unanswerable", "answering does not require reading text in the image", "n/a", "the",
    "a", "an", "the the", "a b", "the who", "a-team", "an hour", "vitamin a", "one way", "one-way", "no one", "top ten", "ten.five", "one,two",
    "2 x 4", "2x4", "4 + 4", "a/c", "and/or", "c++", "at&t", "h&m", "l'oréal", "café", "CAFÉ", "naïve", "ÄÖÜ", "straße", "STRASSE", "ΟΔΟΣ",
    "λόγος", "北京", "東京 駅", "お茶", "서울", "сыр", "СЫР", "سلام", "٣٫٥", "٣.٤", "٣,٤", "१,२", "５", "１，０００", "½", "²", "🙂", "👍🏽", "don’t", "‘quoted’",
    "“quoted”", "em—dash", "en–dash", "ellipsis…", "non\u00a0breaking", "zero\u200bwidth", "ﬁsh", "e\u0301cole", "école",
]

SEPARATORS = [" ", "  ", "-", " - ", "/", " / ", ", ", ",", " ,", "; ", ";", ". ", ".", "..", "\n", "\t", " \n ", "_", "'", '"', " (", ") ",
              "&", "+", " + ", "=", "?", "? ", " ?", "!", "! ", "…", "[", "] ", "{", "}", "<", "> ", "@", "`", "\\", "|", "~", "*", "^", "%", "$", "#",
              "\u00a0", "\u3000", "\r\n", "\x0b", "\u2028"]


def soup(r):
    """Random text of words, numbers, articles and marks: nobody's rules were written with it in mind."""
    parts = []
    for _ in range(r.randrange(1, 7)):
        parts.append(r.choice([
            lambda: r.choice(NOUNS), lambda: r.choice(HARD), lambda: r.choice(WORD_NUMBERS), lambda: r.choice(ARTICLES),
            lambda: str(r.randrange(0, 2000)), lambda: f"{r.randrange(10)}{r.choice('.,-:/')}{r.randrange(10)}",
            lambda: r.choice(["yes", "no", "Yes", "No", "YES", "NO"]), lambda: r.choice("ABCDEabcde")])())
        parts.append(r.choice(SEPARATORS))
    if r.random() < 0.5:
        parts.pop()
    if r.random() < 0.3:
        parts.insert(0, r.choice(SEPARATORS))
    return "".join(parts)


def sentence(r, words=None):
    n = words or r.randrange(8, 60)
    text = " ".join(r.choice(NOUNS + COLOURS + PLACES + VERBS + ARTICLES + WORD_NUMBERS) for _ in range(n))
    return text[0].upper() + text[1:] + "."


def swap_case(text):
    return "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(text))


def full_width(text):
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


# Ways to write an answer, by name. Each takes (right answer, a wrong answer, random).
SURFACE = {
    "exact": lambda a, w, r: a,
    "wrong": lambda a, w, r: w,
    "upper": lambda a, w, r: a.upper(),
    "lower": lambda a, w, r: a.lower(),
    "title": lambda a, w, r: a[:1].upper() + a[1:],
    "mixed-case": lambda a, w, r: swap_case(a),
    "period": lambda a, w, r: a + ".",
    "wrong-period": lambda a, w, r: w + ".",
    "space-period": lambda a, w, r: a + " .",
    "period-before": lambda a, w, r: "." + a,
    "periods": lambda a, w, r: a + "." * r.choice([2, 3, 31, 32, 33, 34, 40]),
    "period-each-letter": lambda a, w, r: ".".join(a) + r.choice(["", "."]),
    "comma": lambda a, w, r: a + ",",
    "comma-before": lambda a, w, r: ", " + a,
    "exclaim": lambda a, w, r: a + r.choice(["!", " !", "!!!", "?!"]),
    "question": lambda a, w, r: a + r.choice(["?", " ?"]),
    "semicolon": lambda a, w, r: a + r.choice([";", " ;", "; "]),
    "colon": lambda a, w, r: a + r.choice([":", " :"]),
    "quotes": lambda a, w, r: r.choice(['"%s"', "'%s'", "`%s`", "“%s”", "‘%s’", "«%s»", '"%s".', '"%s."']) % a,
    "brackets": lambda a, w, r: r.choice(["(%s)", "[%s]", "{%s}", "<%s>", "( %s )", "**%s**", "*%s*", "__%s__", "\\boxed{%s}", "$%s$"]) % a,
    "list-mark": lambda a, w, r: r.choice(["- %s", "1. %s", "1) %s", "* %s", "• %s", "# %s", "> %s"]) % a,
    "article": lambda a, w, r: r.choice(["a ", "an ", "the ", "The ", "A ", "THE "]) + a,
    "article-after": lambda a, w, r: a + r.choice([" a", " the", " an"]),
    "answer-is": lambda a, w, r: r.choice(["The answer is %s", "The answer is %s.", "Answer: %s", "answer: %s.", "It is %s.", "It's %s", "Answer:\n%s"]) % a,
    "spaces-around": lambda a, w, r: r.choice(["  %s  ", " %s", "%s ", "\t%s", "%s\n", "\n%s\n\n", "\u00a0%s\u00a0", "\u3000%s", "\x1f%s\x1c", "%s\r\n"]) % a,
    "double-space": lambda a, w, r: a.replace(" ", "  ") if " " in a else a + "  " + a,
    "newline-inside": lambda a, w, r: a.replace(" ", "\n") if " " in a else a + "\n" + w,
    "tab-inside": lambda a, w, r: a.replace(" ", "\t") if " " in a else a + "\t" + a,
    "hyphen-inside": lambda a, w, r: a.replace(" ", "-") if " " in a else a + "-" + a,
    "slash": lambda a, w, r: f"{a}/{w}",
    "repeated": lambda a, w, r: r.choice([" ", ", ", "", "\n"]).join([a] * r.choice([2, 3, 12])),
    "then-wrong": lambda a, w, r: r.choice(["%s or %s", "%s, %s", "%s %s", "%s\n%s", "%s and %s", "%s. %s."]) % (a, w),
    "wrong-first": lambda a, w, r: r.choice(["%s or %s", "%s, %s", "%s %s", "not %s but %s"]) % (w, a),
    "explained": lambda a, w, r: f"{a}, because {sentence(r, 9)}",
    "explained-line": lambda a, w, r: f"{a}\n{sentence(r, 12)}",
    "long": lambda a, w, r: sentence(r) + r.choice(["", " " + a]),
    "negated": lambda a, w, r: f"not {a}",
    "plural": lambda a, w, r: a + "s",
    "possessive": lambda a, w, r: a + r.choice(["'s", "’s", "s'"]),
    "missing-letter": lambda a, w, r: a[:-1],
    "extra-letter": lambda a, w, r: a + a[-1:],
    "no-spaces": lambda a, w, r: a.replace(" ", ""),
    "full-width": lambda a, w, r: full_width(a),
    "zero-width": lambda a, w, r: r.choice(["\u200b%s", "%s\u200b", "\ufeff%s"]) % a,
    "decomposed": lambda a, w, r: unicodedata.normalize(r.choice(["NFD", "NFKC"]), a),
    "emoji": lambda a, w, r: r.choice(["%s 🙂", "🙂 %s", "%s👍"]) % a,
    "reasoning": lambda a, w, r: r.choice(["<think>%s</think>%s", "<think>\n%s\n</think>\n\n%s", "<analysis>%s</analysis> %s", "%s</think>%s",
                                           "<think>%s<think>x</think>%s", "<THINK>%s</THINK>%s", "<think>%s</thought>%s", "<think>%s %s"]) % (w, a),
    "empty": lambda a, w, r: "",
    "blank": lambda a, w, r: r.choice([" ", "\n", "\t \n", "\u00a0", "\u200b"]),
    "marks-only": lambda a, w, r: r.choice([".", "...", "?", "-", "!?", ",", "'", "''", "()", "/", "…", "_", "-- ", "a", "the", "The."]),
    "other-script": lambda a, w, r: r.choice(["да", "нет", "是", "否", "はい", "いいえ", "نعم", "لا", "हाँ", "ναι", "כן", "ใช่", "sí", "não", "não.", "Ja", "oui"]),
    "refusal": lambda a, w, r: r.choice(["I don't know", "Unanswerable", "unanswerable.", "I cannot answer that.", "N/A", "None", "unknown", "Sorry, I can't see the image."]),
    "soup": lambda a, w, r: soup(r),
}


def write_answer(kind, right, wrong, r):
    return SURFACE[kind](right, wrong, r)


# ---------------------------------------------------------------- yes/no tasks

YES_NO = [
    "y", "n", "Y", "N", "y.", "N.", "Y!", "ye", "yep", "yeah", "yup", "nope", "nah", "none", "not", "Not sure", "Not at all", "know", "I know", "eyes",
    "Eyes.", "snow", "Snow", "a no", "an o", " no", "no yes", "yes no", "no, yes", "Yes and no", "yes/no", "yes or no", "YesNo", "NoYes", "y.e.s",
    "n.o", "n.o.", "y.e.s.", "y e s", "yes .", "no .", ". yes", ".yes", "..no", "y .", ". n", "yes. no.", "Yes, it is.", "No, it isn't.",
    "No way", "Yes.", "yes,", "Yes!", "No;", "no?", "(yes)", "[no]", "'yes'", '"No"', "**Yes**", "-no", "- no", "--no", "- - no", "1. yes", "a) no",
    "A. Yes", "b.no", "The answer is yes.", "It is no", "there is no kite", "There is a kite, yes", "True", "False", "true", "1", "0", "correct",
    "Noon", "noon", "Nobody", "nose", "north", "piano", "canoe", "volcano", "yesterday", "Yes-man", "bayes", "Reyes", "Oyes", "oh yes", "oh no", "um, no",
    "Uh yes", "ｙｅｓ", "ＮＯ", "Nо", "уes", "yeſ", "YEŞ", "nö", "Nº", "ÑO", "İyes", "ﬀno", "\u200byes", "\ufeffno", "yes\u200b", "yes\u00a0", "yes🙂", "🙂yes", "🙂🙂🙂yes",
    "🙂🙂🙂🙂yes", "abcno", "abno", "xxno", "xyno", "xyes", "abyes", "yesyes", "nono", "yes yes yes", "no\nyes", "yes\nno", "Yes\tNo", "", " ", "\n", ".", "...",
]


def yes_no_answers(gold, r, count):
    """`count` (kind, answer) pairs; every kind of surface, every listed oddity, random soup."""
    other = "no" if gold == "yes" else "yes"
    kinds = list(SURFACE)
    pool = [("yes-no", t) for t in YES_NO]
    out = []
    while len(out) < count:
        if r.random() < 0.35:
            word = r.choice([gold, gold.title(), other.title(), other])
            out.append(("plain", word))
        elif r.random() < 0.5:
            out.append(r.choice(pool))
        else:
            kind = r.choice(kinds)
            a, w = (gold, other) if r.random() < 0.6 else (gold.title(), other.title())
            out.append((kind, write_answer(kind, a, w, r)))
    return out


MME_CATEGORIES = ["existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
                  "commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"]
ASK = " Please answer yes or no."


def make_mme(r, count):
    items, queue = [], []
    kinds = [("yes-no", t) for t in YES_NO] + [(k, None) for k in list(SURFACE) * 2 + ["reasoning"] * 12 + ["spaces-around"] * 8]
    r.shuffle(kinds)
    pairs = max(count // 2, len(MME_CATEGORIES))
    for p in range(pairs):
        category = MME_CATEGORIES[p % len(MME_CATEGORIES)]
        qid = f"{category}/{p // len(MME_CATEGORIES):04d}.png" if p % 3 else f"{category}/{r.randrange(10**9)}_{p}.jpg"
        noun, place, colour = r.choice(NOUNS), r.choice(PLACES), r.choice(COLOURS)
        golds = ["Yes", "No"] if r.random() < 0.85 else [r.choice(["Yes", "No"])] * 2
        if r.random() < 0.05:
            golds = [r.choice([" yes", "YES.", "yes", "Yes."]), r.choice(["No.", "no ", "NO"])]
        if r.random() < 0.5:
            golds.reverse()
        for k, gold in enumerate(golds):
            text = r.choice([
                f"Is there a {noun} on the {place}?", f"Does this picture show a {colour} {noun}?", f"Are there {r.randrange(2, 9)} {noun}s in this image?",
                f'Is the word in the logo "{noun.upper()}"?', f"Is the following code's output {r.randrange(90)}?\nprint(\"{noun}\")",
                f"Is {r.choice(NAMES)} {r.choice(VERBS)} the {noun} (left of the {place})?", f"“{noun}” 翻译成英文是 “{place}” 吗?"])
            question = text + r.choice([ASK] * 12 + ["  Please answer yes or no.", "\nPlease answer yes or no.", ASK + ASK, " please answer yes or no.", "", ASK + " ", ASK.strip()])
            if r.random() < 0.05:
                question = " " + question
            if r.random() < 0.03:
                question = f"{text}{ASK} Think of the {noun}.{ASK}"
            word = gold.strip(" .").lower()
            other = "no" if word == "yes" else "yes"
            if (p * 2 + k) % 2 == 0 and kinds:
                kind, answer = kinds.pop()
                answer = write_answer(kind, word, other, r) if answer is None else answer
            else:
                draw = r.random()
                if draw < 0.62:
                    kind, answer = "plain", r.choice([word.title(), word, word.title() + ".", word.title() + f", there is a {noun}."])
                elif draw < 0.75:
                    kind, answer = "plain-wrong", r.choice([other.title(), other, other.title() + "."])
                elif draw < 0.88:
                    kind, answer = "soup", soup(r)
                else:
                    kind, answer = r.choice([("yes-no", r.choice(YES_NO)), ("long", sentence(r))])
            queue.append((kind, {"question_id": qid, "question": question, "answer": gold, "category": category}, answer))
    r.shuffle(queue)            # the two questions of a pair need not be neighbours
    items.extend(queue)
    return items


POPE_CATEGORIES = ["adversarial", "popular", "random"]


def make_pope(r, count):
    items = []
    kinds = [("yes-no", t) for t in YES_NO] + [(k, None) for k in list(SURFACE) * 2 + ["reasoning"] * 12 + ["spaces-around"] * 8]
    r.shuffle(kinds)
    for i in range(count):
        category = POPE_CATEGORIES[i % 3]
        gold = r.choice(["yes", "no"]) if r.random() < 0.96 else r.choice([" Yes", "No ", "YES", "no\n"])
        word = gold.strip().lower()
        other = "no" if word == "yes" else "yes"
        if i % 2 and kinds:
            kind, answer = kinds.pop()
            answer = write_answer(kind, word, other, r) if answer is None else answer
        else:
            draw = r.random()
            if draw < 0.6:
                kind, answer = "plain", r.choice([word, word.title(), word.upper(), word.title() + "\n"])
            elif draw < 0.82:
                kind, answer = "plain-wrong", r.choice([other, other.title()])
            elif draw < 0.92:
                kind, answer = "near", r.choice([word + ".", word.title() + ".", word.title() + ",", f"{word.title()}, there is."])
            else:
                kind, answer = "soup", soup(r)
        question = f"Is there {r.choice(['a', 'an'])} {r.choice(NOUNS)} in the {r.choice(['image', 'imange', 'picture'])}?"
        if r.random() < 0.08:
            question = r.choice([" %s", "%s ", "%s\n", "\t%s"]) % question
        doc = {"id": str(i), "question_id": str(1 + i // 3), "question": question, "answer": gold, "image_source": f"INVENTED_val_{i // 6:012d}", "category": category}
        items.append((kind, doc, answer))
    return items


# ---------------------------------------------------------------- exact match

GQA_GOLD = ["yes", "no", "left", "right", "T-shirt", "traffic light", "hot dog", "parking meter", "CD", "x", "ping-pong paddle", "o'clock", "10"]


# (answer, reference) for exact match
GQA_PROBES = [
    ("École", "école"), ("ÉCOLE", "école"), ("école", "ÉCOLE"), ("СЫР", "сыр"), ("ΟΔΟΣ", "οδος"), ("ΟΔΟΣ", "οδοσ"), ("STRASSE", "straße"), ("Ärztin", "ärztin"), ("e\u0301cole", "école"), ("{n} .", "{n}"), (". {n}", "{n}"),
    ("{n}.", "{n}"), ("({n})", "{n}"), ("{n}-{m}", "{n}{m}"), ("{n}-{m}", "{n} {m}"), ("{n} - {m}", "{n} {m}"), ("{n} - {m}", "{n}  {m}"), ("{n}, {m}", "{n} {m}"), ("{n},{m}", "{n}{m}"), ("the {n}", "{n}"), ("a {n}", "{n}"),
    ("{n}  {m}", "{n} {m}"), ("{n}\n{m}", "{n} {m}"), ("{n}\t", "{n}"), ("{n}\u00a0", "{n}"), ("{n}\x1f", "{n}"), ("{n}\u200b", "{n}"), ("“{n}”", "{n}"), ("{n}…", "{n}"), ("{n}。", "{n}"), ("‘{n}’", "{n}"), ("'{n}'", "{n}"), ("`{n}`", "{n}"),
    ("${n}^", "{n}"), ("{n}~|", "{n}"), ("#{n}", "{n}"), ("{n}%", "{n}"), ("\\{n}", "{n}"), ("@{n}", "{n}"), ("{n}&{m}", "{n}{m}"), ("{n}=+", "{n}"), ("{n}s", "{n}"), ("1", "one"), ("one", "1"), ("2.5", "25"), ("2,5", "25"), ("T shirt", "T-shirt"),
    ("tshirt", "T-shirt"), ("{n}€", "{n}"), ("{n}°", "{n}"), ("¿{n}", "{n}"), ("{n}！", "{n}"), ("＿{n}", "{n}"), ("_{n}_", "{n}"), ("yes", "Yes."), ("yes", "yes "), ("{n} {n}", "{n}"), ("", ""), (".", ""), ("!?", "..."), ("北京。", "北京"), ("北京", "北京"),
]


def make_gqa(r, count):
    items = []
    probes = list(GQA_PROBES)
    r.shuffle(probes)
    kinds = [k for k in SURFACE for _ in range(5)] + ["reasoning"] * 8
    r.shuffle(kinds)
    for i in range(count):
        gold = r.choice(GQA_GOLD + NOUNS + COLOURS + [f"{r.choice(COLOURS)} {r.choice(NOUNS)}", f"{r.choice(NOUNS)}-{r.choice(NOUNS)}", r.choice(NAMES)])
        if r.random() < 0.02:
            gold = r.choice(["red ", " red", "red  kite", "Red.", "kite!", "it's", "école", "北京", "2.5", "ΟΔΟΣ"])
        wrong = r.choice([n for n in NOUNS if n != gold])
        kind = kinds.pop() if kinds and i % 2 else r.choice(["exact", "exact", "title", "wrong", "wrong", "period", "article", "explained", "quotes", "soup"])
        answer = write_answer(kind, gold, wrong, r)
        if probes and i % 4 == 0:
            words = {"n": r.choice(NOUNS), "m": r.choice(PLACES)}
            kind, (answer, gold) = "probe", (fill(x, words) for x in probes.pop())
        qid = f"{r.randrange(10**8):08d}"
        question = r.choice([f"What is the {r.choice(NOUNS)} made of?", f"Is the {r.choice(NOUNS)} to the left of the {r.choice(NOUNS)}?",
                             f"Which color is the {r.choice(NOUNS)} near the {r.choice(PLACES)}?", f"Who is {r.choice(VERBS)} the {r.choice(NOUNS)}?  "])
        doc = {"id": qid, "imageId": f"n{r.randrange(10**6)}", "question": question, "answer": gold, "fullAnswer": f"It is {gold}.", "isBalanced": True}
        items.append((kind, doc, answer))
    return items


SUBJECTS = [("natural science", "physics"), ("natural science", "biology"), ("language science", "writing-strategies"), ("social science", "geography")]


def make_scienceqa(r, count):
    letters = [
        "{L}", "{l}", "{L}.", "{l}.", "({L})", "({l})", "{L})", "{L}:", "{L},", "{L};", "{L}!", "{L}?", "{L} .", " {L}. ", ".{L}", "{L}..", "{L}. {choice}",
        "{L}.{choice}", "{l}. {choice}", "{L} {choice}", "{L}: {choice}", "{L}) {choice}", "{choice}", "{choice}.", "The answer is {L}", "The answer is {L}.",
        "Answer: {L}", "Answer: {L}.", "Option {L}", "option {l}", "{L}\n{choice}", "{L}.\n{choice}", "{L}\n", "\n{L}", "{L}{W}", "{L} {W}", "{L}. {W}.", "{L} or {W}",
        "{W}. {L}", "\"{L}\"", "'{L}'", "**{L}**", "`{L}`", "{L}.{L}", "{L}{L}", "{l}{l}", "{L}, because {sentence}", "{L}. {sentence}", "{sentence}", "{L}\u00a0", "\u200b{L}", "{FL}",
        "{FL}.", "{L}．", "{L}。", "{L}、", "{i}", "{i}.", "{i1}", "{W}", "{w}", "{W}.", "{W}. {choice}", "Z.", "É.", "İ.", "Σ.", "ǅ.", "А.", "А", "", " ", ".", "..", "A.", "B.", "C", "<think>{W}</think>{L}",
        "<think>{W}. {L}", "{L}</think>", "{L}\tbecause", "{L}\r\n", "{soup}", "I. {choice}", "{L}.\u00a0{choice}"]
    items = []
    for i in range(count):
        n = r.choice([2, 2, 3, 3, 4, 4, 5, 5, 1, 8]) if r.random() < 0.4 else r.randrange(2, 6)
        choices = [r.choice([r.choice(NOUNS), f"the {r.choice(COLOURS)} {r.choice(NOUNS)}", sentence(r, 8), str(r.randrange(300)) + " °C", r.choice(HARD), "A", "B."]) for _ in range(n)]
        gold = r.randrange(n)
        wrong = r.choice([k for k in range(max(n, 2)) if k != gold])
        subject, topic = r.choice(SUBJECTS)
        picture = r.random() < 0.5
        hint = "" if r.random() < 0.5 else r.choice([sentence(r, 20), "Read the text.\n" + sentence(r, 10), "Figure: " + r.choice(NOUNS) + ".", " ", "\n" + sentence(r, 5)])
        right, bad = chr(65 + gold), chr(65 + wrong)
        template = letters[i % len(letters)] if i < 2 * len(letters) else r.choice(letters)
        if i >= 2 * len(letters) and r.random() < 0.4:
            template = r.choice(["{L}", "{L}", "{W}", "{L}.", "{L}. {choice}"])
        answer = template
        for key, value in {"L": right, "l": right.lower(), "W": bad, "w": bad.lower(), "choice": choices[gold], "sentence": sentence(r, 12), "FL": full_width(right),
                           "i": str(gold), "i1": str(gold + 1), "soup": soup(r)}.items():
            answer = answer.replace("{" + key + "}", value)
        doc = {"image": "picture" if picture else None, "question": r.choice([f"Which {r.choice(NOUNS)} is {r.choice(COLOURS)}?", f"What does the {r.choice(NOUNS)} do?\n", "Select the better estimate.",
                                                                             f"Compare the two {r.choice(NOUNS)}s.  Which is larger?"]),
               "choices": choices, "answer": gold, "hint": hint, "task": "closed choice", "grade": f"grade{r.randrange(1, 13)}", "subject": subject, "topic": topic,
               "category": r.choice(["Materials", "Ecosystems", "Maps"]), "skill": f"Invented skill {r.randrange(9)}", "lecture": "", "solution": ""}
        items.append((template, doc, answer))
    return items


# ---------------------------------------------------------------- VQA soft accuracy

EQUAL = [lambda a, r: a, lambda a, r: a, lambda a, r: a, lambda a, r: a.upper(), lambda a, r: a.title(), lambda a, r: "the " + a, lambda a, r: "a " + a, lambda a, r: a + ".",
         lambda a, r: a + ",", lambda a, r: a + "?", lambda a, r: a + "!", lambda a, r: f'"{a}"', lambda a, r: f"({a})", lambda a, r: f" {a} ", lambda a, r: a.replace(" ", "-"),
         lambda a, r: a.replace(" ", "  "), lambda a, r: a.replace(" ", "\n"), lambda a, r: a.replace("'", ""), lambda a, r: a.replace(",", "")]
NUMBER_WORDS = {str(i): w for i, w in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])}


def reference_answers(base, r, size=10):
    """`size` reference answers, some of which are `base` written in several ways, the rest other phrases."""
    pattern = r.choice(["same", "some", "some", "some", "few", "none", "spread"])
    same = {"same": size, "some": r.randrange(1, size + 1), "few": r.randrange(1, 4), "none": 0, "spread": r.randrange(0, 3)}[pattern]
    same = min(same, size)
    answers = []
    for _ in range(same):
        text = base if pattern == "same" and r.random() < 0.6 else r.choice(EQUAL)(base, r)
        if base in NUMBER_WORDS and r.random() < 0.4:
            text = NUMBER_WORDS[base]
        answers.append(text)
    others = [pick_phrase(r) for _ in range(1 if pattern != "spread" else size)]
    while len(answers) < size:
        answers.append(r.choice(others))
    r.shuffle(answers)
    return answers


def vqa_answer(base, references, r, kinds, i):
    wrong = pick_phrase(r)
    draw = r.random()
    if kinds and i % 2 == 0:
        kind = kinds.pop()
        return kind, write_answer(kind, base, wrong, r)
    if draw < 0.35:
        return "reference", r.choice(EQUAL)(r.choice(references) if references else base, r)
    if draw < 0.55:
        return "base", r.choice(EQUAL)(base, r)
    if draw < 0.65:
        return "phrase", wrong
    if draw < 0.75:
        return "soup", soup(r)
    if draw < 0.8 and base in NUMBER_WORDS:
        return "number-word", NUMBER_WORDS[base]
    kind = r.choice(list(SURFACE))
    return kind, write_answer(kind, base, wrong, r)


# (answer, reference): pairs on which one single step of the normaliser decides; {n} {m} {c} become invented words.
PROBES = [
    ("{n}-{m} - {c}", "{n}{m} {c}"), ("{n}-{m} - {c}", "{n} {m} {c}"), ("{n};-{m}-{c}", "{n} {m} {c}"), ("{n};-{m}-{c}", "{n} {m}{c}"), ("{n}-{m}", "{n} {m}"), ("{n}-{m}", "{n}{m}"),
    ("{n}/{m}", "{n} {m}"), ("{n} / {m}", "{n} {m}"), ("{n}/ {m}/{c}", "{n} {m}{c}"), ("({n}) {m}(s)", "{n} {m}s"), ("{n}(s)", "{n} s"), ("{n}_{m}", "{n} {m}"), ("{n}+{m} +{c}", "{n}{m} {c}"),
    ("{n},{m}", "{n}{m}"), ("{n},{m}", "{n} {m}"), ("{n}, {m}", "{n} {m}"), ("{n}?{m}", "{n}{m}"), ("{n}!{m}", "{n} {m}"), ("{n}?-{m}", "{n} {m}"), ("{n} ?{m}?{c}", "{n} {m}{c}"),
    ("1,000-2,000 {n}", "10002000 {n}"), ("1,000-2,000 {n}", "1000 2000 {n}"), ("{n}-{m} 1,000", "{n}{m} 1000"), ("1,,000 {n}-{m}", "1000 {n}{m}"), ("1,,000 {n}-{m}", "1000 {n} {m}"),
    ("٣,٤ {n}-{m}", "٣٤ {n}{m}"), ("٣,٤ {n}-{m}", "٣٤ {n} {m}"), ("1,000", "1000"), ("1 ,000", "1 000"), ("1, 000", "1000"), ("$1,000.50", "$1000.50"), ("one,two", "onetwo"), ("one,two", "1 2"),
    ("٣.٤", "٣.٤"), ("٣.٤", "٣٤"), ("3.4", "34"), ("3.4.", "3.4"), ("3.", "3"), (".5", ".5"), (".5", "5"), ("5.{n}", "5{n}"), ("{n}.5", "{n}.5"), ("{n}.5", "{n}5"), ("{n}.{m}", "{n}{m}"),
    ("{n}. {m}", "{n} {m}"), ("u.s.a.", "usa"), ("10.30 p.m.", "10.30 pm"), ("10:30", "10:30"), ("{n}" + "." * 32, "{n}"), ("{n}" + "." * 33, "{n}"), ("." * 40 + "{n}", "{n}"), ("{n}" + " ." * 20 + ".5", "{n} .5"),
    ("{n}" + "." * 33, "{n}."), ("stop\u00a0{n}", "stop {n}"), ("\u3000{n}\u2009{m}", "{n} {m}"), ("{n}\x1f{m}", "{n} {m}"), ("{n}\u200b{m}", "{n}{m}"), ("{n}\u00a0-{m}", "{n} {m}"), ("{n}\n-{m}-{c}", "{n} {m}{c}"),
    ("{n}\t/{m}/{c}", "{n} {m}{c}"), ("{n}\r-{m}-{c}", "{n} {m}{c}"), ("{n}\n{m}", "{n} {m}"), ("{n}  {m}", "{n} {m}"), ("two {n}s", "2 {n}s"), ("Ten", "10"), ("none", "0"), ("no", "0"), ("zero {n}", "none {n}"),
    ("eleven", "11"), ("twelve {n}", "12 {n}"), ("twenty-two", "twenty 2"), ("two-{n}", "2 {n}"), ("two.", "2"), ("two.five", "2.5"), ("(three)", "3"), ("three's", "3 's"), ("half", "0.5"), ("1st", "first"),
    ("the {n}", "{n}"), ("A {n}", "an {n}"), ("an", ""), ("the", "a"), ("{n} of the {m}", "{n} of {m}"), ("a-{n}", "{n}"), ("vitamin a", "vitamin"), ("a.{n}", "a{n}"), ("a. {n}", "{n}"), ("an.", ""), ("these {n}", "{n}"),
    ("dont {n}", "don't {n}"), ("Cant {n}", "can't {n}"), ("couldn'tve", "couldn't've"), ("im {n}", "i'm {n}"), ("Im {n}", "I'm {n}"), ("Ive", "I've"), ("Id've", "I'd've"), ("let's {n}", "lets {n}"), ("let's {n}", "let 's {n}"),
    ("somebody'd", "somebodyd"), ("somebodyd", "somebody'd"), ("thats {n}", "that's {n}"), ("that's {n}", "thats {n}"), ("hes", "he's"), ("hes", "he 's"), ("don’t {n}", "don't {n}"), ("dont-{n}", "don't {n}"), ("dont.", "don't"),
    ("ow's'at", "'ow's'at"), ("'ow'sat", "'ow's'at"), ("{n}'s", "{n} 's"), ("{n}'s", "{n}s"), ("{n}'s {m}", "{n} 's {m}"), ("'s {n}", "'s {n}"), ("{n}’s", "{n} 's"), ("{n}'S", "{n} 's"), ("{n}s'", "{n}s"), ("'{n}'", "{n}"), ('"{n}"', "{n}"), ("“{n}”", "{n}"), ("{n}'s'{m}", "{n} 's'{m}"),
    ("{n}:{m}", "{n} {m}"), ("{n}*", "{n}"), ("#{n}", "{n}"), ("{n}&{m}", "{n} {m}"), ("{n}%", "{n}"), ("~{n}", "{n}"), ("{n}…", "{n}"), ("{n}—{m}", "{n} {m}"), ("{n}|{m}", "{n} {m}"), ("{n}^", "{n}"), ("{n}。", "{n}"), ("１", "1"),
    ("İ{n}", "i\u0307{n}"), ("ΟΔΟΣ", "οδος"), ("ΟΔΟΣ", "οδοσ"), ("ΟΔΟΣ-{n}", "οδος {n}"), ("STRASSE", "straße"), ("CAFÉ {n}", "café {n}"), ("Café", "cafe"), ("ÉCOLE", "école"), ("e\u0301cole", "école"), ("СЫР", "сыр"), ("東京 駅", "東京駅"),
    ("[{n}]", "{n}"), ("{{n}}", "{n}"), ("<{n}>", "{n}"), ("{n}={m}", "{n} {m}"), ("{n}@{m}", "{n} {m}"), ("`{n}`", "{n}"), ("{n}\\{m}", "{n} {m}"), ("{n}; {m};{c}", "{n} {m}{c}"), ("c++", "c"), ("{n} -", "{n}"), ("-{n}", "{n}"),
    ("unanswerable", "Unanswerable."), ("", ""), (" ", ""), (".", ""), ("-", ""), ("the", ""), ("{n} {n}", "{n}"), ("{n}s", "{n}"), ("The answer is {n}.", "{n}"), ("answer is {n}", "answer is the {n}"),
]


def fill(template, words):
    for key, word in words.items():
        template = template.replace("{" + key + "}", word)
    return template


def contraction_keys(lmms):
    return dict(sorted(importlib.import_module("lmms_eval.tasks._task_utils.vqa_eval_metric").EvalAIAnswerProcessor.CONTRACTIONS.items()))


def make_vqa(r, count, build, contractions):
    items = []
    kinds = list(SURFACE) * 3
    r.shuffle(kinds)
    kinds += ["reasoning"] * 8
    bases = [("hard", h) for h in HARD] + [("contraction", c) for c in contractions]
    r.shuffle(bases)
    probes = list(PROBES)
    r.shuffle(probes)
    for i in range(count):
        if probes and i % 3 != 2:
            answer, reference = probes.pop()
            words = {"n": r.choice(NOUNS), "m": r.choice(PLACES), "c": r.choice(COLOURS)}
            answer, reference = fill(answer, words), fill(reference, words)
            if r.random() < 0.3:
                answer, reference = reference, answer
            same, other = r.choice([1, 2, 3, 4, 7, 10, 10]), pick_phrase(r)
            references = [reference] * same + [other] * (10 - same)
            r.shuffle(references)
            items.append(("probe", build(r, i, references), answer))
            continue
        kind_prefix, base = bases.pop() if bases else ("", pick_phrase(r))
        if kind_prefix == "contraction":
            full = contractions[base]
            references = [full] * 5 + [r.choice([base, full, full.upper(), base.replace("'", ""), pick_phrase(r), pick_phrase(r)]) for _ in range(5)]
            r.shuffle(references)
            kind, answer = "contraction", base if r.random() < 0.9 else r.choice([base.title(), base + " " + r.choice(NOUNS), full, base.replace("'", ""), base.replace("'", "’")])
            if " " in answer:
                references = [x + " " + answer.split(" ", 1)[1] for x in references]
        else:
            references = reference_answers(base, r, 10 if r.random() < 0.97 else r.choice([1, 2, 3, 5, 11]))
            kind, answer = vqa_answer(base, references, r, kinds, i)
        items.append((kind, build(r, i, references), answer))
    return items


def question_for_vqa(r):
    return r.choice([f"What is the {r.choice(NOUNS)} {r.choice(VERBS)}?", f"how many {r.choice(NOUNS)}s are on the {r.choice(PLACES)}?", f"What does the {r.choice(COLOURS)} sign say?",
                     f"Who is {r.choice(NAMES)}?", f"WHAT IS THE {r.choice(NOUNS).upper()}?", f"  what brand is it? ", f"What year was \"{r.choice(NAMES)}\" founded?\n", "ßharp s first?",
                     "émile asks: is it ÉCOLE?", "ﬁsh or meat?", "ǆep?", "ΠΟΙΟΣ ΟΔΟΣ;", "這是什麼?", "is İstanbul on the sign?", "1st word of LINE 2?", "(in brackets) What?", ""])


def build_ok_vqa(r, i, references):
    return {"question_id": str(1000000 + i * 5), "question": question_for_vqa(r), "answers": references, "question_type": r.choice(["one", "two", "ten"]), "answer_type": "other"}


def build_textvqa(r, i, references):
    question = question_for_vqa(r)
    return {"image_id": f"{r.randrange(16**8):08x}", "question_id": 34602 + i, "question": question, "question_tokens": question.lower().split(), "image_width": 1024, "image_height": 768,
            "answers": references, "image_classes": ["Invented"], "set_name": "val", "ocr_tokens": [r.choice(NOUNS) for _ in range(r.randrange(0, 5))]}


def build_vqav2(r, i, references):
    return {"question_type": "what is", "multiple_choice_answer": references[0] if references else "", "answers": [
        {"answer": a, "answer_confidence": r.choice(["yes", "maybe", "no"]), "answer_id": k + 1} for k, a in enumerate(references)],
        "image_id": 5000 + i, "answer_type": r.choice(["other", "number", "yes/no"]), "question_id": 5000000 + i, "question": question_for_vqa(r)}


# ---------------------------------------------------------------- scoring with lmms-eval

def plain(value):
    """numpy numbers and booleans as JSON numbers."""
    return float(value) if hasattr(value, "item") else value


def numbers(values):
    return [plain(v) for v in values]


def finish_mme(task, scored):
    """`scored`: (item, metrics) pairs."""
    totals, categories = {}, {}
    for metric in ("mme_perception_score", "mme_cognition_score"):
        values = [m[metric] for _, m in scored if metric in m]
        totals[metric] = plain(task.aggregate(metric, values))
    for category in dict.fromkeys(item["doc"]["category"] for item, _ in scored):
        values = [v for item, m in scored if item["doc"]["category"] == category for v in m.values()]
        categories[category] = plain(task.aggregate("mme_perception_score", values))
    totals["categories"] = dict(sorted(categories.items()))
    return totals


def finish_mean(task, scored):
    return {"exact_match": plain(task.aggregate("exact_match", numbers(m["exact_match"] for _, m in scored)))}


def finish_scienceqa(task, scored):
    def mean(keep):
        values = [m["exact_match"] for item, m in scored if keep(item["doc"])]
        return {"exact_match": plain(task.aggregate("exact_match", values)), "count": len(values)}
    grade = lambda d: int(d["grade"][5:])
    return {"exact_match": mean(lambda d: True)["exact_match"],
            "scienceqa_img": mean(lambda d: d["image"] is not None),
            "groups": {"NAT": mean(lambda d: d["subject"] == "natural science"), "SOC": mean(lambda d: d["subject"] == "social science"),
                       "LAN": mean(lambda d: d["subject"] == "language science"), "TXT": mean(lambda d: bool(d["hint"])), "IMG": mean(lambda d: d["image"] is not None),
                       "NO": mean(lambda d: not d["hint"] and d["image"] is None), "G1-6": mean(lambda d: grade(d) <= 6), "G7-12": mean(lambda d: grade(d) > 6)}}


def finish_pope(task, scored):
    names = ["pope_accuracy", "pope_precision", "pope_recall", "pope_f1_score", "pope_yes_ratio"]

    def all_of(keep):
        return {n: plain(task.aggregate(n, [m[n] for item, m in scored if keep(item["doc"])])) for n in names}
    return {**all_of(lambda d: True), "categories": {c: all_of(lambda d, c=c: d["category"] == c) for c in POPE_CATEGORIES}}


def parsed_of(name, metrics):
    """lmms-eval's own reading of the model answer, where it has one, to help find a difference."""
    if name in ("ok_vqa", "textvqa"):
        return metrics["submission"]["answer"]
    if name == "pope":
        return metrics["pope_accuracy"]["prediction"]
    return None


def score_of(name, metrics):
    if name == "mme":
        return next(iter(metrics.values()))["score"]
    if name == "pope":
        return metrics["pope_accuracy"]["score"]
    return plain(metrics["exact_match"])


def raising_cases(name):
    """Inputs on which lmms-eval stops with an exception (or surprises): Hive should name the item instead."""
    if name == "mme":
        base = {"question_id": "existence/x.png", "question": "Is there a kite? Please answer yes or no.", "category": "existence"}
        return [("reference answer neither yes nor no", [{**base, "answer": "Maybe"}], ["Yes"]),
                ("one question of a pair missing", [{**base, "answer": "Yes"}], ["Yes"]),
                ("three questions with one id", [{**base, "answer": "Yes"}] * 3, ["Yes"] * 3),
                ("no item at all", [], []),
                ("unknown category: counted as cognition", [{**base, "category": "unheard_of", "answer": "Yes"}, {**base, "category": "unheard_of", "answer": "No"}], ["Yes", "No"])]
    if name == "pope":
        base = {"id": "0", "question_id": "1", "question": "Is there a kite?", "image_source": "x", "category": "random"}
        return [("reference answer neither yes nor no", [{**base, "answer": "maybe"}], ["yes"]), ("no item at all", [], [])]
    if name == "scienceqa":
        base = {"image": None, "question": "Which?", "hint": "", "grade": "grade3", "subject": "natural science"}
        return [("no choices", [{**base, "choices": [], "answer": 0}], ["A"]), ("answer index out of range", [{**base, "choices": ["x", "y"], "answer": 2}], ["C"]),
                ("answer index -1 means the last choice", [{**base, "choices": ["x", "y"], "answer": -1}], ["B"])]
    if name == "gqa":
        return [("no item at all", [], [])]
    build = {"ok_vqa": build_ok_vqa, "textvqa": build_textvqa, "vqav2": build_vqav2}[name]
    r = random.Random(1)
    one, none = build(r, 0, ["kite"]), build(r, 1, [])
    missing = {k: v for k, v in none.items() if k != "answers"}
    cases = [("no reference answers", [none], ["kite"]), ("a single reference answer, matched: 0, since it is never compared with itself", [one], ["kite"]),
             ("answers is null", [{**none, "answers": None}], ["kite"]), ("answers field missing", [missing], ["kite"])]
    if name == "vqav2":
        twin = build(r, 2, ["kite"] * 10)
        for a in twin["answers"]:
            a.update(answer_id=1, answer_confidence="yes")
        cases.append(("all ten answers with the same id and confidence: equal entries count as one and the same", [twin], ["kite"]))
    return cases


def run_raising(name, task, finish):
    out = []
    for what, docs, answers in raising_cases(name):
        entry = {"what": what, "docs": copy.deepcopy(docs), "answers": answers}
        try:
            scored = [({"doc": d, "answer": a}, task.process(d, a)) for d, a in zip(docs, answers)]
            entry["scores"] = [score_of(name, m) for _, m in scored]
            if name == "mme":
                metric = next(iter(scored[0][1])) if scored else "mme_perception_score"
                entry["total"] = {metric: plain(task.aggregate(metric, [m[metric] for _, m in scored]))}
            elif name == "pope":
                entry["total"] = {n: plain(task.aggregate(n, [m[n] for _, m in scored])) for n in ("pope_accuracy", "pope_precision", "pope_yes_ratio")}
            elif not scored:
                entry["total"] = finish_mean(task, scored)
        except Exception as error:              # noqa: BLE001  whatever lmms-eval raises is what we want to know
            entry["raises"] = type(error).__name__ + (f": {error}" if str(error) else "")
        out.append(entry)
    return out


def write_json(f, result):
    """Plain JSON, ASCII only, one item to a line."""
    lines = []
    for key, value in result.items():
        if key in ("items", "raises"):
            rows = ",\n".join("  " + json.dumps(v, allow_nan=False) for v in value)
            lines.append(f' "{key}": [\n{rows}\n ]')
        else:
            lines.append(f' "{key}": {json.dumps(value, allow_nan=False)}')
    f.write("{\n" + ",\n".join(lines) + "\n}\n")


def build_all(lmms):
    contractions = contraction_keys(lmms)
    return {
        "mme": ("mme/mme.yaml", make_mme, finish_mme),
        "gqa": ("gqa/gqa.yaml", make_gqa, finish_mean),
        "ok_vqa": ("ok_vqa/ok_vqa_val2014.yaml", lambda r, n: make_vqa(r, n, build_ok_vqa, contractions), finish_mean),
        "scienceqa": ("scienceqa/scienceqa.yaml", make_scienceqa, finish_scienceqa),
        "textvqa": ("textvqa/textvqa_val.yaml", lambda r, n: make_vqa(r, n, build_textvqa, contractions), finish_mean),
        "pope": ("pope/pope.yaml", make_pope, finish_pope),
        "vqav2": ("vqav2/vqav2_val.yaml", lambda r, n: make_vqa(r, n, build_vqav2, contractions), finish_mean),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lmms", required=True, help="folder that holds lmms_eval/")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=560)
    args = parser.parse_args()
    lmms = load_lmms(os.path.abspath(args.lmms))
    source = f"lmms-eval {lmms_version(args.lmms)}"
    tags = default_reasoning_tags(args.lmms)
    os.makedirs(args.out, exist_ok=True)
    for name, (yaml_path, make, finish) in build_all(lmms).items():
        r = random.Random(f"{args.seed}/{name}")
        drawn = make(r, args.items)
        # A capital I with a dot grows when lower-cased and NumPy's fixed-width strings then cut it: not worth imitating.
        if name == "gqa":
            drawn = [d for d in drawn if "İ" not in d[2] + d[1]["answer"] and "\0" not in d[2]]
        task = LmmsTask(lmms, yaml_path, list(drawn[0][1]), tags)
        scored = []
        for kind, doc, answer in drawn:
            metrics = task.process(doc, answer)
            item = {"kind": kind, "doc": doc, "prompt": task.prompt(doc), "answer": answer, "score": score_of(name, metrics)}
            parsed = parsed_of(name, metrics)
            if name in ("mme", "vqav2"):        # not part of what the evaluator keeps: asked of the task's own functions
                bare = lmms.evaluator.strip_reasoning_tags(answer, tags).strip() if tags else answer.strip()
                own = importlib.import_module(f"lmms_eval.tasks.{name}.utils")
                parsed = own.parse_pred_ans(bare) if name == "mme" else own.vqav2_process_results(copy.deepcopy(doc), [bare])["submission"]["answer"]
            if parsed is not None:
                item["parsed"] = parsed
            scored.append((item, metrics))
        result = {"source": source, "task": os.path.basename(yaml_path)[:-5], "seed": args.seed, "reasoning_tags": tags, "generation": task.generation(),
                  "items": [item for item, _ in scored], "totals": finish(task, scored), "raises": run_raising(name, task, finish)}
        with open(os.path.join(args.out, f"{name}.json"), "w", encoding="utf-8") as f:
            write_json(f, result)
        print(name, len(scored), json.dumps(result["totals"]))


if __name__ == "__main__":
    main()

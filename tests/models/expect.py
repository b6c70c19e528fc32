"""Writes what the tests expect of the real models: expect.py MODELS (the folder that get.sh filled).

Run by hand with torch 2.11, transformers 5.9 and tokenizers; never by the tests. Greedy continuations are computed in float32.
"""

import json
import re
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

models, here = Path(sys.argv[1]), Path(__file__).parent
TOKENS = 64
# Two tokens whose logits are nearer than this may change places by rounding: such prompts are left out.
NEAR = 2e-2

QUESTIONS = [
    "What is the capital of France?",
    "What is 7 times 8?",
    "List three primary colours.",
    "Write a Python function that adds two numbers.",
    "Translate 'good morning' into French.",
    "Why is the sky blue?",
    "Who wrote Romeo and Juliet?",
    "Give me a recipe for pancakes.",
    "What does the emoji 🎉 mean?",
    "Name the planets of the solar system.",
    "How do plants make food?",
    "What is the opposite of hot?",
    "Écris une phrase sur la mer.",
    "Explain gravity to a child.",
    "What year did the Second World War end?",
    "Write a haiku about autumn.",
    "What is the largest ocean?",
    "How many legs does a spider have?",
    "Suggest a name for a black cat.",
    "What is the boiling point of water in degrees Celsius?",
    "Tell me a fact about honey bees.",
    "What is photosynthesis?",
    "Write a short thank-you note.",
    "What do you call a baby dog?",
    "Sort these numbers: 9, 3, 27, 1.",
    "What is the difference between a cat and a dog?",
    "How does a bicycle stay upright?",
    "Give three synonyms of happy.",
    "What is the capital of Japan?",
    "What colour are bananas?",
    "How many days are in a week?",
    "Who painted the Mona Lisa?",
    "What is water made of?",
    "Translate 'thank you' into Spanish.",
    "What is the tallest mountain?",
    "Name three kinds of fruit.",
    "What is a prime number?",
    "Write a for loop in C.",
    "What language is spoken in Brazil?",
    "What do bees make?",
    "How do you boil an egg?",
    "What is the speed of light?",
    "Tell me a joke.",
    "What is a verb?",
    "Where do penguins live?",
    "What is the currency of India?",
]
OPENINGS = [
    "Once upon a time",
    "The little dog",
    "Lily and Ben",
    "One day, a cat",
    "There was a big tree",
    "Tom had a red ball",
    "The sun was hot",
    "Mom said",
    "In the park",
    "A small bird",
    "The old man",
    "Sara likes to",
    "It was raining",
    "The frog jumped",
    "At night, the moon",
    "Max was sad because",
    "The princess",
    "A bear lived in",
    "The boat",
    "Grandma made",
    "Two friends",
    "The fish",
    "On her birthday,",
    "A robot",
    "The car was",
    "Anna found",
    "The bunny",
    "Jack wanted",
    "The big dog ran",
    "A girl named Mia",
    "In a far away land",
    "The cake",
    "The clown",
    "Ben was hungry",
    "The teacher",
    "A little star",
    "When the snow came",
    "The puppy",
    "My friend",
    "Every morning",
]
TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  two  spaces and three   ",
    "tabs\tand\nnewlines\r\n\n\n",
    "1234567890 and 3.14159",
    "naïve café, Ærøskøbing, Straße",
    "日本語のテキスト、漢字とかな。",
    "中文标点：“你好”。",
    "한국어 문장입니다.",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽",
    "def f(x):\n    return x ** 2  # square\n",
    "don't, I'll, we've, they're, he'd",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<s>not special here</s>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "CamelCaseAndsnake_case_and-kebab",
    "\u200bzero\u00a0width\u3000spaces",
    "Ends with an incomplete idea…",
    "mixed 日本 and English عربى 123",
]


def greedy(name, prompts, wanted=20):
    folder = models / name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cases = []
    with torch.no_grad():
        for prompt, ids in prompts:
            made, gap = [], 1e9
            all_ids, cache = torch.tensor([ids]), None
            for _ in range(TOKENS):
                step = all_ids if cache is None else all_ids[:, -1:]
                result = model(step, past_key_values=cache, use_cache=True)
                cache, logits = result.past_key_values, result.logits[0, -1]
                best = logits.topk(2)
                gap = min(gap, float(best.values[0] - best.values[1]))
                token = int(best.indices[0])
                made.append(token)
                if token == model.config.eos_token_id:
                    break
                all_ids = torch.cat([all_ids, torch.tensor([[token]])], 1)
            if gap < NEAR:
                print(f"{name}: left out, two tokens are within {gap:.1e}: {prompt!r}")
                continue
            text = tokenizer.decode([t for t in made if t != model.config.eos_token_id])
            cases.append({"prompt": prompt, "ids": ids, "tokens": made, "text": text, "smallest_gap": round(gap, 4)})
            if len(cases) == wanted:
                break
    assert len(cases) == wanted, f"{name}: {len(cases)} prompts without a near tie"
    write(f"{name}.json", cases)


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=1)
    # Lists of numbers in one line.
    text = re.sub(r"\[\s+((?:-?\d+,\s+)*-?\d+)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    (here / name).write_text(text + "\n", encoding="utf-8")


smol = PreTrainedTokenizerFast.from_pretrained(models / "smollm2-135m-instruct")
qwen = PreTrainedTokenizerFast.from_pretrained(models / "qwen2_5-tokenizer")
chat = lambda q: smol.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True, tokenize=False)
encode = lambda t: smol(t, add_special_tokens=False).input_ids
greedy("smollm2-135m-instruct", [(q, encode(chat(q))) for q in QUESTIONS])
llama = Tokenizer.from_file(str(models / "stories15m/tokenizer.json"))
greedy("stories15m", [(q, llama.encode(q).ids) for q in OPENINGS])

talks = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "  Hi \n"}],
    [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "<image>\nThree?"},
    ],
]
write(
    "text.json",
    {
        "tokens": {
            name: [{"text": t, "ids": (e := tokenizer.encode(t, add_special_tokens=False)).ids, "decoded": tokenizer.decode(e.ids)} for t in TEXTS]
            for name in ("smollm2-135m-instruct", "stories15m", "qwen2_5-tokenizer")
            for tokenizer in [Tokenizer.from_file(str(models / name / "tokenizer.json"))]
        },
        "chats": [
            {"model": name, "messages": talk, "answer": answer, "text": tokenizer.apply_chat_template(talk, add_generation_prompt=answer, tokenize=False)}
            for name, tokenizer in (("smollm2-135m-instruct", smol), ("qwen2_5-tokenizer", qwen))
            for talk in talks
            for answer in (False, True)
        ],
    },
)

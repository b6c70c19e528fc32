"""lmms-eval's own model class for OpenAI's interface asks `hive serve` what its task MME asks, and gets the answers of `hive eval`:
`python lmms_eval_client.py PATH_OF_HIVE`, where lmms-eval is installed. Exit code 0: all right."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from lmms_eval.api.instance import Instance
from lmms_eval.models.chat.openai import OpenAICompatible
from lmms_eval.tasks.mme.utils import mme_doc_to_text, mme_doc_to_visual
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests/fixtures-vlm/smolvlm-whole"
DATA = ROOT / "tests/fixtures-eval/formats/mme/original"
PROMPT = {"pre_prompt": "", "post_prompt": "\nAnswer the question using a single word or phrase."}


def evaluated(hive: str) -> list[dict]:
    """What `hive eval` asked and was answered."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answers.jsonl"
        words = ["eval", "--task", "mme", "--data", DATA, "--model", MODEL, "--weights", "f32", "--out", out]
        subprocess.run([hive, *map(str, words)], check=True, capture_output=True)
        return [json.loads(line) for line in out.read_text().splitlines()[1:]]


def main(hive: str) -> None:
    lines = evaluated(hive)
    docs = []
    for line in lines:
        photo = next(DATA.rglob(line["doc"]["question_id"].split("/", 1)[1]))
        docs.append({**line["doc"], "image": Image.open(photo)})

    def messages(doc: dict) -> list[dict]:
        parts = [{"type": "image", "url": image} for image in mme_doc_to_visual(doc)]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": mme_doc_to_text(doc, PROMPT)}]}]

    words = ["serve", "--port", "0", "--model", str(MODEL), "--weights", "f32", "--name", "seer"]
    server = subprocess.Popen([hive, *words], stdout=subprocess.PIPE, text=True)
    try:
        base = server.stdout.readline().split()[-1]
        model = OpenAICompatible(model="seer", base_url=base, api_key="none", timeout=300, max_retries=1)
        model.task_dict = {"mme": {"test": docs}}
        greedy = {"max_new_tokens": 16, "temperature": 0, "top_p": 1.0, "num_beams": 1, "do_sample": False}
        asked = [
            Instance(
                request_type="generate_until",
                arguments=("", messages, greedy, at, "mme", "test"),
                idx=0,
                metadata={"task": "mme", "doc_id": at, "repeats": 1},
            )
            for at in range(len(docs))
        ]
        got = [result.text for result in model.generate_until(asked)]
    finally:
        server.kill()
    want = [line["answer"] for line in lines]
    assert got == want, f"{got} is not {want}"


if __name__ == "__main__":
    main(sys.argv[1])
    print("lmms-eval has the answers of hive eval")

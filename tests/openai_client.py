"""The official client of OpenAI's interface talks to `hive serve`: `python openai_client.py PATH_OF_HIVE`. Exit code 0: all right."""

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests/fixtures-vlm/smolvlm-whole"
PHOTO = next((ROOT / "tests/fixtures-eval/formats/mme/original").rglob("existence/000000000101.jpg"))
LIMIT = 12


def asked(hive: str, text: str) -> str:
    words = ["ask", str(PHOTO), text, "--model", str(MODEL), "--weights", "f32", "--limit", str(LIMIT), "--json"]
    return json.loads(subprocess.run([hive, *words], check=True, capture_output=True, text=True).stdout)["answer"]


def main(hive: str) -> None:
    words = ["serve", "--port", "0", "--model", str(MODEL), "--weights", "f32", "--key", "k", "--name", "seer"]
    server = subprocess.Popen([hive, *words], stdout=subprocess.PIPE, text=True)
    try:
        base = server.stdout.readline().split()[-1]
        client = openai.OpenAI(base_url=base, api_key="k", max_retries=0)
        assert [model.id for model in client.models.list()] == ["seer"]
        data = base64.b64encode(PHOTO.read_bytes()).decode()
        image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}

        def ask(text: str, **more):
            content = [image, {"type": "text", "text": text}]
            messages = [{"role": "user", "content": content}]
            return client.chat.completions.create(model="seer", messages=messages, max_tokens=LIMIT, **more)

        texts = ["What is this?", "Is it red?"]
        want = [asked(hive, text) for text in texts]
        assert [ask(text).choices[0].message.content for text in texts] == want
        with ThreadPoolExecutor(2) as pool:
            assert [said.choices[0].message.content for said in pool.map(ask, texts)] == want
        pieces = list(ask(texts[0], stream=True, stream_options={"include_usage": True}))
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == want[0]
        assert pieces[-1].usage.completion_tokens == ask(texts[0]).usage.completion_tokens
        for more, error in [({"n": 2}, openai.BadRequestError), ({"tools": [{"type": "function"}]}, openai.BadRequestError)]:
            try:
                ask(texts[0], **more)
            except error:
                continue
            raise AssertionError(f"{more} was not refused")
        try:
            openai.OpenAI(base_url=base, api_key="wrong", max_retries=0).models.list()
        except openai.AuthenticationError:
            return
        raise AssertionError("a wrong key was taken")
    finally:
        server.kill()


if __name__ == "__main__":
    main(sys.argv[1])
    print("the client of OpenAI's interface has the answers of hive ask")

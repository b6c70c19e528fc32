#!/usr/bin/env python3
"""Tiny benchmark sets in the forms people have them on disk: original release, lmms-lab style parquet, VLMEvalKit TSV.

    python make_formats.py OUT

Needs pillow and pyarrow. Every picture is drawn here and every question invented; only the file layouts, field names and
column types follow the real releases. Beside the good sets, `malformed.json` lists broken ones and what an error must name.
"""
import base64
import csv
import hashlib
import io
import json
import os
import struct
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

OUT = sys.argv[1] if len(sys.argv) > 1 else "formats"
COLOURS = {"red": (214, 40, 40), "green": (44, 160, 60), "blue": (40, 80, 210), "yellow": (240, 210, 40), "white": (250, 250, 250), "black": (16, 16, 16)}


def picture(shape, colour, ground="white", size=(64, 48), text=""):
    image = Image.new("RGB", size, COLOURS[ground])
    draw = ImageDraw.Draw(image)
    w, h = size
    box = (w // 4, h // 6, 3 * w // 4, 5 * h // 6)
    if shape == "circle":
        draw.ellipse(box, fill=COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, fill=COLOURS[colour])
    elif shape == "triangle":
        draw.polygon([(w // 2, h // 6), (w // 4, 5 * h // 6), (3 * w // 4, 5 * h // 6)], fill=COLOURS[colour])
    elif shape == "two":
        draw.ellipse((4, h // 4, w // 2 - 4, 3 * h // 4), fill=COLOURS[colour])
        draw.ellipse((w // 2 + 4, h // 4, w - 4, 3 * h // 4), fill=COLOURS[colour])
    if text:
        draw.text((w // 8, h // 3), text, fill=COLOURS["black"])
    return image


def encode(image, kind="JPEG"):
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return buffer.getvalue()


def put(path, data):
    path = os.path.join(OUT, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    mode = "wb" if isinstance(data, bytes) else "w"
    with open(path, mode, **({} if mode == "wb" else {"encoding": "utf-8", "newline": ""})) as f:
        f.write(data)


def put_json(path, value, **kwargs):
    put(path, json.dumps(value, ensure_ascii=False, **kwargs))


# ---------------------------------------------------------------- parquet as the datasets library writes it

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
WORDS = {pa.string(): "string", pa.int8(): "int8", pa.int32(): "int32", pa.int64(): "int64", pa.bool_(): "bool"}


def feature(kind):
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": feature(kind.value_type), "_type": "Sequence"}
    if pa.types.is_struct(kind):
        return {field.name: feature(field.type) for field in kind}
    return {"dtype": WORDS[kind], "_type": "Value"}


def put_parquet(path, columns, rows, metadata=True, **kwargs):
    schema = pa.schema(list(columns.items()))
    if metadata:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": {k: feature(v) for k, v in columns.items()}}})})
    table = pa.table({k: pa.array([row.get(k) for row in rows], type=v) for k, v in columns.items()}, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **kwargs)
    put(path, buffer.getvalue())
    return buffer.getvalue()


def put_tsv(path, columns, rows):
    """As pandas writes it: quotes only where needed, a quote doubled, line breaks kept inside quotes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row.get(c) is None else row.get(c) for c in columns])
    put(path, buffer.getvalue())
    return buffer.getvalue()


def b64(data):
    return base64.b64encode(data).decode()


def expect(path, rows):
    """What every good form of a task must load to (order of the first form)."""
    put(path, "[\n" + ",\n".join(" " + json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")


def seen(data):
    """Identity of a picture after decoding, loose enough for another JPEG decoder."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return {"width": image.size[0], "height": image.size[1], "centre": list(image.getpixel((image.size[0] // 2, image.size[1] // 2)))}


BAD = []


def bad(path, form, task, names, why, accept=False):
    BAD.append({"path": path, "task": task, "form": form, "accept": accept, "names": names, "why": why})


# ---------------------------------------------------------------- MME

def mme():
    root = "mme/original/MME_Benchmark_release_version/MME_Benchmark"
    sets = [  # category, stem, extension, split layout?, picture, [(question, answer)]
        ("existence", "000000000101", "jpg", False, picture("circle", "red"),
         [("Is there a circle in this image? Please answer yes or no.", "Yes"), ("Is there a bicycle in this image? Please answer yes or no.", "No")]),
        ("count", "000000000102", "jpg", False, picture("two", "blue"),
         [("Are there two circles in this image? Please answer yes or no.", "Yes"), ("Are there five circles in this image? Please answer yes or no.", "No")]),
        ("artwork", "90001", "jpg", True, picture("triangle", "green", "yellow"),
         [("Does this artwork exist in the form of drawing? Please answer yes or no.", "Yes"), ("Is this artwork titled \"the blue 'kite'\"? Please answer yes or no.", "No")]),
        ("code_reasoning", "0101", "png", False, picture("square", "white", "black", text="print"),
         [("The image shows a python code. Is the output of the code '7'? Please answer yes or no.", "Yes"), ("The image shows a python code. Is the output of the code '8'? Please answer yes or no.", "No")]),
        ("text_translation", "0102", "png", False, picture("square", "white", text="kite"),
         [("Is it appropriate to translate the Chinese in the image into English '风筝' in the picture? Please answer yes or no.", "No"), ("Is it appropriate to translate the Chinese in the image into English 'kite' in the picture? Please answer yes or no.", "Yes")]),
    ]
    rows, expected = [], []
    for k, (category, stem, ext, split, image, questions) in enumerate(sets):
        data = encode(image, "JPEG" if ext == "jpg" else "PNG")
        put(f"{root}/{category}/{'images/' if split else ''}{stem}.{ext}", data)
        end = "\r\n" if k == 1 else "\n"                   # one file with Windows line ends
        body = end.join(f"{q}\t{a}" for q, a in questions)
        body += "" if k == 2 else end + ("\n" if k == 3 else "")   # one without a last line end, one with an empty last line
        put(f"{root}/{category}/{'questions_answers_YN/' if split else ''}{stem}.txt", body)
        for q, a in questions:
            rows.append({"question_id": f"{category}/{stem}.{ext}", "image": {"bytes": data, "path": f"{stem}.{ext}"}, "question": q, "answer": a, "category": category})
            expected.append({"question_id": f"{category}/{stem}.{ext}", "question": q, "answer": a, "category": category, "image": seen(data)})
        # what the official scoring script reads: image, question, reference, model answer
        put(f"mme/results/{category}.txt", "".join(f"{stem}.{ext}\t{q}\t{a}\t{'Yes' if a == 'Yes' else 'No, it is not.'}\n" for q, a in questions))
    columns = {"question_id": pa.string(), "image": IMAGE, "question": pa.string(), "answer": pa.string(), "category": pa.string()}
    put_parquet("mme/parquet/data/test-00000-of-00002-1f0c3a5b7d9e2468.parquet", columns, rows[:6])
    put_parquet("mme/parquet/data/test-00001-of-00002-8a6c4e2f0b1d3579.parquet", columns, rows[6:], compression="zstd", row_group_size=2)
    tsv = []
    for i, row in enumerate(rows):
        image = b64(row["image"]["bytes"]) if i % 2 == 0 else str(i - 1)   # the second question of a pair points at the first row's picture
        tsv.append({"index": i, "question": row["question"], "answer": row["answer"], "category": row["category"], "image_path": f"{row['category']}_{row['image']['path']}", "image": image})
    names = ["index", "question", "answer", "category", "image_path", "image"]
    put_tsv("mme/tsv/MME.tsv", names, tsv)
    expect("mme/expected.json", expected)

    good = encode(picture("circle", "red"))

    def broken(case, text, names, why, image=True, accept=False, category="existence"):
        base = f"mme/malformed/{case}/MME_Benchmark/{category}"
        if image:
            put(f"{base}/000000000201.jpg", good)
        put(f"{base}/000000000201.txt", text)
        bad(f"mme/malformed/{case}", "original", "mme", names, why, accept)
    q1, q2 = "Is there a circle in this image? Please answer yes or no.", "Is there a bicycle in this image? Please answer yes or no."
    broken("no-tab", f"{q1}\tYes\n{q2} No\n", ["000000000201.txt", "line 2", "tab"], "answer separated by a space")
    broken("one-question", f"{q1}\tYes\n", ["000000000201.txt", "2 questions", "1"], "MME needs exactly two questions a picture")
    broken("three-questions", f"{q1}\tYes\n{q2}\tNo\n{q1}\tYes\n", ["000000000201.txt", "2 questions", "3"], "MME needs exactly two questions a picture")
    broken("maybe", f"{q1}\tYes\n{q2}\tMaybe\n", ["000000000201.txt", "line 2", "Maybe"], "reference must be Yes or No")
    broken("no-picture", f"{q1}\tYes\n{q2}\tNo\n", ["000000000201", "existence"], "text without its picture", image=False)
    broken("not-a-picture", f"{q1}\tYes\n{q2}\tNo\n", ["000000000201.jpg"], "picture that no decoder knows", image=False)
    put("mme/malformed/not-a-picture/MME_Benchmark/existence/000000000201.jpg", b"<html>404</html>")
    broken("latin1", (f"{q1}\tYes\n" + "Is there a caf\u00e9 in this image? Please answer yes or no.\tNo\n").encode("latin-1"), ["000000000201.txt", "line 2", "UTF-8"], "not UTF-8")
    broken("byte-order-mark", f"\ufeff{q1}\tYes\r\n{q2}\tNo\r\n", [], "mark and Windows line ends: read as if absent", accept=True)
    broken("empty", "", ["000000000201.txt", "empty"], "file without a line")
    broken("unknown-category", f"{q1}\tYes\n{q2}\tNo\n", [], "a folder that is none of the 14 categories: counted as cognition by lmms-eval, warn", accept=True, category="weather")
    put_parquet("mme/malformed/missing-column/data/test-00000-of-00001.parquet", {k: v for k, v in columns.items() if k != "category"}, rows[:2])
    bad("mme/malformed/missing-column", "parquet", "mme", ["test-00000-of-00001.parquet", "category"], "column not there")
    put_parquet("mme/malformed/wrong-type/data/test-00000-of-00001.parquet", {**columns, "answer": pa.int64()}, [{**r, "answer": 1} for r in rows[:2]])
    bad("mme/malformed/wrong-type", "parquet", "mme", ["test-00000-of-00001.parquet", "answer", "int64", "string"], "column of another type")
    put_parquet("mme/malformed/null-picture/data/test-00000-of-00001.parquet", columns, [rows[0], {**rows[1], "image": {"bytes": None, "path": "gone.jpg"}}])
    bad("mme/malformed/null-picture", "parquet", "mme", ["test-00000-of-00001.parquet", "row 1", "gone.jpg"], "picture bytes absent and the path names no file")
    whole = put_parquet("mme/malformed/truncated/data/test-00000-of-00001.parquet", columns, rows[:2])
    put("mme/malformed/truncated/data/test-00000-of-00001.parquet", whole[:len(whole) // 2])
    bad("mme/malformed/truncated", "parquet", "mme", ["test-00000-of-00001.parquet"], "cut in the middle (no footer)")
    put("mme/malformed/lfs-pointer/data/test-00000-of-00001.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:" + hashlib.sha256(b"x").hexdigest() + "\nsize 34900000\n")
    bad("mme/malformed/lfs-pointer", "parquet", "mme", ["test-00000-of-00001.parquet", "LFS"], "a Git LFS pointer instead of the file: say so")
    put_parquet("mme/malformed/missing-shard/data/test-00000-of-00002.parquet", columns, rows[:2])
    bad("mme/malformed/missing-shard", "parquet", "mme", ["test-00001-of-00002.parquet"], "the name says two shards, one is there")
    for case, rows_, names_, why in [
            ("tsv-bad-base64", [{**tsv[0], "image": "%%%notbase64" * 20}, tsv[1]], ["MME.tsv", "line 2", "base64"], "picture is not base64"),
            ("tsv-dangling", [tsv[0], {**tsv[1], "image": "77"}], ["MME.tsv", "line 3", "77"], "points at the picture of a row that is not there"),
            ("tsv-no-answer", [{k: v for k, v in r.items() if k != "answer"} for r in tsv[:2]], ["MME.tsv", "answer"], "column missing")]:
        put_tsv(f"mme/malformed/{case}/MME.tsv", [c for c in names if any(c in r for r in rows_)], rows_)
        bad(f"mme/malformed/{case}", "tsv", "mme", names_, why)
    text = put_tsv("mme/malformed/tsv-open-quote/MME.tsv", names, tsv[:2])
    put("mme/malformed/tsv-open-quote/MME.tsv", text.replace("\tIs there a circle", '\t"Is there a circle', 1))
    bad("mme/malformed/tsv-open-quote", "tsv", "mme", ["MME.tsv", "line 2", "quote"], "a quote that is never closed swallows the rest of the file")


# ---------------------------------------------------------------- GQA

def gqa():
    pictures = {"n900001": encode(picture("circle", "yellow", "blue")), "9000002": encode(picture("square", "red"))}
    items = [("20900001", "n900001", "What color is the circle?", "yellow", "The circle is yellow."), ("20900002", "n900001", "Is there a square in the picture?", "no", "No, there is no square."),
             ("20900003", "9000002", "What shape is on the white ground?", "square", "The shape is a square."), ("20900004", "9000002", "Is the square to the left of the circle?", "no", "No, there is no circle.")]
    questions = {}
    for qid, image, question, answer, full in items:
        questions[qid] = {"semantic": [{"operation": "select", "dependencies": [], "argument": "shape (1)"}, {"operation": "query", "dependencies": [0], "argument": "color"}], "entailed": [], "equivalent": [qid],
                          "question": question, "imageId": image, "isBalanced": True, "groups": {"global": None, "local": "10-shape_color"}, "answer": answer, "semanticStr": "select: shape (1)->query: color [0]",
                          "annotations": {"answer": {}, "question": {"4": "1"}, "fullAnswer": {}}, "types": {"detailed": "directOf", "semantic": "attr", "structural": "query"}, "fullAnswer": full}
    put_json("gqa/original/testdev_balanced_questions.json", questions)
    for name, data in pictures.items():
        put(f"gqa/original/images/{name}.jpg", data)
    named = pa.struct([("objectId", pa.string()), ("value", pa.string())])
    columns = {"id": pa.string(), "imageId": pa.string(), "question": pa.string(), "answer": pa.string(), "fullAnswer": pa.string(), "isBalanced": pa.bool_(), "groups": pa.struct([("global", pa.string()), ("local", pa.string())]),
               "entailed": pa.string(), "equivalent": pa.string(), "types": pa.struct([("structural", pa.string()), ("semantic", pa.string()), ("detailed", pa.string())]),
               "annotations": pa.list_(pa.struct([("question", named), ("answer", named), ("fullAnswer", named)])),
               "semantic": pa.list_(pa.struct([("operation", pa.string()), ("argument", pa.string()), ("dependencies", pa.list_(pa.int32()))])), "semanticStr": pa.string()}
    rows = []
    for qid, q in questions.items():
        rows.append({**{k: q[k] for k in ("imageId", "question", "answer", "fullAnswer", "isBalanced", "groups", "types", "semantic", "semanticStr")}, "id": qid, "entailed": "[]", "equivalent": f"['{qid}']", "annotations": []})
    put_parquet("gqa/parquet/testdev_balanced_instructions/testdev-00000-of-00001.parquet", columns, rows)
    put_parquet("gqa/parquet/testdev_balanced_images/testdev-00000-of-00001.parquet", {"id": pa.string(), "image": IMAGE}, [{"id": k, "image": {"bytes": v, "path": f"{k}.jpg"}} for k, v in pictures.items()])
    put_tsv("gqa/tsv/GQA_TestDev_Balanced.tsv", ["index", "image", "question", "answer", "category"], [{"index": i, "image": b64(pictures[im]), "question": q, "answer": a, "category": "attr"} for i, (qid, im, q, a, f) in enumerate(items)])
    expect("gqa/expected.json", [{"id": qid, "imageId": im, "question": q, "answer": a, "image": seen(pictures[im])} for qid, im, q, a, f in items])
    first = questions["20900001"]
    text = json.dumps({"20900001": first, "20900002": questions["20900002"]}, indent=1)
    put("gqa/malformed/cut/testdev_balanced_questions.json", text[:len(text) * 2 // 3])
    bad("gqa/malformed/cut", "original", "gqa", ["testdev_balanced_questions.json", f"line {text[:len(text) * 2 // 3].count(chr(10)) + 1}"], "JSON ends early")
    for case, change, names, why in [("no-image-id", {"imageId": None}, ["20900001", "imageId"], "question without a picture"), ("image-gone", {"imageId": "n999999"}, ["20900001", "n999999"], "picture file not there"),
                                     ("answer-number", {"answer": 7}, ["20900001", "answer"], "answer is a number, not text"), ("no-answer", {"answer": None}, ["20900001", "answer"], "a test split without answers cannot be scored")]:
        put_json(f"gqa/malformed/{case}/testdev_balanced_questions.json", {"20900001": {k: v for k, v in {**first, **change}.items() if v is not None or k not in change}})
        put(f"gqa/malformed/{case}/images/n900001.jpg", pictures["n900001"])
        bad(f"gqa/malformed/{case}", "original", "gqa", ["testdev_balanced_questions.json", *names], why)
    put_json("gqa/malformed/list/testdev_balanced_questions.json", [first])
    bad("gqa/malformed/list", "original", "gqa", ["testdev_balanced_questions.json", "object"], "a list where an object keyed by question id belongs")
    put_parquet("gqa/malformed/no-images/testdev_balanced_instructions/testdev-00000-of-00001.parquet", columns, rows[:1])
    bad("gqa/malformed/no-images", "parquet", "gqa", ["testdev_balanced_images"], "the second table, with the pictures, is not there")
    put_parquet("gqa/malformed/image-not-in-table/testdev_balanced_instructions/testdev-00000-of-00001.parquet", columns, rows[:1])
    put_parquet("gqa/malformed/image-not-in-table/testdev_balanced_images/testdev-00000-of-00001.parquet", {"id": pa.string(), "image": IMAGE}, [{"id": "other", "image": {"bytes": pictures["n900001"], "path": None}}])
    bad("gqa/malformed/image-not-in-table", "parquet", "gqa", ["20900001", "n900001"], "question's picture id not among the pictures")


# ---------------------------------------------------------------- VQA family

def vqa_answers(words):
    return [{"answer": w, "raw_answer": w + ("s" if w.endswith("e") else ""), "answer_confidence": "yes" if i % 3 else "maybe", "answer_id": i + 1} for i, w in enumerate(words)]


VQA_ITEMS = [(900001, 9000015, "What toy is flown in wind like this?", ["kite"] * 6 + ["balloon"] * 2 + ["a kite", "Kite."], ("triangle", "red", "blue")),
             (900002, 9000025, "How many wheels would this need?", ["2", "two", "2", "2", "two", "none", "4", "four", "2", "3"], ("two", "black", "white")),
             (900002, 9000026, "What sport uses these?", ["cycling"] * 4 + ["bike race"] * 3 + ["don't know", "dont know", "racing"], ("two", "black", "white"))]


def vqa(task, questions_name, annotations_name, raw):
    pictures = {image: encode(picture(*shape)) for image, _, _, _, shape in VQA_ITEMS}
    for image, data in pictures.items():
        put(f"{task}/original/val2014/COCO_val2014_{image:012d}.jpg", data)
    head = {"info": {"description": "invented", "version": "0", "year": 2026}, "task_type": "Open-Ended", "data_type": "mscoco", "data_subtype": "val2014", "license": {"name": "none", "url": ""}}
    questions = {**head, "questions": [{"image_id": im, "question": q, "question_id": qid} for im, qid, q, _, _ in VQA_ITEMS]}
    annotations = {**{k: v for k, v in head.items() if k != "task_type"}, "annotations": [
        {"image_id": im, "answer_type": "number" if "How many" in q and not raw else "other", "question_type": "one" if raw else "what is", "question_id": qid,
         "answers": [a if raw else {k: v for k, v in a.items() if k != "raw_answer"} for a in vqa_answers(words)], **({"confidence": 3} if raw else {"multiple_choice_answer": words[0]})} for im, qid, q, words, _ in reversed(VQA_ITEMS)]}
    if raw:
        annotations["question_types"] = {"one": "Vehicles and Transportation"}
    put_json(f"{task}/original/{questions_name}", questions)
    put_json(f"{task}/original/{annotations_name}", annotations)
    if raw:
        columns = {"question_id": pa.string(), "image": IMAGE, "question": pa.string(), "answers": pa.list_(pa.string()), "question_type": pa.string(), "answer_type": pa.string()}
        rows = [{"question_id": str(qid), "image": {"bytes": pictures[im], "path": f"COCO_val2014_{im:012d}.jpg"}, "question": q, "answers": words, "question_type": "one", "answer_type": "other"} for im, qid, q, words, _ in VQA_ITEMS]
        put_parquet(f"{task}/parquet/data/val2014-00000-of-00002.parquet", columns, rows[:2])
        put_parquet(f"{task}/parquet/data/val2014-00001-of-00002.parquet", columns, rows[2:], use_compliant_nested_type=False)
    else:
        entry = pa.struct([("answer", pa.string()), ("answer_confidence", pa.string()), ("answer_id", pa.int64())])
        columns = {"question_type": pa.string(), "multiple_choice_answer": pa.string(), "answers": pa.list_(entry), "image_id": pa.int64(), "answer_type": pa.string(), "question_id": pa.int64(), "question": pa.string(), "image": IMAGE}
        rows = [{"question_type": "what is", "multiple_choice_answer": words[0], "answers": [{k: v for k, v in a.items() if k != "raw_answer"} for a in vqa_answers(words)], "image_id": im, "answer_type": "other", "question_id": qid, "question": q,
                 "image": {"bytes": pictures[im], "path": f"COCO_val2014_{im:012d}.jpg"}} for im, qid, q, words, _ in VQA_ITEMS]
        put_parquet(f"{task}/parquet/data/validation-00000-of-00001.parquet", columns, rows)
    expect(f"{task}/expected.json", [{"question_id": qid, "image_id": im, "question": q, "answers": words, "image": seen(pictures[im])} for im, qid, q, words, _ in VQA_ITEMS])

    def broken(case, change_q, change_a, names, why, picture_there=True, accept=False):
        q, a = json.loads(json.dumps(questions)), json.loads(json.dumps(annotations))
        q["questions"], a["annotations"] = q["questions"][:1], [x for x in a["annotations"] if x["question_id"] == 9000015]
        change_q(q)
        change_a(a)
        put_json(f"{task}/malformed/{case}/{questions_name}", q)
        put_json(f"{task}/malformed/{case}/{annotations_name}", a)
        if picture_there:
            put(f"{task}/malformed/{case}/val2014/COCO_val2014_000000900001.jpg", pictures[900001])
        bad(f"{task}/malformed/{case}", "original", task, names, why, accept)
    keep = lambda x: None
    broken("no-annotation", keep, lambda a: a.update(annotations=[]), [annotations_name, "9000015"], "a question without reference answers")
    broken("extra-annotation", keep, lambda a: a["annotations"].append({**a["annotations"][0], "question_id": 1}), [], "references to a question that is not asked: ignored", accept=True)
    broken("no-answers", keep, lambda a: a["annotations"][0].update(answers=[]), [annotations_name, "9000015", "answers"], "empty list of references: OK-VQA would score 0, TextVQA and VQAv2 stop")
    broken("nine-answers", keep, lambda a: a["annotations"][0].update(answers=a["annotations"][0]["answers"][:9]), [], "fewer than ten references: allowed, the score divides by their number", accept=True)
    broken("answer-text", keep, lambda a: a["annotations"][0]["answers"][4].update(answer=5), [annotations_name, "9000015", "answer"], "a reference that is a number")
    broken("no-questions-key", lambda q: q.pop("questions"), keep, [questions_name, "questions"], "top-level key not there")
    broken("same-id-twice", lambda q: q["questions"].append(q["questions"][0]), keep, [questions_name, "9000015"], "one question id twice")
    broken("no-picture", keep, keep, ["9000015", "COCO_val2014_000000900001.jpg"], "picture file not there", picture_there=False)


# ---------------------------------------------------------------- ScienceQA

def scienceqa():
    circle, square = encode(picture("circle", "green"), "PNG"), encode(picture("square", "black"), "PNG")
    common = {"task": "closed choice", "topic": "physics", "category": "Invented", "skill": "Invented skill", "lecture": "", "solution": "", "split": "test"}
    problems = {"900001": {"question": "Which shape is shown?", "choices": ["circle", "square", "triangle"], "answer": 0, "hint": "Figure: shape.", "image": "image.png", "grade": "grade2", "subject": "natural science", **common},
                "900002": {"question": "Which word is a noun?", "choices": ["run", "kite"], "answer": 1, "hint": "", "image": None, "grade": "grade7", "subject": "language science", **common},
                "900003": {"question": "What is the temperature?\nSelect the better estimate.", "choices": ["5 °C", "50 °C"], "answer": 1, "hint": "", "image": "image.png", "grade": "grade12", "subject": "natural science", **common},
                "900004": {"question": "Which came first?", "choices": ["the kite", "the train", "the plane", "the car", "the rocket"], "answer": 3, "hint": "Read the passage.\nThen answer.", "image": None, "grade": "grade6", "subject": "social science", **{**common, "split": "train"}}}
    pictures = {"900001": circle, "900003": square}
    put_json("scienceqa/original/data/scienceqa/problems.json", problems, indent=2)
    put_json("scienceqa/original/data/scienceqa/pid_splits.json", {"train": ["900004"], "val": [], "test": ["900001", "900002", "900003"], "minival": [], "minitest": ["900002"], "trainval": ["900004"]}, indent=2)
    for pid, data in pictures.items():
        put(f"scienceqa/original/data/scienceqa/images/test/{pid}/image.png", data)
    columns = {"image": IMAGE, "question": pa.string(), "choices": pa.list_(pa.string()), "answer": pa.int8(), "hint": pa.string(), "task": pa.string(), "grade": pa.string(), "subject": pa.string(), "topic": pa.string(), "category": pa.string(),
               "skill": pa.string(), "lecture": pa.string(), "solution": pa.string()}
    rows = [{**{k: p[k] for k in columns if k != "image"}, "image": {"bytes": pictures[pid], "path": "image.png"} if pid in pictures else None} for pid, p in problems.items() if p["split"] == "test"]
    put_parquet("scienceqa/parquet/ScienceQA-FULL/test-00000-of-00001.parquet", columns, rows)
    put_parquet("scienceqa/parquet/ScienceQA-IMG/test-00000-of-00001.parquet", columns, [r for r in rows if r["image"]])
    letters = "ABCDE"
    tsv = [{"index": int(pid), "image": b64(pictures[pid]), "question": p["question"], "hint": p["hint"] or None, **{letters[i]: c for i, c in enumerate(p["choices"])}, "answer": letters[p["answer"]], "category": p["category"], "split": "test"}
           for pid, p in problems.items() if pid in pictures]
    put_tsv("scienceqa/tsv/ScienceQA_TEST.tsv", ["index", "image", "question", "hint", *letters, "answer", "category", "split"], tsv)
    expect("scienceqa/expected.json", [{"id": pid, **{k: p[k] for k in ("question", "choices", "answer", "hint", "grade", "subject")}, "image": seen(pictures[pid]) if pid in pictures else None} for pid, p in problems.items() if p["split"] == "test"])

    def broken(case, change, names, why, splits=None, accept=False):
        problem = {**problems["900002"], **change}
        put_json(f"scienceqa/malformed/{case}/problems.json", {"900002": {k: v for k, v in problem.items() if v != "REMOVE"}}, indent=2)
        put_json(f"scienceqa/malformed/{case}/pid_splits.json", splits or {"test": ["900002"]})
        bad(f"scienceqa/malformed/{case}", "original", "scienceqa", names, why, accept)
    broken("answer-too-large", {"answer": 2}, ["problems.json", "900002", "answer", "2"], "answer index past the last choice")
    broken("answer-minus-one", {"answer": -1}, ["problems.json", "900002", "answer", "-1"], "Python would take the last choice; a loader should refuse")
    broken("answer-letter", {"answer": "B"}, ["problems.json", "900002", "answer"], "letter where an index belongs")
    broken("no-choices", {"choices": []}, ["problems.json", "900002", "choices"], "no choices")
    broken("choices-text", {"choices": "run, kite"}, ["problems.json", "900002", "choices"], "text where a list belongs")
    broken("split-without-problem", {}, ["pid_splits.json", "900099"], "split names an unknown problem", {"test": ["900002", "900099"]})
    broken("no-test-split", {}, ["pid_splits.json", "test"], "split missing", {"train": ["900002"]})
    broken("picture-gone", {"image": "image.png"}, ["900002", "image.png"], "names a picture that is not there")
    broken("no-hint", {"hint": "REMOVE"}, [], "hint missing: as if empty", accept=True)
    broken("empty-image-name", {"image": ""}, [], "some copies write an empty name for no picture", accept=True)
    put("scienceqa/malformed/lone-surrogate/problems.json", '{"900002": {"question": "Which \\ud83d word?", "choices": ["a", "b"], "answer": 0, "hint": "", "image": null, "grade": "grade2", "subject": "language science"}}')
    put_json("scienceqa/malformed/lone-surrogate/pid_splits.json", {"test": ["900002"]})
    bad("scienceqa/malformed/lone-surrogate", "original", "scienceqa", ["problems.json", "line 1"], "half a character: named, not a crash")


# ---------------------------------------------------------------- TextVQA

def textvqa():
    pictures = {"00a1b2c3d4e5f607": encode(picture("square", "yellow", size=(72, 48), text="KITE 42")), "ffeeddccbbaa0099": encode(picture("square", "white", size=(48, 64), text="STOP"))}
    items = [("00a1b2c3d4e5f607", 900101, "what is the number on the sign?", ["42"] * 7 + ["42.", "forty two", "kite 42"], ["KITE", "42"]),
             ("ffeeddccbbaa0099", 900102, "What does the Sign in the USA say?", ["stop"] * 5 + ["STOP", "stop sign", "s t o p", "unanswerable", "answering does not require reading text in the image"], ["STOP"]),
             ("ffeeddccbbaa0099", 900103, "is this a brand?", ["no"] * 9 + ["yes"], ["STOP"])]
    entries = []
    for im, qid, q, answers, _ in items:
        w, h = Image.open(io.BytesIO(pictures[im])).size
        entries.append({"question": q, "image_id": im, "image_classes": ["Traffic sign"], "flickr_original_url": "", "flickr_300k_url": "", "image_width": w, "image_height": h, "answers": answers,
                        "question_tokens": q.lower().rstrip("?").split(), "question_id": qid, "set_name": "val"})
    head = {"dataset_type": "val", "dataset_name": "textvqa", "dataset_version": "0.5.1"}
    put_json("textvqa/original/TextVQA_0.5.1_val.json", {**head, "data": entries})
    put_json("textvqa/original/TextVQA_Rosetta_OCR_v0.2_val.json", {**head, "dataset_version": "0.2", "data": [{"image_id": im, "ocr_tokens": tokens, "ocr_info": [
        {"word": t, "bounding_box": {"top_left_x": 0.1, "top_left_y": 0.3, "width": 0.5, "height": 0.2, "rotation": 0, "roll": 0, "pitch": 0, "yaw": 0}} for t in tokens]} for im, tokens in {i[0]: i[4] for i in items}.items()]})
    for im, data in pictures.items():
        put(f"textvqa/original/train_images/{im}.jpg", data)
    columns = {"image_id": pa.string(), "question_id": pa.int32(), "question": pa.string(), "question_tokens": pa.list_(pa.string()), "image": IMAGE, "image_width": pa.int32(), "image_height": pa.int32(), "flickr_original_url": pa.string(),
               "flickr_300k_url": pa.string(), "answers": pa.list_(pa.string()), "image_classes": pa.list_(pa.string()), "set_name": pa.string(), "ocr_tokens": pa.list_(pa.string())}
    rows = [{**e, "image": {"bytes": pictures[e["image_id"]], "path": f"{e['image_id']}.jpg"}, "ocr_tokens": i[4]} for e, i in zip(entries, items)]
    put_parquet("textvqa/parquet/data/validation-00000-of-00001.parquet", columns, rows, row_group_size=1)
    put_tsv("textvqa/tsv/TextVQA_VAL.tsv", ["index", "image", "question", "answer"], [{"index": qid, "image": b64(pictures[im]), "question": q, "answer": repr(answers)} for im, qid, q, answers, _ in items])
    expect("textvqa/expected.json", [{"question_id": qid, "image_id": im, "question": q, "answers": answers, "ocr_tokens": ocr, "image": seen(pictures[im])} for im, qid, q, answers, ocr in items])

    def broken(case, change, names, why, accept=False):
        value = {**head, "data": [json.loads(json.dumps(entries[0]))]}
        change(value)
        put_json(f"textvqa/malformed/{case}/TextVQA_0.5.1_val.json", value)
        put(f"textvqa/malformed/{case}/train_images/00a1b2c3d4e5f607.jpg", pictures["00a1b2c3d4e5f607"])
        bad(f"textvqa/malformed/{case}", "original", "textvqa", names, why, accept)
    broken("no-data", lambda v: v.pop("data"), ["TextVQA_0.5.1_val.json", "data"], "top-level key missing")
    broken("no-answers", lambda v: v["data"][0].pop("answers"), ["TextVQA_0.5.1_val.json", "900101", "answers"], "a test file has no references: cannot be scored")
    broken("id-text", lambda v: v["data"][0].update(question_id="900101"), [], "question id written as text: accepted", accept=True)
    broken("image-gone", lambda v: v["data"][0].update(image_id="0000000000000000"), ["900101", "0000000000000000"], "picture not there")
    broken("no-ocr", lambda v: None, [], "without the OCR file: fine, the default prompt does not use it", accept=True)


# ---------------------------------------------------------------- POPE

def pope():
    pictures = {"COCO_val2014_000000900001.jpg": encode(picture("circle", "red")), "COCO_val2014_000000900002.jpg": encode(picture("square", "green"))}
    lists = {"random": [("Is there a circle in the image?", "yes"), ("Is there a zebra in the image?", "no")], "popular": [("Is there a circle in the image?", "yes"), ("Is there a chair in the image?", "no")],
             "adversarial": [("Is there a circle in the image?", "yes"), ("Is there an oval mirror in the image?", "no")]}
    rows, expected = [], []
    for category, questions in lists.items():
        end = "\n" if category == "random" else "\r\n"     # as in the release: two of the three files have Windows line ends
        lines = []
        for k, (name, (text, label)) in enumerate([(n, q) for n in pictures for q in questions]):
            text = text.replace("circle", "square") if name.endswith("2.jpg") else text
            lines.append(json.dumps({"question_id": k + 1, "image": name, "text": text, "label": label}))
            rows.append({"id": str(len(rows)), "question_id": str(k + 1), "question": text, "answer": label, "image_source": name[:-4], "image": {"bytes": pictures[name], "path": None}, "category": category})
            expected.append({"category": category, "question_id": k + 1, "image": {"name": name, **seen(pictures[name])}, "question": text, "answer": label})
        put(f"pope/original/output/coco/coco_pope_{category}.json", end.join(lines) + end)
    for name, data in pictures.items():
        put(f"pope/original/val2014/{name}", data)
    columns = {"id": pa.string(), "question_id": pa.string(), "question": pa.string(), "answer": pa.string(), "image_source": pa.string(), "image": IMAGE, "category": pa.string()}
    order = sorted(rows, key=lambda r: (["adversarial", "popular", "random"].index(r["category"])))
    for shard in range(3):
        put_parquet(f"pope/parquet/data/test-0000{shard}-of-00003.parquet", columns, order[shard * 4:shard * 4 + 4])
    for category in lists:
        put_parquet(f"pope/parquet/Full/{category}-00000-of-00001.parquet", columns, [r for r in rows if r["category"] == category])
    merged = {}
    for r in rows:
        key = (r["image_source"], r["question"])
        merged.setdefault(key, {"question": r["question"], "answer": r["answer"].title(), "image_path": r["image_source"] + ".jpg", "image": b64(r["image"]["bytes"]), "categories": []})["categories"].append(r["category"])
    put_tsv("pope/tsv/POPE.tsv", ["index", "question", "answer", "category", "image_path", "image"], [{"index": i, **m, "category": ",".join(sorted(m["categories"]))} for i, m in enumerate(merged.values())])
    expect("pope/expected.json", expected)

    def broken(case, lines, names, why, accept=False):
        put(f"pope/malformed/{case}/coco_pope_random.json", "\n".join(lines) + "\n")
        put(f"pope/malformed/{case}/val2014/COCO_val2014_000000900001.jpg", pictures["COCO_val2014_000000900001.jpg"])
        bad(f"pope/malformed/{case}", "original", "pope", names, why, accept)
    ok = json.dumps({"question_id": 1, "image": "COCO_val2014_000000900001.jpg", "text": "Is there a circle in the image?", "label": "yes"})
    file = "coco_pope_random.json"
    broken("bad-line", [ok, ok[:-9]], [file, "line 2"], "second line is not JSON")
    broken("label", [ok, ok.replace('"yes"', '"maybe"')], [file, "line 2", "maybe"], "label neither yes nor no")
    broken("no-text", [ok.replace('"text"', '"question"')], [file, "line 1", "text"], "field missing")
    broken("image-gone", [ok, ok.replace("900001.jpg", "900009.jpg")], [file, "line 2", "COCO_val2014_000000900009.jpg"], "picture not there")
    broken("blank-lines", [ok, "", ok.replace('"question_id": 1', '"question_id": 2'), ""], [], "blank lines are skipped", accept=True)
    broken("array", ["[" + ok + "]"], [file, "line 1"], "a JSON array where one object a line belongs: name the form expected")
    broken("llava-answers", [json.dumps({"question_id": 1, "prompt": "Is there a circle in the image?", "text": "Yes", "answer_id": "x", "model_id": "m", "metadata": {}})], [file, "line 1", "label"], "an answers file given as the questions file")


# ---------------------------------------------------------------- classification

def opcode_pickle(batch_label, labels, data, filenames):
    """CIFAR's python batches as Python 2 wrote them: byte strings, protocol 2, one NumPy array."""
    text = lambda s: b"U" + bytes([len(s)]) + s if len(s) < 256 else b"T" + struct.pack("<i", len(s)) + s
    whole = lambda n: b"K" + bytes([n]) if n < 256 else b"M" + struct.pack("<H", n)
    array = (b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + text(b"b") + b"\x87R" + b"(K\x01" + whole(len(labels)) + whole(len(data) // max(len(labels), 1)) + b"\x86"
             + b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R" + b"(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb" + b"\x89" + b"T" + struct.pack("<i", len(data)) + data + b"tb")
    return (b"\x80\x02}q\x01(" + text(b"batch_label") + text(batch_label) + text(b"labels") + b"](" + b"".join(whole(n) for n in labels) + b"e" + text(b"data") + array
            + text(b"filenames") + b"](" + b"".join(text(f) for f in filenames) + b"eu.")


def cifar():
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    drawn = [(3, picture("circle", "red", "white", (32, 32))), (9, picture("square", "blue", "yellow", (32, 32))), (0, picture("triangle", "green", "black", (32, 32)))]
    planes = [bytes(im.getchannel(c).tobytes()[i] for c in "RGB" for i in range(1024)) for _, im in drawn]
    put("cifar10/binary/cifar-10-batches-bin/batches.meta.txt", "\n".join(names) + "\n\n")
    put("cifar10/binary/cifar-10-batches-bin/data_batch_1.bin", b"".join(bytes([label]) + p for (label, _), p in zip(drawn[:2], planes)))
    put("cifar10/binary/cifar-10-batches-bin/test_batch.bin", bytes([drawn[2][0]]) + planes[2])
    labels, files = [label for label, _ in drawn], [b"cat_s_000001.png", b"truck_s_000002.png", b"airplane_s_000003.png"]
    put("cifar10/python/cifar-10-batches-py/data_batch_1", opcode_pickle(b"training batch 1 of 5", labels[:2], b"".join(planes[:2]), files[:2]))
    put("cifar10/python/cifar-10-batches-py/test_batch", opcode_pickle(b"testing batch 1 of 1", labels[2:], planes[2], files[2:]))
    expect("cifar10/expected.json", [{"split": "train" if i < 2 else "test", "label": label, "name": names[label], "corner": list(im.getpixel((0, 0))), "centre": list(im.getpixel((16, 16)))} for i, (label, im) in enumerate(drawn)])
    base = "cifar10/malformed"
    put(f"{base}/short/data_batch_1.bin", (bytes([3]) + planes[0]) + (bytes([9]) + planes[1])[:-100])
    bad(f"{base}/short", "binary", "cifar10", ["data_batch_1.bin", "3073", "record 1"], "length is no multiple of 3073")
    put(f"{base}/label/data_batch_1.bin", bytes([3]) + planes[0] + bytes([11]) + planes[1])
    bad(f"{base}/label", "binary", "cifar10", ["data_batch_1.bin", "record 1", "11"], "label past 9")
    put(f"{base}/cifar100/train.bin", bytes([3, 77]) + planes[0])
    bad(f"{base}/cifar100", "binary", "cifar10", ["train.bin", "3074"], "a CIFAR-100 file (coarse and fine label)")
    evil = b"\x80\x02cposix\nsystem\nU\x04true\x85R."
    put(f"{base}/pickle-code/data_batch_1", evil)
    bad(f"{base}/pickle-code", "python", "cifar10", ["data_batch_1", "posix"], "a pickle that calls code: refuse, never run")


def folders():
    jpeg = lambda *a: encode(picture(*a))
    # ImageNet-1k: training folders by synset, the 50,000 validation pictures flat with labels kept apart
    put("imagenet/train/n09000001/n09000001_1.JPEG", jpeg("circle", "red"))
    put("imagenet/train/n09000002/n09000002_7.JPEG", jpeg("square", "blue"))
    put("imagenet/val-flat/ILSVRC2012_val_00000001.JPEG", jpeg("square", "green"))
    put("imagenet/val-flat/ILSVRC2012_val_00000002.JPEG", jpeg("circle", "yellow", "black"))
    put("imagenet/val-flat/ILSVRC2012_val_00000003.JPEG", encode(picture("circle", "red").convert("CMYK")))
    put("imagenet/val-flat/ILSVRC2012_val_00000004.JPEG", encode(picture("square", "red"), "PNG"))
    put("imagenet/devkit/ILSVRC2012_validation_ground_truth.txt", "1\n2\n2\n1\n")
    put("imagenet/devkit/synsets.tsv", "ILSVRC2012_ID\tWNID\twords\n1\tn09000002\tsquare thing\n2\tn09000001\tround thing\n")
    put("imagenet/kaggle/LOC_val_solution.csv", "ImageId,PredictionString\nILSVRC2012_val_00000002,n09000001 1 1 60 44\nILSVRC2012_val_00000001,n09000002 1 2 3 4 n09000002 5 6 7 8\nILSVRC2012_val_00000004,n09000002 1 2 3 4\nILSVRC2012_val_00000003,n09000001 1 2 3 4\n")
    put("imagenet/kaggle/LOC_synset_mapping.txt", "n09000001 round thing, ball\nn09000002 square thing\n")
    expect("imagenet/expected.json", [{"file": f"ILSVRC2012_val_0000000{i + 1}.JPEG", "wnid": w, "label": ["n09000001", "n09000002"].index(w)} for i, w in enumerate(["n09000002", "n09000001", "n09000001", "n09000002"])])
    bad("imagenet/val-flat", "folder", "imagenet", ["no class folders", "LOC_val_solution.csv"], "flat validation folder given without labels: say which file would give them")
    # Food-101
    for name, shape in (("round_cake/101", "circle"), ("square_cake/202", "square")):
        put(f"food101/images/{name}.jpg", jpeg(shape, "yellow", "red"))
    put("food101/images/round_cake/303.jpg", jpeg("circle", "red", "yellow"))
    put("food101/meta/classes.txt", "round_cake\nsquare_cake\n")
    put("food101/meta/labels.txt", "Round cake\nSquare cake\n")
    put("food101/meta/train.txt", "round_cake/101\nsquare_cake/202\n")
    put("food101/meta/test.txt", "round_cake/303")
    put_json("food101/meta/train.json", {"round_cake": ["round_cake/101"], "square_cake": ["square_cake/202"]})
    # Oxford-IIIT Pet: class from the file name, lists with 1-based ids, stray files among the pictures
    for name, shape in (("Round_Cat_1", "circle"), ("Round_Cat_2", "circle"), ("square_dog_10", "square")):
        put(f"pets/images/{name}.jpg", jpeg(shape, "black"))
    put("pets/images/Round_Cat_2.jpg", encode(picture("circle", "black"), "GIF"))
    put("pets/images/Round_Cat_100.mat", b"MATLAB 5.0 MAT-file, not a picture")
    put("pets/annotations/list.txt", "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n#SPECIES: 1:Cat 2:Dog\n#BREED ID: 1-25:Cat 1:12:Dog\n#All images with 1st letter as captial are cat images\n#images with small first letter are dog images\nRound_Cat_1 1 1 1\nRound_Cat_2 1 1 1\nsquare_dog_10 2 2 1\n")
    put("pets/annotations/trainval.txt", "Round_Cat_1 1 1 1\nsquare_dog_10 2 2 1\n")
    put("pets/annotations/test.txt", "Round_Cat_2 1 1 1\n")
    # Caltech-256: numbered folders, clutter last, a nested folder and a stray file as in the release
    for path, shape in (("001.round-thing/001_0001", "circle"), ("002.square-thing/002_0001", "square"), ("257.clutter/257_0001", "two")):
        put(f"caltech256/256_ObjectCategories/{path}.jpg", jpeg(shape, "red"))
    put("caltech256/256_ObjectCategories/001.round-thing/greg/001_0002.jpg", jpeg("circle", "blue"))
    put("caltech256/256_ObjectCategories/002.square-thing/RENAME2", "#!/bin/sh\n")
    # any folder per class
    for name, shape in (("round/a", "circle"), ("round/b", "circle"), ("square/a", "square")):
        put(f"folders/train/{name}.png", encode(picture(shape, "green"), "PNG"))
    put("folders/val/round/c.png", encode(picture("circle", "blue"), "PNG"))
    put("folders/val/square/c.webp", encode(picture("square", "blue"), "WEBP"))
    put("folders/train/.DS_Store", b"\0\0\0\1Bud1")
    put("folders/train/round/Thumbs.db", b"\xd0\xcf\x11\xe0")
    put("folders-malformed/class-missing/train/round/a.png", encode(picture("circle", "green"), "PNG"))
    put("folders-malformed/class-missing/val/square/a.png", encode(picture("square", "green"), "PNG"))
    bad("folders-malformed/class-missing", "folder", "folders", ["val", "square"], "validation has a class that training lacks")
    put("folders-malformed/broken-picture/train/round/a.png", encode(picture("circle", "green"), "PNG")[:60])
    put("folders-malformed/broken-picture/val/round/a.png", encode(picture("circle", "green"), "PNG"))
    bad("folders-malformed/broken-picture", "folder", "folders", ["round/a.png"], "picture cut short")
    put("folders-malformed/no-pictures/train/round/readme.txt", "nothing")
    bad("folders-malformed/no-pictures", "folder", "folders", ["round", "no pictures"], "class folder without a picture")


def main():
    mme()
    gqa()
    vqa("ok_vqa", "OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json", True)
    vqa("vqav2", "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json", False)
    scienceqa()
    textvqa()
    pope()
    cifar()
    folders()
    put("malformed.json", "[\n" + ",\n".join(" " + json.dumps(b, ensure_ascii=False) for b in BAD) + "\n]\n")


if __name__ == "__main__":
    main()

"""Runs both programs, and reads what they print."""

import json
import os
import subprocess
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[1]
# Tests of parts import the package from here, wherever they are started.
sys.path.insert(0, str(PYTHON))
# Seconds; a software GPU and two processes on two cores take a tenth of it.
LIMIT = 600

# 12 steps per stage, 36 in all.
LONG = [f"--set=stages.{i}.1.steps=12" for i in range(3)]


def hive(*words):
    """The Rust program, which HIVE_BIN names: what it printed. One that is asked to stop ends with exit code 1."""
    binary = os.environ.get("HIVE_BIN")
    if not binary:
        raise AssertionError(
            "HIVE_BIN must name the Rust program: build it with cargo build, then HIVE_BIN=target/debug/hive"
        )
    return _run([os.path.abspath(binary), "train", "--questions", "0", *words])


def torch(*words, processes=0):
    """This package, alone or under torchrun."""
    start = [sys.executable, "-m"]
    if processes:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    return _run([*start, "hive_torch.train", *words])


def _run(words):
    env = {**os.environ, "PYTHONPATH": str(PYTHON), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=LIMIT, env=env)
    stopped = "--kill-after" in words and "without saving, as asked" in done.stderr
    if done.returncode and not stopped:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout


def steps(text):
    """Loss and gradient norm by stage and step, of what --json prints."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {(line["stage"], line["step"]): (line["loss"], line["grad_norm"]) for line in lines if "step" in line}


def compare(test, one, other, close):
    """Losses within `close` at all steps that `other` has, and gradient norms within 2 %.

    AdamW hardly notices a gradient that is too long: losses alone would not tell.
    """
    test.assertTrue(other, "no step was printed")
    missing = set(other) - set(one)
    test.assertFalse(missing, f"steps of one program alone: {sorted(missing)}")
    loss = max(abs(one[at][0] - other[at][0]) for at in other)
    norm = max(abs(other[at][1] / one[at][1] - 1.0) for at in other)
    print(
        f"\n  {test.id()}: losses differ by at most {loss:.1e}, gradient norms by {norm:.1e} of themselves", flush=True
    )
    test.assertLess(loss, close)
    test.assertLess(norm, 0.02)

"""The command line: `python -m hive_torch.train`, alone or under `torchrun`."""

import argparse
import json
import os
import signal
import struct
import sys
import time
from pathlib import Path

from . import checkpoint, config, source
from .errors import HiveError, LocalError
from .parallel import Group
from .run import Run, read_captions

ABOUT = """Trains the stages of a preset one after the other and writes OUT/checkpoint.safetensors every --save-every
steps and at the end of each stage. The file goes on here with --resume, and in the Rust program with hive train
--resume. Ctrl-C ends a run after its step, saved. Start it with torchrun to share each batch among processes and
machines."""

# Options that a resumed run has its own of.
FIXED = ("preset", "set", "seed", "steps", "start")


def options(words):
    """The command line's options."""
    p = argparse.ArgumentParser(
        "hive_torch.train", description=ABOUT, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--preset", metavar="NAME|FILE", help="such as tiny, or a JSON file; of a folder: pictures")
    p.add_argument(
        "--data", metavar="FOLDER", help="a folder with a LLaVA conversation list and pictures, or such a list"
    )
    p.add_argument("--out", metavar="FOLDER", default="out", help="where the checkpoint is written (default: out)")
    p.add_argument("--set", metavar="KEY=VALUE", action="append", help="changes one key of the preset")
    p.add_argument("--seed", type=int, metavar="N", help="of data and start values")
    p.add_argument("--steps", type=int, metavar="N", help="cuts each stage to N steps")
    p.add_argument("--save-every", type=int, metavar="N", default=200, help="steps between saves (default: 200)")
    p.add_argument("--resume", metavar="FILE", help="goes on from a checkpoint of either program")
    # torchrun takes --start for an abbreviation of an option of its own.
    p.add_argument("--start-weights", "--start", dest="start", metavar="FILE", help="a checkpoint with start weights")
    p.add_argument("--force", action="store_true", help="replaces a checkpoint of another run in OUT")
    p.add_argument("--json", action="store_true", help="one line of JSON per step")
    p.add_argument(
        "--fsdp", action="store_true", help="parts the model over the processes (FSDP2) instead of copying it (DDP)"
    )
    p.add_argument(
        "--kill-after", type=int, metavar="N", help="stops after N steps of a stage without saving, to try --resume"
    )
    args = p.parse_args(words)
    for name in FIXED:
        if args.resume and getattr(args, name) is not None:
            p.error(f"--{name} does not go with --resume: the run goes on with its own. Leave one of both out")
    if not (args.preset or args.resume or args.data):
        p.error("say what to train: --preset NAME, or --resume FILE")
    for name in ("seed", "steps", "save_every", "kill_after"):
        value = getattr(args, name)
        if value is not None and value < (0 if name == "seed" else 1):
            p.error(f"--{name.replace('_', '-')} is {value}; it must be at least {0 if name == 'seed' else 1}")
    if args.seed is not None and args.seed >= 1 << 64:
        p.error(f"--seed is {args.seed}; it must be below 2^64")
    return args


def assets():
    """The folder of presets and start weights: HIVE_ASSETS, or the one of the repository that this file is in."""
    folder = Path(os.environ.get("HIVE_ASSETS") or Path(__file__).resolve().parents[2] / "assets")
    if not (folder / "presets").is_dir():
        raise HiveError(f"there are no presets in {folder}: name the repository's folder assets in HIVE_ASSETS")
    return folder


def find_preset(args):
    """`--preset` with `--set`, `--seed` and `--steps` applied."""
    preset = config.load_preset(
        args.preset or "pictures", "" if (args.preset or "").endswith(".json") else assets() / "presets"
    )
    for pair in args.set or []:
        preset = config.with_key(preset, pair)
    if args.seed is not None:
        preset.seed = args.seed
    if args.steps is not None:
        for _, recipe in preset.stages:
            recipe.steps = min(recipe.steps, args.steps)
    return preset


def start_weights(args, preset):
    """Weights that the run begins with, by name."""
    if args.start:
        return checkpoint.load(args.start).weights
    if preset.data == "folder":
        return {}
    return checkpoint.load(assets() / "models" / f"{preset.data}-start.safetensors").weights


def begin(args, group, ended):
    """A new run. `ended` says whether it was asked to end."""
    preset = find_preset(args)
    if not preset.stages:
        raise HiveError("the preset has no stages, so that there is nothing to train")
    if args.data:
        # Imported here: pictures need Pillow, generated data do not.
        from . import folder

        start = start_weights(args, preset)
        data = folder.source(args.data, preset, None, group)
        # A folder has words of its own: of the start weights only the tower can serve.
        tower = {n: t for n, t in start.items() if n.startswith("vision_model.")}
        return Run.begin(preset, data, read_captions(preset, data, tower, group, ended), group)
    if preset.data == "folder":
        raise HiveError("the run learns from a folder of pictures: give it with --data FOLDER")
    data = source.made(preset)
    return Run.begin(preset, data, start_weights(args, preset), group)


def resume(args, group):
    """A run that a checkpoint holds."""
    earlier = checkpoint.load(args.resume)
    preset = earlier.meta.preset
    if args.data:
        from . import folder

        data = folder.source(args.data, preset, earlier.meta, group)
    elif preset.data == "folder":
        raise HiveError("the run learns from a folder of pictures: give it again, with --data FOLDER")
    else:
        data = source.made(preset)
        if data.tokenizer.words != earlier.meta.tokenizer.words:
            raise HiveError(
                f"the words of {args.resume} are not those of {preset.data}: give a checkpoint trained on it"
            )
    return Run.resume(earlier, data, group)


class Job:
    """What a run does besides training: it says, saves and ends."""

    def __init__(self, args, group):
        self.args, self.group = args, group
        self.path = Path(args.out) / "checkpoint.safetensors"
        self.asked_to_end = 0

    def claim(self):
        """Makes the folder; a checkpoint of another run stays."""
        resumed = self.args.resume and Path(self.args.resume).resolve() == self.path.resolve()
        if self.path.exists() and not self.args.force and not resumed:
            raise HiveError(
                f"{self.path} is there, of an earlier run. Go on with it (--resume {self.path}), choose another --out, "
                "or replace it with --force"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise LocalError(f"cannot make the folder {self.path.parent}: {e.strerror}. Choose another --out") from e
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)

    def _end(self, number, _frame):
        self.asked_to_end = number

    def save(self, run):
        """Writes the run as it is."""
        made = run.checkpoint()
        if self.group.first:
            made.save(self.path)

    def say(self, text):
        """From one process alone."""
        if self.group.first:
            print(text, flush=True)

    def tell(self, stage, report, steps):
        """A step."""
        if self.args.json:
            bits = struct.unpack("<I", struct.pack("<f", report.loss))[0]
            line = {"stage": stage, "step": report.update, "loss": report.loss, "bits": bits}
            self.say(json.dumps({**line, "grad_norm": report.grad_norm, "learning_rate": report.learning_rate}))
        else:
            self.say(
                f"stage {stage}, step {report.update} of {steps}: loss {report.loss:.4f}, gradient norm"
                f" {report.grad_norm:.3f}"
            )

    def stage(self, run, stage):
        """All steps of a stage that are left."""
        steps, here = run.meta.preset.stage(stage).steps, 0
        while report := run.step():
            self.tell(stage, report, steps)
            here += 1
            if self.args.kill_after == here:
                raise HiveError(f"stopped after {here} steps without saving, as asked")
            # All processes end together.
            ends = self.group.sum([self.asked_to_end])[0] > 0
            if report.update < steps and (ends or report.update % self.args.save_every == 0):
                self.save(run)
            if ends and report.update < steps:
                self.stop()

    def stop(self):
        """Ends a run that was asked to."""
        again = f"--resume {self.path} --out {self.args.out}" + (f" --data {self.args.data}" if self.args.data else "")
        self.say(f"stopped, and saved. Go on with: python -m hive_torch.train {again}")
        raise SystemExit(128 + (self.asked_to_end or signal.SIGTERM))


def work(args, group):
    """The whole command."""
    job = Job(args, group)
    job.claim()
    began = time.monotonic()
    run = resume(args, group) if args.resume else begin(args, group, lambda: job.asked_to_end)
    left = run.left()
    for stage in left:
        if not (run.trainer and run.meta.stage == stage):
            run.enter(stage)
        job.stage(run, stage)
        run.leave()
        job.save(run)
    if not left:
        job.say("nothing was trained: the run has these stages behind it already")
        return
    job.say(f"wrote {job.path} after {time.monotonic() - began:.1f} s")


def main(words=None):
    """Shows what a user can do something about as a sentence."""
    args = options(words)
    try:
        group = Group(args.fsdp)
        work(args, group)
    except HiveError as e:
        if os.environ.get("LOCAL_RANK", "0") == "0" or isinstance(e, LocalError):
            print(f"hive_torch.train: {e}", file=sys.stderr, flush=True)
        else:
            # When one process ends, torchrun ends all: not before the sentence is out.
            time.sleep(2)
        sys.stdout.flush()
        os._exit(1)
    group.close()


if __name__ == "__main__":
    main()

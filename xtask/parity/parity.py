"""The Python half of `cargo xtask parity`.

`parity.py make DIR --seed N --dtype float32` writes random checkpoints, adapters, training steps,
tokenizers and reward models with what transformers, PEFT and TRL make of them; the tests of the
workspace compare. `parity.py check DIR` loads what the tests wrote back, and compares that. Lines of
DIR/results.tsv are `what<TAB>difference<TAB>bound`.
"""

import argparse
import filecmp
import importlib.util
import json
import pathlib
import shutil
import sys

import peft
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2] / "crates"
MODEL = ROOT / "afd-model" / "testdata"
BOUND = 1e-4


def script(path):
    """The module in a file of that path; they are all called make.py."""
    spec = importlib.util.spec_from_file_location("_".join(path.parts[-3:-1]), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(MODEL / "families"))
import make as families  # noqa: E402

adapters = script(MODEL / "adapters" / "make.py")
trl = script(MODEL / "trl" / "make.py")
tokenizers = script(ROOT / "afd-data" / "testdata" / "tokenizers" / "make.py")
scores = script(ROOT / "afd-reward" / "testdata" / "score" / "make.py")


def make(args):
    seeds = lambda seed: 1_000_003 * (args.seed + 1) + seed
    families.GREEDY_TOKENS = 64
    lengthen(families.CASES)
    for name in ["families", "adapters", "trl", "tokenizers", "score"]:
        shutil.rmtree(args.dir / name, ignore_errors=True)
        (args.dir / name).mkdir(parents=True)
    bases = args.dir / "families"
    families.make(bases, seeds, getattr(torch, args.dtype))
    adapters.make(args.dir / "adapters", bases, seeds)
    trl.make(args.dir / "trl", bases)
    tokenizers.make(args.dir / "tokenizers", args.seed)
    scores.make(args.dir / "score", args.seed)


def lengthen(cases):
    """Room for 64 tokens after the prompt, where that is not part of what is tested."""
    for name, _, options, _ in cases:
        if name != "llama-rope-dynamic":
            options["max_position_embeddings"] = max(128, options["max_position_embeddings"])


def record(args, what, difference):
    with open(args.dir / "results.tsv", "a") as file:
        file.write(f"{what}\t{difference:e}\t{BOUND:e}\n")


def check(args):
    ours = args.dir / "ours"
    kinds = {name: family for name, family, _, _ in families.CASES}
    expected = json.loads((args.dir / "families" / "expected.json").read_text())
    for name, case in expected["cases"].items():
        kind, _ = families.classes(name, kinds[name])
        model = families.load(kind, ours / "families" / name)
        actual = families.compute(name, model, expected["sequences"])
        record(args, f"{name}: our files in transformers", families.difference(case, actual))
    bases = args.dir / "families"
    expected = json.loads((args.dir / "adapters" / "expected.json").read_text())
    for name, case in expected["cases"].items():
        base = adapters.load_base(case["base"], bases)
        model = peft.PeftModel.from_pretrained(base, ours / "adapters" / name).eval()
        actual = families.compute(name, model, expected["sequences"])
        record(args, f"{name}, adapter: our files in PEFT", families.difference(case, actual))
    for directory in sorted((ours / "adapted").iterdir()):
        base = adapters.load_base(directory.name, bases)
        model = peft.PeftModel.from_pretrained(base, directory).eval()
        actual = families.compute(directory.name, model, expected["sequences"])
        logits = torch.tensor(json.loads((directory / "logits.json").read_text()))
        difference = (logits - torch.tensor(actual["last_logits"])).abs().max().item()
        record(args, f"{directory.name}, adapter of ours: in PEFT", difference)
    chat(args)


def chat(args):
    """Renders every template anew; the tests of afd-data hold ours against what is kept."""
    kept = ROOT / "afd-data" / "testdata" / "chat"
    copy = args.dir / "chat"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(kept, copy)
    script(copy / "make.py")
    files = [p.relative_to(kept) for p in kept.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    same, other, missing = filecmp.cmpfiles(kept, copy, [str(f) for f in files], shallow=False)
    record(args, f"chat templates: {len(same)} files rendered anew", float(len(other + missing)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["make", "check"])
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    {"make": make, "check": check}[args.task](args)


if __name__ == "__main__":
    main()

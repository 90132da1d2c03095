"""Makes the adapters and expected numbers beside this file with Hugging Face PEFT.

Run:  pip install torch==2.9.0 transformers==5.23.0 peft==0.21.2 numpy && python make.py
Made with Python 3.11, torch 2.9.0 (CPU), transformers 5.23.0, peft 0.21.2.

The models are those of ../families. Every factor and every module trained in full is Gaussian, so
that nothing is zero and a forgotten one shows. Everything is computed in f32 with eager attention,
one sequence at a time. "gradients" are those of the mean negative log-likelihood of all answer
tokens, without dropout, as Euclidean norms by the tensor's name in the file.
"""

import json
import pathlib
import shutil
import sys

import peft
import torch
import transformers

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE.parent / "families"
sys.path.insert(0, str(FAMILIES))
import make as families  # noqa: E402

STD = 0.3
# (name, checkpoint of ../families, LoraConfig's options)
CASES = [
    ("llama", "llama-rope-linear", dict(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"])),
    (
        "qwen3",
        "qwen3",
        dict(
            r=2,
            lora_alpha=3,
            target_modules="all-linear",
            use_rslora=True,
            rank_pattern={"down_proj": 3},
            alpha_pattern={"q_proj": 5, "layers.0.mlp.up_proj": 7},
        ),
    ),
    # Fused, and the other way round; `c_proj` is in attention and in the feed-forward block.
    ("gpt2", "gpt2", dict(r=3, lora_alpha=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    ("neox", "neox", dict(r=2, lora_alpha=4, target_modules=["query_key_value", "dense"])),
    ("phi3", "phi3", dict(r=2, lora_alpha=2, target_modules="all-linear")),
    ("mistral", "mistral", dict(r=2, lora_alpha=2, target_modules=["o_proj"], modules_to_save=["lm_head"])),
    (
        "gemma2-score",
        "gemma2-score",
        dict(r=2, lora_alpha=4, target_modules=["q_proj", "o_proj"], modules_to_save=["score"]),
    ),
    ("gpt2-score", "gpt2-score", dict(r=2, lora_alpha=4, target_modules="all-linear", fan_in_fan_out=True)),
]
KINDS = {name: family for name, family, _, _ in families.CASES}


def load_base(case, bases=FAMILIES):
    kind, _ = families.classes(case, KINDS[case])
    return families.load(kind, bases / case)


def gradients(model, sequences):
    total = 0.0
    count = 0
    for sequence in sequences:
        log_probs, _ = families.answer_log_probs(model, sequence)
        total, count = total - log_probs.sum(), count + len(log_probs)
    loss = total / count
    loss.backward()
    norms = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            name = name.replace(".default", "").replace(".modules_to_save", "")
            norms[name] = parameter.grad.norm().item()
    return loss.item(), norms


def make(out=HERE, bases=FAMILIES, seeds=lambda seed: seed):
    """Writes every adapter to `out`, on models in `bases`, drawn from another seed if asked."""
    sequences = json.loads((bases / "expected.json").read_text())["sequences"]
    cases = {}
    for seed, (name, base, options) in enumerate(CASES):
        task = "SEQ_CLS" if families.is_score(name) else "CAUSAL_LM"
        config = peft.LoraConfig(task_type=task, lora_dropout=0.0, **options)
        model = peft.get_peft_model(load_base(base, bases), config)
        generator = torch.Generator().manual_seed(seeds(seed))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * STD)
        directory = out / name
        shutil.rmtree(directory, ignore_errors=True)
        model.base_model.model.config._name_or_path = base
        config.base_model_name_or_path = base
        model.save_pretrained(directory, save_embedding_layers=False)
        (directory / "README.md").unlink(missing_ok=True)
        # What is expected comes from the files.
        model = peft.PeftModel.from_pretrained(load_base(base, bases), directory, is_trainable=True)
        model.eval()
        cases[name] = {"base": base, **families.compute(name, model, sequences)}
        if not families.is_score(name):
            loss, norms = gradients(model, sequences)
            cases[name].update(loss=loss, gradients=norms)
        print(name, sorted(p.name for p in directory.iterdir()))
    expected = {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
        "sequences": sequences,
        "cases": cases,
    }
    text = families.one_line_per_list(expected)
    (out / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    make()

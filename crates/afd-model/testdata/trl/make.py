"""Makes the expected losses and gradients beside this file with Hugging Face TRL.

Run:  pip install torch==2.9.0 transformers==5.23.0 trl==1.16.0 numpy && python make.py
Made with Python 3.11, torch 2.9.0 (CPU), transformers 5.23.0, trl 1.16.0.

One batch of `SFTTrainer` (completion-only loss) and one of `RewardTrainer` on models and token ids
of ../families, before the first step. "gradients" are Euclidean norms by parameter.
"""

import json
import pathlib
import sys
import tempfile

import datasets
import tokenizers
import torch
import transformers
import trl

HERE = pathlib.Path(__file__).parent
FAMILIES = HERE.parent / "families"
sys.path.insert(0, str(FAMILIES))
import make as families  # noqa: E402


def tokenizer():
    """Nothing is tokenised; the trainers ask for padding and end token."""
    vocabulary = {f"t{i}": i for i in range(families.COMMON["vocab_size"])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="t2"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="t0", eos_token="t1"
    )


def step(trainer):
    model = trainer.model
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    gradients = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.item(), "gradients": gradients}


def make(out=HERE, bases=FAMILIES):
    sequences = json.loads((bases / "expected.json").read_text())["sequences"]
    kinds = {name: family for name, family, _, _ in families.CASES}
    load = lambda name: families.load(families.classes(name, kinds[name])[0], bases / name)
    with tempfile.TemporaryDirectory() as directory:
        options = dict(
            output_dir=directory,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=len(sequences),
            max_length=None,
        )
        rows = []
        for row in sequences:
            answer = len(row["ids"]) - row["prompt_len"]
            mask = [0] * row["prompt_len"] + [1] * answer
            rows.append({"input_ids": row["ids"], "completion_mask": mask})
        sft = trl.SFTTrainer(
            model=load("qwen2"),
            args=trl.SFTConfig(completion_only_loss=True, **options),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=tokenizer(),
        )
        pairs = [
            {"chosen_ids": chosen["ids"], "rejected_ids": rejected["ids"]}
            for chosen, rejected in zip(sequences, sequences[1:] + sequences[:1])
        ]
        reward = trl.RewardTrainer(
            model=load("qwen3-score"),
            args=trl.RewardConfig(**options),
            train_dataset=datasets.Dataset.from_list(pairs),
            processing_class=tokenizer(),
        )
        expected = {
            "versions": {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "trl": trl.__version__,
            },
            "sequences": sequences,
            "sft": {"base": "qwen2", **step(sft)},
            "reward": {"base": "qwen3-score", **step(reward)},
        }
    (out / "expected.json").write_text(families.one_line_per_list(expected) + "\n")


if __name__ == "__main__":
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    make()

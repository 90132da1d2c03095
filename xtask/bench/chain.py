"""The other side of `cargo xtask bench pipeline`: what `afd pipeline` does, with transformers and TRL.

`chain.py RUN OUT` reads the data and the resolved configuration of a run of ours, and does what its stages do
with one reward model, Init-SFT: fine-tune the initial policy (`SFTTrainer`), have both policies answer, train a
reward model on pairs of their answers (`RewardTrainer`, with the objective of `[reward]`), score answers by it
and by the log-ratio of the policies, and choose the best of N. The last line is JSON: seconds of each part, and
tokens drawn. What it leaves out of ours: diagnostics of the reward model.
"""

import argparse
import json
import math
import pathlib
import time
import tomllib

import datasets
import torch
import transformers
import trl
from torch.nn import functional


def read(path, *fields):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{field: row[field] for field in fields} for row in rows]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def options(table, examples, folder, save_steps):
    """Of a trainer, by the keys of a table of ours: they are named as Hugging Face's."""
    same = [
        "learning_rate", "lr_scheduler_type", "num_train_epochs", "per_device_train_batch_size",
        "gradient_accumulation_steps", "per_device_eval_batch_size", "weight_decay", "adam_beta1", "adam_beta2",
        "adam_epsilon", "max_grad_norm", "logging_steps", "eval_steps", "gradient_checkpointing",
        "load_best_model_at_end", "max_length",
    ]  # fmt: skip
    batch = table["per_device_train_batch_size"] * table["gradient_accumulation_steps"]
    steps = math.ceil(examples / batch)
    return {
        **{key: table[key] for key in same},
        "output_dir": str(folder),
        "warmup_steps": math.ceil(table["warmup_ratio"] * steps * table["num_train_epochs"]),
        "train_sampling_strategy": "group_by_length" if table.get("group_by_length") else "random",
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "save_steps": save_steps,
        "save_total_limit": 1,
        "optim": "adamw_torch_fused",
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


def causal(base):
    return transformers.AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="sdpa"
    )


def sft(config, base, tokenizer, data, folder):
    dataset = lambda name: datasets.Dataset.from_list(read(data / f"{name}.jsonl", "prompt", "completion"))
    rows, table = [dataset("sft"), dataset("validation")], config["sft"]
    trainer = trl.SFTTrainer(
        model=causal(base),
        processing_class=tokenizer,
        train_dataset=rows[0],
        eval_dataset=rows[1],
        args=trl.SFTConfig(
            **options(table, len(rows[0]), folder, table["save_steps"]),
            completion_only_loss=table["completion_only_loss"],
        ),
    )
    trainer.train()
    trainer.save_model(str(folder))
    return trainer.model.eval()


@torch.inference_mode()
def answers(model, tokenizer, prompts, each, config):
    """`each` answers to each prompt, as ids; prompts of similar length stand together."""
    tokenizer.padding_side = "left"
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    drawn = [None] * len(prompts)
    at_a_time = max(1, config["generation_batch_size"] // each)
    for start in range(0, len(order), at_a_time):
        chosen = order[start : start + at_a_time]
        batch = tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True)
        ids = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            temperature=config["temperature"],
            top_k=config["top_k"],
            top_p=config["top_p"],
            num_return_sequences=each,
            max_new_tokens=config["max_completion_length"],
        )[:, batch["input_ids"].shape[1] :].tolist()
        for number, i in enumerate(chosen):
            drawn[i] = [cut(answer, tokenizer) for answer in ids[number * each : (number + 1) * each]]
    return drawn


def cut(ids, tokenizer):
    """Up to the end token, with it."""
    end = tokenizer.eos_token_id
    return ids[: ids.index(end) + 1] if end in ids else ids


def text(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True)


class OriginTrainer(trl.RewardTrainer):
    """Each answer on its own: did the chosen side write it?"""

    label_smoothing = 0.0

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs, use_cache=False)
        logits = outputs.logits.squeeze(-1)
        labels = torch.zeros_like(logits)
        labels[: len(labels) // 2] = 1.0
        labels = labels * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        return (loss, outputs) if return_outputs else loss


def reward(config, base, tokenizer, pairs, folder):
    table = config["reward"]
    tokenizer.padding_side = "right"
    held_out = round(table["eval_fraction"] * len(pairs))
    # Ours has pairs of similar length together in any case.
    tokens = lambda prompt, answer: len(tokenizer(prompt + answer)["input_ids"])
    length = lambda pair: max(tokens(pair["prompt"], pair[side]) for side in ["chosen", "rejected"])
    pairs = [pair | {"length": length(pair)} for pair in pairs]
    rows = [datasets.Dataset.from_list(part) for part in [pairs[held_out:], pairs[:held_out]]]
    grouped = table | {"group_by_length": True}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=torch.float32, attn_implementation="sdpa"
    )
    # The trainer keeps the best of what it has saved, so it saves whenever it evaluates.
    trainer = OriginTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows[0],
        eval_dataset=rows[1],
        args=trl.RewardConfig(
            **options(grouped, len(rows[0]), folder, table["eval_steps"]), remove_unused_columns=False
        ),
    )
    trainer.label_smoothing = table["label_smoothing"]
    trainer.train()
    trainer.save_model(str(folder))
    return trainer.model.eval()


@torch.inference_mode()
def by_batches(rows, size, pad, work):
    """What `work(ids, mask, numbers)` says of each row, in batches of rows of similar length."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    said = [None] * len(rows)
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(rows[i]) for i in numbers], batch_first=True, padding_value=pad
        )
        lengths = torch.tensor([len(rows[i]) for i in numbers])
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        for i, value in zip(numbers, work(ids, mask, numbers), strict=True):
            said[i] = value
    return said


def scores(model, tokenizer, prompts, drawn, size):
    rows = [
        tokenizer(prompt + text(tokenizer, ids))["input_ids"] + [tokenizer.eos_token_id]
        for prompt, answers in zip(prompts, drawn, strict=True)
        for ids in answers
    ]
    score = lambda ids, mask, _: model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].tolist()
    return by_batches(rows, size, tokenizer.pad_token_id, score)


def log_ratios(policy, initial, tokenizer, prompts, drawn, size):
    rows, starts = [], []
    for prompt, answers in zip(prompts, drawn, strict=True):
        head = tokenizer(prompt)["input_ids"]
        rows += [head + ids for ids in answers]
        starts += [len(head)] * len(answers)

    def work(ids, mask, numbers):
        first = torch.tensor([starts[i] for i in numbers])
        is_answer = mask[:, 1:] * (torch.arange(1, ids.shape[1])[None] >= first[:, None])

        def total(model):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
            nll = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            return -(nll * is_answer).sum(1)

        return (total(policy) - total(initial)).tolist()

    return by_batches(rows, size, tokenizer.pad_token_id, work)


def best_of_n(tokenizer, prompts, drawn, scored, n):
    """Of the first N answers to each prompt the one with the highest score."""
    rows, first = [], 0
    for prompt, answers in zip(prompts, drawn, strict=True):
        own = scored[first : first + n]
        best = max(range(len(own)), key=own.__getitem__)
        completion = text(tokenizer, answers[best])
        rows.append({"prompt": prompt, "completion": completion, "index": best, "score": own[best]})
        first += len(answers)
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    transformers.set_seed(0)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    config = tomllib.loads((args.run / "config.toml").read_text())
    base, data, out, sample = config["model"]["path"], args.run / "data", args.out, config["sample"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    seconds, last = {}, time.perf_counter()

    def done(part):
        nonlocal last
        now = time.perf_counter()
        seconds[part], last = now - last, now

    policy = sft(config, base, tokenizer, data, out / "sft")
    initial = causal(base).eval()
    done("sft")

    of = lambda name: [row["prompt"] for row in read(data / f"{name}.jsonl", "prompt")]
    prompts = {"reward": of("reward"), "test": of("test")}
    asked = {
        "init-reward": (initial, "reward", sample["reward_num_generations"]),
        "sft-reward": (policy, "reward", sample["reward_num_generations"]),
        "init": (initial, "test", sample["init_num_generations"]),
        "sft": (policy, "test", sample["test_num_generations"]),
    }
    drawn = {}
    for name, (model, of, each) in asked.items():
        drawn[name] = answers(model, tokenizer, prompts[of], each, sample)
        rows = [
            {"prompt": prompt, "completion": text(tokenizer, ids), "completion_ids": ids}
            for prompt, own in zip(prompts[of], drawn[name], strict=True)
            for ids in own
        ]
        write(out / "samples" / f"{name}.jsonl", rows)
    done("samples")

    both = zip(prompts["reward"], drawn["sft-reward"], drawn["init-reward"], strict=True)
    pairs = [
        {"prompt": p, "chosen": text(tokenizer, chosen[0]), "rejected": text(tokenizer, rejected[0])}
        for p, chosen, rejected in both
    ]
    write(out / "pairs.jsonl", pairs)
    model = reward(config, base, tokenizer, pairs, out / "reward")
    done("reward")

    size = config["reward"]["per_device_eval_batch_size"]
    scored = {
        "init-sft": scores(model, tokenizer, prompts["test"], drawn["sft"], size),
        "closed-form": log_ratios(policy, initial, tokenizer, prompts["test"], drawn["sft"], size),
    }
    done("scores")

    for name, values in scored.items():
        best = best_of_n(tokenizer, prompts["test"], drawn["sft"], values, config["best_of_n"]["n"])
        write(out / "best-of-n" / f"{name}.jsonl", best)
    done("best-of-n")
    tokens = sum(len(ids) for of in drawn.values() for own in of for ids in own)
    print(json.dumps({"seconds": seconds, "drawn_tokens": tokens}))


if __name__ == "__main__":
    main()

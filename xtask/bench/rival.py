"""The other side of `cargo xtask bench`: one measurement with transformers and PyTorch.

`rival.py WORK --precision f32 --shape 128/4/4/2048 …` makes a Llama of that shape with random weights, does
one kind of work, and ends with a line of JSON: tokens a second and the process's peak memory in bytes. What
trains says `first step` when its first optimiser step is done. The options, the batches and the number of
tokens are those of `afd bench --one`, on the same random ids; `rl` is TRL's RLOOTrainer, with a reference.

In bf16, training is `torch.autocast` over f32 weights, as `precision.compute = "bf16"` is; scoring and
sampling load the weights in bf16. Nothing is compiled (`torch.compile`), as nothing is on our side.
"""

import argparse
import contextlib
import json
import pathlib
import resource
import tempfile
import time

import torch
import transformers
from torch.nn import functional

WARM_UP = 2  # optimiser steps before the clock starts
BATCHES = 4  # batches that are scored
RATE = 1e-4  # the learning rate
BETA = 0.05  # reward given up for a nat of KL


def config(args, **more):
    return transformers.LlamaConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.width,
        intermediate_size=args.width * 8 // 3,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.heads,
        max_position_embeddings=args.length,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        attn_implementation="sdpa",
        **more,
    )


def rows(args, count):
    """Rows of the length asked for, `[count, length]`."""
    return (torch.arange(count * args.length) * 7919 % args.vocabulary).view(count, args.length)


def autocast(args):
    if args.precision == "bf16":
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def first_step():
    print("first step", flush=True)


def train(args, model, loss_of):
    """Tokens a second of optimiser steps, each on the next `batch_size` rows."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, eps=1e-8, weight_decay=0.0, fused=True)
    batches = rows(args, args.batch_size * (WARM_UP + args.steps)).split(args.batch_size)
    for step, batch in enumerate(batches):
        if step == WARM_UP:
            start = time.perf_counter()
        with autocast(args):
            loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if step == 0:
            first_step()
    return args.steps * args.batch_size * args.length / (time.perf_counter() - start)


def sft(args):
    model = transformers.LlamaForCausalLM(config(args))
    return train(args, model, lambda model, batch: model(input_ids=batch, labels=batch, use_cache=False).loss)


def reward(args):
    """Pairs, the chosen half first; each answer on its own: did the chosen side write it?"""
    model = transformers.LlamaForSequenceClassification(config(args, num_labels=1))

    def loss(model, batch):
        mask = torch.ones_like(batch)
        scores = model(input_ids=batch, attention_mask=mask, use_cache=False).logits[:, 0].float()
        labels = (torch.arange(len(batch)) < len(batch) // 2).float()
        return functional.binary_cross_entropy_with_logits(scores, labels)

    return train(args, model, loss)


def without_gradients(args):
    model = transformers.LlamaForCausalLM(config(args)).eval()
    return model.to(torch.bfloat16) if args.precision == "bf16" else model


def per_second(amount, work):
    """What `work` does a second once it is warm."""
    with torch.inference_mode():
        work()
        start = time.perf_counter()
        work()
    return amount / (time.perf_counter() - start)


def score(args):
    model = without_gradients(args)
    batches = rows(args, BATCHES * args.batch_size).split(args.batch_size)

    def work():
        for batch in batches:
            logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
            nll = functional.cross_entropy(logits.transpose(1, 2).float(), batch[:, 1:], reduction="none")
            nll.neg().tolist()

    return per_second(BATCHES * args.batch_size * args.length, work)


def sample(args):
    model = without_gradients(args)
    prompt = max(1, args.length // 4)
    prompts = rows(args, args.batch_size)[:, :prompt]
    new = args.length - prompt

    def work():
        model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=args.answers,
            min_new_tokens=new,
            max_new_tokens=new,
            use_cache=True,
        )

    return per_second(args.batch_size * args.answers * new, work)


def tokenizer(args):
    """A word for each id."""
    import tokenizers

    vocabulary = {f"t{i}": i for i in range(args.vocabulary)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="t0"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="t0", eos_token="t1", padding_side="left"
    )


class Laps(transformers.TrainerCallback):
    """When each optimiser step was done."""

    def __init__(self):
        self.laps = []

    def on_step_end(self, args, state, control, **kwargs):
        self.laps.append(time.perf_counter())
        if len(self.laps) == 1:
            first_step()


def rl(args):
    """Draw, score by policy and reference, step once: TRL's RLOO on `batch_size` answers."""
    import datasets
    import trl

    prompt = max(1, args.length // 4)
    steps = WARM_UP + args.steps
    prompts = rows(args, steps * args.batch_size // args.answers)[:, :prompt].tolist()
    texts = [" ".join(f"t{i}" for i in ids) for ids in prompts]
    even = lambda completion_ids, **_: [sum(i % 2 == 0 for i in ids) / len(ids) for ids in completion_ids]
    laps = Laps()
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "model"
        transformers.LlamaForCausalLM(config(args)).save_pretrained(model)
        trainer = trl.RLOOTrainer(
            model=str(model),
            reward_funcs=even,
            processing_class=tokenizer(args),
            train_dataset=datasets.Dataset.from_dict({"prompt": texts}),
            callbacks=[laps],
            args=trl.RLOOConfig(
                output_dir=folder,
                model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
                use_cpu=True,
                bf16=args.precision == "bf16",
                per_device_train_batch_size=args.batch_size,
                num_generations=args.answers,
                max_completion_length=args.length - prompt,
                generation_kwargs={"min_new_tokens": args.length - prompt},
                max_steps=steps,
                learning_rate=RATE,
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=1.0,
                optim="adamw_torch_fused",
                beta=BETA,
                gradient_checkpointing=False,
                pad_to_multiple_of=None,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
        )
        trainer.train()
    seconds = (laps.laps[-1] - laps.laps[WARM_UP - 1]) / args.steps
    return args.batch_size * args.length / seconds


def peak_memory():
    """Of this process, in bytes."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def versions():
    import platform

    import trl

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
    }


def main():
    works = {"sft": sft, "reward": reward, "rl": rl, "sample": sample, "score": score}
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=[*works, "versions"])
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--shape", default="256/6/8/8192")
    parser.add_argument("--threads", type=int, default=0)
    for name, default in {"--batch-size": 8, "--length": 256, "--answers": 8, "--steps": 5}.items():
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    if args.work == "versions":
        print(json.dumps(versions()))
        return
    args.width, args.layers, args.heads, args.vocabulary = map(int, args.shape.split("/"))
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    idle = peak_memory()
    rate = works[args.work](args)
    print(json.dumps({"rate": rate, "peak_memory": peak_memory(), "idle_memory": idle}))


if __name__ == "__main__":
    main()

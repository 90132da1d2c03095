"""Makes the checkpoints and expected numbers beside this file with Hugging Face transformers.

Run:  pip install torch==2.9.0 transformers==5.23.0 numpy && python make.py
Made with Python 3.11, torch 2.9.0 (CPU), transformers 5.23.0, safetensors 0.8.0.

Everything is computed in f32, one sequence at a time, without padding or a cache.
`expected.json` also holds a reference for one and three steps of AdamW ("train_step").
"""

import json
import pathlib
import shutil

import safetensors
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

HERE = pathlib.Path(__file__).parent
PAD, END = 0, 1

# Far from the usual 0.02: attention is not uniform and no part is lost in another's rounding.
WEIGHT_STD = 0.3

COMMON = dict(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    pad_token_id=PAD,
    bos_token_id=2,
    eos_token_id=END,
    attn_implementation="eager",
)
TIED = dict(COMMON, head_dim=4, tie_word_embeddings=True, rms_norm_eps=1e-5)
TIED["rope_parameters"] = {"rope_type": "default", "rope_theta": 10_000.0}
# Heads that do not add up to the width, and an epsilon large enough to be seen.
UNTIED = dict(COMMON, head_dim=6, tie_word_embeddings=False, rms_norm_eps=1e-2)
UNTIED["rope_parameters"] = {"rope_type": "default", "rope_theta": 500_000.0}
SCORE = dict(TIED, num_labels=1)

# (length of the prompt, length with answer and end token)
LENGTHS = [(3, 7), (11, 19), (25, 40)]


def make_sequences():
    generator = torch.Generator().manual_seed(1)
    sequences = []
    for prompt_len, length in LENGTHS:
        ids = torch.randint(2, COMMON["vocab_size"], (length - 1,), generator=generator)
        sequences.append({"ids": ids.tolist() + [END], "prompt_len": prompt_len})
    return sequences


def randomise(model, seed):
    """Gaussian matrices; norms scatter around one, so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * WEIGHT_STD
            parameter.copy_(noise if parameter.dim() > 1 else 1 + noise)


def save(model, name):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    return directory


def save_version_4_config(name):
    """The same config as transformers 4 wrote it: no weights, only `config.json`."""
    config = json.loads((HERE / name / "config.json").read_text())
    rope = config.pop("rope_parameters")
    assert rope["rope_type"] == "default"
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.57.0"
    directory = HERE / f"{name}-v4"
    directory.mkdir(exist_ok=True)
    text = json.dumps(config, indent=2, sort_keys=True)
    (directory / "config.json").write_text(text + "\n")


def load(kind, directory):
    return kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()


def answer_log_probs(model, sequence):
    """Of every answer token that has a predecessor, and the logits after the last token."""
    ids = torch.tensor([sequence["ids"]])
    logits = model(input_ids=ids, use_cache=False).logits[0]
    first = max(sequence["prompt_len"], 1)
    log_probs = torch.log_softmax(logits[first - 1 : -1], dim=-1)
    return log_probs.gather(1, ids[0, first:, None])[:, 0], logits[-1]


def loss_of(model, sequences):
    """Nats per answer token over all sequences."""
    log_probs = torch.cat([answer_log_probs(model, s)[0] for s in sequences])
    return -log_probs.sum() / len(log_probs)


def train_step(model, sequences):
    model.train()  # no dropout anywhere: the same numbers
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.999),
        eps=1e-8,
    )
    losses, norms = [], []
    for _ in range(3):
        loss = loss_of(model, sequences)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    losses.append(loss_of(model, sequences).item())
    return {
        "loss": losses[0],
        "grad_norm": norms[0],
        "loss_after_one_step": losses[1],
        "loss_after_three_steps": losses[3],
        "third_grad_norm": norms[2],
    }


def main():
    sequences = make_sequences()
    expected = {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "safetensors": safetensors.__version__,
        },
        "sequences": sequences,
    }
    train = {
        "learning_rate": 1e-2,
        "betas": [0.9, 0.999],
        "epsilon": 1e-8,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
    }
    models = [("llama-tied", TIED, torch.float32, 2), ("llama-untied", UNTIED, torch.bfloat16, 3)]
    for name, options, dtype, seed in models:
        model = LlamaForCausalLM(LlamaConfig(**options))
        randomise(model, seed)
        directory = save(model.to(dtype), name)
        save_version_4_config(name)
        model = load(LlamaForCausalLM, directory)
        with torch.no_grad():
            pairs = [answer_log_probs(model, s) for s in sequences]
        expected[name] = {
            "last_logits": [logits.tolist() for _, logits in pairs],
            "log_probs": [log_probs.tolist() for log_probs, _ in pairs],
        }
        train[name] = train_step(model, sequences)

    model = LlamaForSequenceClassification(LlamaConfig(**SCORE))
    randomise(model, 4)
    model = load(LlamaForSequenceClassification, save(model, "llama-score"))
    with torch.no_grad():
        scores = [model(input_ids=torch.tensor([s["ids"]])).logits[0, 0].item() for s in sequences]
    expected["llama-score"] = {"scores": scores}
    expected["train_step"] = train
    (HERE / "expected.json").write_text(one_line_per_list(expected) + "\n")


def one_line_per_list(value, indent=""):
    if isinstance(value, dict):
        inner = indent + "  "
        items = [f"{inner}{json.dumps(k)}: {one_line_per_list(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
        inner = indent + "  "
        items = [inner + json.dumps(v) for v in value]
        return "[\n" + ",\n".join(items) + f"\n{indent}]"
    return json.dumps(value)


if __name__ == "__main__":
    main()

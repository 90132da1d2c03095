"""Makes the checkpoints and expected numbers beside this file with Hugging Face transformers.

Run:  pip install torch==2.9.0 transformers==5.23.0 numpy && python make.py
Then, in another environment, for the `config-v4.json` of every case:
      pip install torch==2.9.0 transformers==4.57.0 numpy && python make.py
Then, in the first environment again:  python make.py check
Made with Python 3.11, torch 2.9.0 (CPU), transformers 5.23.0 and 4.57.0, safetensors 0.8.0.

Everything is computed in f32 with eager attention, one sequence at a time, without padding or a
cache; only "greedy" uses a cache. It continues "greedy_prompt" by the arg max of the logits alone:
no end token stops it, and none turns up. Both versions read the same weights. The second run also
compares what version 4 makes of them, the last what version 5 makes of `config-v4.json`; both stop
where a number differs by more than 1e-5.

`llama-rope-dynamic` depends on the length n of the sequence that a forward pass sees, which is the
largest position plus one, not the model's context: up to max_position_embeddings (24), the base is
rope_theta. Beyond, it becomes
    rope_theta * (factor * n / max_position_embeddings - (factor - 1)) ** (dim / (dim - 2))
for all positions of that pass, `dim` being the rotated width of a head. transformers keeps the
larger base until a pass shorter than max_position_embeddings (n = 24 would not reset it), so the
order of passes can matter: every number here comes from a model that begins with the unscaled
base. With a cache, the keys of earlier steps keep the rotation of the step that made them; "greedy"
has 8 + 24 tokens and crosses 24 that way (the tokens would be the same without a cache).
"""

import copy
import itertools
import json
import pathlib
import shutil
import sys
import tempfile

import safetensors
import torch
import transformers

HERE = pathlib.Path(__file__).parent
VERSION = int(transformers.__version__.split(".")[0])
PAD, END = 0, 1
TOLERANCE = 1e-5

# Far from the usual 0.02: attention is not uniform and no part is lost in another's rounding.
WEIGHT_STD = 0.3

# (length of the prompt, length with answer and end token)
LENGTHS = [(3, 7), (11, 19), (25, 40)]
GREEDY_PROMPT, GREEDY_TOKENS = 8, 24
# Between the two best logits of every greedy step: rounding must not choose the token.
GREEDY_MARGIN = 1e-2

COMMON = dict(
    vocab_size=32,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    pad_token_id=PAD,
    bos_token_id=2,
    eos_token_id=END,
    attn_implementation="eager",
)
# Epsilons large enough to be seen, and bases that are no default.
GATED = dict(COMMON, intermediate_size=24, rms_norm_eps=1e-2, num_key_value_heads=2)
GATED["rope_parameters"] = {"rope_type": "default", "rope_theta": 1000.0}

# GPT-2 keeps its dropout of 0.1, as real checkpoints do: nothing here trains.
GPT2 = dict(COMMON, layer_norm_epsilon=1e-2)
# Wide heads, for more than two frequencies.
LLAMA = dict(GATED, head_dim=8, tie_word_embeddings=False)
MISTRAL = dict(GATED, head_dim=6, sliding_window=6, tie_word_embeddings=False)
QWEN2 = dict(GATED, tie_word_embeddings=True, use_sliding_window=False)
QWEN2_WINDOW = dict(QWEN2, use_sliding_window=True, sliding_window=5, max_window_layers=1)
QWEN3 = dict(GATED, head_dim=6, tie_word_embeddings=False)
GEMMA = dict(GATED, head_dim=6, num_key_value_heads=1)
GEMMA2 = dict(
    GATED,
    num_hidden_layers=4,
    head_dim=6,
    sliding_window=5,
    attn_logit_softcapping=5.0,
    final_logit_softcapping=3.0,
    query_pre_attn_scalar=9,
)
GEMMA3 = dict(
    GATED,
    num_hidden_layers=4,
    head_dim=6,
    sliding_window=5,
    sliding_window_pattern=2,
    query_pre_attn_scalar=9,
    rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    },
)
# 32 wide, so that half a head still has two frequencies.
PARTIAL = {"rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.5}
NEOX = dict(
    COMMON,
    hidden_size=32,
    intermediate_size=40,
    layer_norm_eps=1e-2,
    use_parallel_residual=True,
    tie_word_embeddings=False,
    rope_parameters=PARTIAL,
)
PHI3 = dict(GATED, sliding_window=6, tie_word_embeddings=False)
PHI3["rope_parameters"] = dict(GATED["rope_parameters"], partial_rotary_factor=1.0)
PHI3_PARTIAL = dict(PHI3, hidden_size=32, rope_parameters=PARTIAL)


def llama_rope(theta=1000.0, positions=64, **rope):
    rope = dict(rope, rope_theta=theta)
    return dict(LLAMA, max_position_embeddings=positions, rope_parameters=rope)


def llama3_rope(original, head_dim):
    options = llama_rope(
        theta=500_000.0,
        positions=128,
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=original,
    )
    return dict(options, head_dim=head_dim)


# (name, family, options in the dialect of version 5, seed). The seeds are chosen for the margin
# and for some variety in the greedy tokens.
CASES = [
    ("gpt2", "GPT2", GPT2, 1610),
    ("gpt2-score", "GPT2", GPT2, 11),
    # Wavelengths in the middle band and the low one ...
    ("llama-rope-llama3", "Llama", llama3_rope(original=16, head_dim=8), 512),
    # ... and in all three: 6.3 is kept, 56 smoothed, 499 and more divided.
    ("llama-rope-llama3-bands", "Llama", llama3_rope(original=64, head_dim=12), 1713),
    ("llama-rope-linear", "Llama", llama_rope(rope_type="linear", factor=2.5), 1314),
    ("llama-rope-dynamic", "Llama", llama_rope(rope_type="dynamic", factor=2.0, positions=24), 115),
    ("llama-bias", "Llama", dict(LLAMA, head_dim=4, attention_bias=True, mlp_bias=True), 116),
    ("mistral", "Mistral", MISTRAL, 1817),
    ("mistral-score", "Mistral", MISTRAL, 18),
    ("qwen2", "Qwen2", QWEN2, 1319),
    ("qwen2-window", "Qwen2", QWEN2_WINDOW, 220),
    ("qwen2-score", "Qwen2", QWEN2, 21),
    ("qwen3", "Qwen3", QWEN3, 1022),
    ("qwen3-score", "Qwen3", QWEN3, 23),
    ("gemma", "Gemma", GEMMA, 124),
    ("gemma-score", "Gemma", GEMMA, 25),
    ("gemma2", "Gemma2", GEMMA2, 126),
    ("gemma2-score", "Gemma2", GEMMA2, 27),
    ("gemma3", "Gemma3", GEMMA3, 1428),
    ("gemma3-score", "Gemma3", GEMMA3, 29),
    ("neox", "GPTNeoX", NEOX, 630),
    ("neox-sequential", "GPTNeoX", dict(NEOX, use_parallel_residual=False), 331),
    ("neox-score", "GPTNeoX", NEOX, 32),
    ("phi3", "Phi3", PHI3, 33),
    ("phi3-partial", "Phi3", PHI3_PARTIAL, 634),
    ("phi3-score", "Phi3", PHI3, 35),
]


def is_score(name):
    return name.endswith("-score")


def classes(name, family):
    """The class of the model and that of its config."""
    if is_score(name):
        text = "Gemma3Text" if family == "Gemma3" else family
        model = f"{text}ForSequenceClassification"
    else:
        model = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    config = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    return getattr(transformers, model), getattr(transformers, config)


def version_4_options(family, options):
    """The same options as version 4 calls them."""
    options = dict(options)
    rope = options.pop("rope_parameters", None)
    if rope is None:
        return options
    if family == "Gemma3":
        options["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    theta, partial = ("rope_theta", "partial_rotary_factor")
    if family == "GPTNeoX":
        theta, partial = ("rotary_emb_base", "rotary_pct")
    rope = dict(rope)
    options[theta] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        options[partial] = rope.pop("partial_rotary_factor")
    options["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    return options


def make_config(name, family, options):
    options = copy.deepcopy(options)
    if VERSION == 4:
        options = version_4_options(family, options)
    if is_score(name):
        options["num_labels"] = 1
    return classes(name, family)[1](**options)


def make_sequences():
    generator = torch.Generator().manual_seed(1)
    sequences = []
    for prompt_len, length in LENGTHS:
        ids = torch.randint(2, COMMON["vocab_size"], (length - 1,), generator=generator)
        sequences.append({"ids": ids.tolist() + [END], "prompt_len": prompt_len})
    return sequences


def randomise(model, seed):
    """Gaussian matrices and biases; norms scatter around one, so that a forgotten one shows.

    Gemma's norms add one to their weight, which scatters around zero.
    """
    generator = torch.Generator().manual_seed(seed)
    offset = 0 if model.config.model_type.startswith("gemma") else 1
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * WEIGHT_STD
            is_norm = parameter.dim() == 1 and not name.endswith("bias")
            parameter.copy_(offset + noise if is_norm else noise)


def save(model, directory):
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)


def load(kind, directory):
    model, report = kind.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    assert model.config._attn_implementation == "eager"
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is not None:
        assert (head.weight is embedding.weight) == model.config.tie_word_embeddings
    return model.eval()


def answer_log_probs(model, sequence):
    """Of every answer token that has a predecessor, and the logits after the last token."""
    ids = torch.tensor([sequence["ids"]])
    logits = model(input_ids=ids, use_cache=False).logits[0]
    first = max(sequence["prompt_len"], 1)
    log_probs = torch.log_softmax(logits[first - 1 : -1], dim=-1)
    return log_probs.gather(1, ids[0, first:, None])[:, 0], logits[-1]


def greedy(model, prompt):
    """The tokens that `generate` appends to `prompt`, and the smallest margin of a choice."""
    model.generation_config.eos_token_id = None
    positions = model.config.max_position_embeddings
    tokens = GREEDY_TOKENS if positions >= len(prompt) + GREEDY_TOKENS else 24
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=tokens,
        use_cache=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    ids = output.sequences[0, len(prompt) :].tolist()
    best = torch.cat(output.logits).topk(2).values
    assert len(ids) == tokens
    return ids, (best[:, 0] - best[:, 1]).min().item()


@torch.no_grad()
def compute(name, model, sequences):
    if is_score(name):
        ids = [torch.tensor([s["ids"]]) for s in sequences]
        scores = [model(input_ids=i, use_cache=False).logits[0, 0].item() for i in ids]
        return {"kind": "score", "scores": scores}
    pairs = [answer_log_probs(model, s) for s in sequences]
    return {
        "kind": "causal",
        "last_logits": [logits.tolist() for _, logits in pairs],
        "log_probs": [log_probs.tolist() for log_probs, _ in pairs],
    }


def difference(expected, actual):
    """The largest between two results, which must be of one shape."""
    numbers = ["scores"] if expected["kind"] == "score" else ["last_logits", "log_probs"]
    largest = 0.0
    for key in numbers:
        for a, b in zip(expected[key], actual[key], strict=True):
            delta = torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)
            assert delta.isfinite().all()
            largest = max(largest, delta.abs().max().item())
    return largest


def make(out=HERE, seeds=lambda seed: seed, dtype=torch.float32):
    """Writes every case to `out`, its weights drawn from another seed and stored in another type if
    asked."""
    sequences = make_sequences()
    prompt = sequences[1]["ids"][:GREEDY_PROMPT]
    cases = {}
    for name, family, options, seed in CASES:
        kind = classes(name, family)[0]
        # The seeds below are chosen for the margin; others are tried one after the other.
        for attempt in itertools.count():
            model = kind(make_config(name, family, options))
            randomise(model, seeds(seed) + attempt)
            save(model.to(dtype), out / name)
            if is_score(name):
                break
            ids, margin = greedy(load(kind, out / name), prompt)
            if margin > GREEDY_MARGIN or out == HERE:
                break
        # A fresh model: the last sequence moves the base of llama-rope-dynamic.
        cases[name] = compute(name, load(kind, out / name), sequences)
        if is_score(name):
            continue
        cases[name]["greedy"] = ids
        if out != HERE:
            continue
        print(f"{name:24} margin {margin:.4f}  {len(set(ids)):2} tokens  {ids}")
        assert margin > GREEDY_MARGIN and not {PAD, END} & set(ids), name
    expected = {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "safetensors": safetensors.__version__,
        },
        "sequences": sequences,
        "greedy_prompt": prompt,
        "cases": cases,
    }
    (out / "expected.json").write_text(one_line_per_list(expected) + "\n")


def save_version_4_config(name, family, options):
    """As transformers 4 writes it, but for one key: hubs are full of `torch_dtype`."""
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        save(classes(name, family)[0](make_config(name, family, options)), directory)
        config = json.loads((directory / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype", config.get("torch_dtype"))
    text = json.dumps(config, indent=2, sort_keys=True)
    (HERE / name / "config-v4.json").write_text(text + "\n")


def check():
    """Compares what this version makes of `config-v4.json` with what is expected."""
    expected = json.loads((HERE / "expected.json").read_text())
    largest = {}
    for name, family, _, _ in CASES:
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            shutil.copy(HERE / name / "config-v4.json", directory / "config.json")
            shutil.copy(HERE / name / "model.safetensors", directory)
            kind = classes(name, family)[0]
            model = load(kind, directory)
            actual = compute(name, model, expected["sequences"])
            if not is_score(name):
                ids, _ = greedy(load(kind, directory), expected["greedy_prompt"])
                same = ids == expected["cases"][name]["greedy"]
                assert same or VERSION == 4, f"{name}: {ids}"
                note = "" if same else "  greedy differs"
            else:
                note = ""
        largest[name] = difference(expected["cases"][name], actual)
        print(f"{name:24} differs by {largest[name]:.1e}{note}")
    assert max(largest.values()) <= TOLERANCE


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


def main():
    transformers.utils.logging.disable_progress_bar()
    if VERSION == 4:
        for name, family, options, _ in CASES:
            save_version_4_config(name, family, options)
        check()
    elif sys.argv[1:] == ["check"]:
        check()
    else:
        make()


if __name__ == "__main__":
    main()

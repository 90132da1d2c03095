"""Makes the reward models beside this file, and the scores that transformers gives texts by them.

    python make.py          (torch 2.9.0, transformers 5.23, tokenizers 0.23)

Three classifiers of random weights, each with a tokenizer of its own, of a kind of afd-data's
`testdata/tokenizers/make.py`:

    llama3    a begin token before every text, and a token that is nothing but padding
    gpt2      neither: the end token is the padding, as real checkpoints of GPT-2 have it
    llama2    a begin token, and a space before every text

In `cases.json`, "rows" are prompts and completions, and "models" has for each of them the scores of
all rows: whole, then cut by `truncation=True` with a `max_length` and a `truncation_side`. What is
scored is `prompt + completion + tokenizer.eos_token`, as `AutoTokenizer` makes ids of it; the score
is `AutoModelForSequenceClassification`'s of each text alone, and this file stops where those of the
batches of all texts, padded on the right and on the left, depart from it by more than 1e-5.

`config.json` names the padding, by which transformers finds the token that a score is read at. So
an end token that is the padding too is passed over, and the score read at the token before it.

llama2's tokenizer is the file's (`PreTrainedTokenizerFast`), for the class of transformers 5 puts
another space in places; afd-data's make.py says where.
"""

import importlib.util
import json
import pathlib
import random
import shutil

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2Config
from transformers import GPT2ForSequenceClassification, LlamaConfig
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
TOKENIZERS = HERE.parents[2] / "afd-data" / "testdata" / "tokenizers"
if not TOKENIZERS.exists():
    raise SystemExit("run this file where it lies: it reads afd-data's testdata")
SPEC = importlib.util.spec_from_file_location("kinds", TOKENIZERS / "make.py")
KINDS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(KINDS)

TOLERANCE = 1e-5
# More than one is slower on models this small.
torch.set_num_threads(1)
WEIGHT_STD = 0.3
MAX_LENGTHS = [1, 2, 7, 16, 40]

LLAMA = dict(
    hidden_size=8,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    max_position_embeddings=512,
    rms_norm_eps=1e-5,
)
GPT2 = dict(n_embd=8, n_layer=2, n_head=2, n_positions=512, bos_token_id=None)

QUESTION = "\n\nHuman: How do I bake bread?\n\nAssistant:"
ROWS = [
    (QUESTION, " Mix flour, water, salt and yeast, and wait."),
    (QUESTION, " Mix flour, water, salt and yeast, and wait. " * 4 + "Then bake it."),
    (QUESTION, " No."),
    (QUESTION, " "),
    (QUESTION, ""),
    ("\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHuman: What's 7 times 6?\n\nAssistant:", " 42"),
    ("\n\nHuman: Name a city.\n\nAssistant:", " São Paulo, Łódź, 東京 or नई दिल्ली 🌆"),
    ("What is the capital of France?\n", "Paris."),
    ("", " An answer to nothing."),
    ("", "An answer to nothing."),
    ("def f(x):\n", "    return  x\t+ 1\n\n\n"),
    # What a token may reach across: an answer that goes on within a word, with punctuation, with
    # blanks after blanks.
    ("The answ", "er is within the word."),
    ("The answer is no", "w here."),
    (QUESTION, ") is what it began with"),
    (QUESTION, "\n\nnew lines"),
    (QUESTION + " ", " two spaces"),
    (QUESTION + " ", "the prompt's space"),
    ("do", "n't"),
    # Special tokens, spelt out.
    (QUESTION, " It ends <|eot_id|> and <|endoftext|> and </s> and goes on"),
    (QUESTION, " It ends twice.<|endoftext|>"),
    ("\n\nHuman: " + "Why? " * 20 + "\n\nAssistant:", " Because" + ", and because" * 10 + "."),
]


def weights(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * WEIGHT_STD
            parameter.copy_(noise if parameter.dim() > 1 else 1 + noise)
    return model


def llama(options, seed):
    return weights(LlamaForSequenceClassification(LlamaConfig(**LLAMA, **options)), seed)


def gpt2(options, seed):
    return weights(GPT2ForSequenceClassification(GPT2Config(**GPT2, **options)), seed)


# Name: the model, the padding token and the class of tokenizer.
MODELS = {
    "llama3": (llama, "<|end_of_text|>", AutoTokenizer),
    "gpt2": (gpt2, "<|endoftext|>", AutoTokenizer),
    "llama2": (llama, "<unk>", PreTrainedTokenizerFast),
}


def write(name, target, training, seed):
    make, pad, _ = MODELS[name]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    tokenizer, config = KINDS.KINDS[name][0](training)
    tokenizer.save(str(target / "tokenizer.json"))
    # GPT-2's own files name no padding, whoever pads with the end token does.
    if pad != config["eos_token"]:
        config["pad_token"] = pad
    (target / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    options = dict(
        vocab_size=tokenizer.get_vocab_size(),
        num_labels=1,
        pad_token_id=tokenizer.token_to_id(pad),
        eos_token_id=tokenizer.token_to_id(config["eos_token"]),
    )
    make(options, seed).save_pretrained(target)


def score(model, tokenizer, texts, **options):
    """Of each text alone, and the same in batches padded on either side."""
    def forward(batch):
        with torch.no_grad():
            return model(**batch).logits[:, 0]

    alone = [forward(tokenizer([t], return_tensors="pt", **options)).item() for t in texts]
    for side in ["right", "left"]:
        tokenizer.padding_side = side
        batch = tokenizer(texts, return_tensors="pt", padding=True, **options)
        if side == "left":
            # As `generate` does; the model itself counts positions from the padding on.
            positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            batch["position_ids"] = positions
        padded = forward(batch)
        difference = (padded - torch.tensor(alone)).abs().max().item()
        assert difference <= TOLERANCE, (side, options, difference)
    return alone


def case(name, directory, rows):
    tokenizer = MODELS[name][2].from_pretrained(directory)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    assert model.config.pad_token_id == tokenizer.pad_token_id
    texts = [prompt + completion + tokenizer.eos_token for prompt, completion in rows]
    whole = score(model, tokenizer, texts)
    cut = []
    for max_length in MAX_LENGTHS:
        for side in ["right", "left"]:
            tokenizer.truncation_side = side
            scores = score(model, tokenizer, texts, truncation=True, max_length=max_length)
            cut.append({"max_length": max_length, "truncation_side": side, "scores": scores})
    return {"scores": whole, "truncated": cut}


def mixtures(draw):
    """100 prompts and completions of pieces of the texts of the tokenizers' tests."""
    texts = [text for _, text in KINDS.mixtures(list(KINDS.STRINGS.TEXTS.values()), draw)]
    return [(draw.choice(texts), draw.choice(texts)) for _ in range(100)]


def make(directory, seed=None):
    """With a seed, other vocabularies and weights, and more rows."""
    rows, training = list(ROWS), list(KINDS.STRINGS.TRAINING)
    if seed is not None:
        draw = random.Random(seed)
        training = draw.choices(training, k=len(training) * 3)
        rows += mixtures(draw)
    models = {}
    for index, name in enumerate(MODELS):
        write(name, directory / name, training, 1000 * (seed or 0) + index)
        models[name] = case(name, directory / name, rows)
    parts = []
    for name, found in models.items():
        cut = ",\n".join(json.dumps(cut) for cut in found["truncated"])
        scores = json.dumps(found["scores"])
        parts.append(f'"{name}": {{\n"scores": {scores},\n"truncated": [\n{cut}\n]}}')
    lines, cases = ",\n".join(json.dumps(row) for row in rows), ",\n".join(parts)
    text = f'{{"rows": [\n{lines}\n],\n"models": {{\n{cases}\n}}}}\n'
    (directory / "cases.json").write_text(text)


if __name__ == "__main__":
    make(HERE)

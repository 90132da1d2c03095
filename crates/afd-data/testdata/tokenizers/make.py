"""Makes the tokenizers beside this file, one of each kind, and what transformers makes of texts.

    python make.py          (transformers 5.23, tokenizers 0.23)

Every tokenizer learns a few hundred tokens from `strings.py` and is laid out as the files of the
family that it is named after: `tokenizer.json`, `tokenizer_config.json`, `config.json`. In
`cases.json`, "texts" has a text per name, and "tokenizers" for each of them

    ids         without special tokens
    begin       what stands before them with special tokens
    text        what "begin" and "ids" decode to, where it is not the text that was encoded
    plain       the same without special tokens, where it is not that either

From some classes, transformers 5 makes a tokenizer of vocabulary and merges alone, whatever else
`tokenizer.json` says. Where `AutoTokenizer` then departs from the file, the case holds what the
file says (`PreTrainedTokenizerFast`, and `LlamaTokenizerFast` of version 4), and "class" the other
ids. So it is with Llama 2 alone: its class puts no space before what begins with one.
"""

import collections
import importlib.util
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("strings", HERE / "strings.py")
STRINGS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(STRINGS)

MERGES = 180
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def special(text, **options):
    return AddedToken(text, **{"special": True, "normalized": False, **options})


def byte_level(training, first, pre_tokenizer, normalizer=None, added=(), **options):
    """`first` open the vocabulary, as in Pythia; `added` follow it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=len(first) + len(alphabet) + MERGES,
        special_tokens=first,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(training, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokenizer.model = models.BPE(model["vocab"], [tuple(m) for m in model["merges"]], **options)
    tokenizer.add_tokens(list(added))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def byte_fallback(training, first, spaces, added):
    """A vocabulary as SentencePiece orders it: special tokens, bytes, merges, characters."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    counts = collections.Counter("".join(training).replace(" ", "▁"))
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))[:60]
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + MERGES,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    learner.train_from_iterator(training, trainer)
    learnt = json.loads(learner.to_str())["model"]
    runs = [("▁" * (1 << n), "▁" * (1 << n)) for n in range(spaces)]
    merges = [tuple(merge) for merge in learnt["merges"]] + runs
    joined = ["".join(merge) for merge in merges]
    tokens = dict.fromkeys(first + BYTES + joined + letters)
    vocab = {token: index for index, token in enumerate(tokens)}
    model = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_tokens(list(added))
    ends = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(ends + [decoders.Strip(" ", 1, 0)])
    return tokenizer


def begins(tokenizer, text):
    ids = [(text, tokenizer.token_to_id(text))]
    return processors.TemplateProcessing(f"{text} $A", f"{text} $A {text}:1 $B:1", ids)


def split(pattern):
    isolated = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([isolated, pre_tokenizers.ByteLevel(False, use_regex=False)])


def gpt2(training):
    end = "<|endoftext|>"
    pre = pre_tokenizers.ByteLevel(False)
    config = dict(tokenizer_class="GPT2Tokenizer", bos_token=end, eos_token=end, unk_token=end)
    return byte_level(training, [], pre, added=[special(end)]), config


def pythia(training):
    end, pad = "<|endoftext|>", "<|padding|>"
    runs = [AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)]
    pre = pre_tokenizers.ByteLevel(False)
    tokenizer = byte_level(training, [end, pad], pre, normalizers.NFC(), runs)
    config = dict(tokenizer_class="GPTNeoXTokenizer", bos_token=end, eos_token=end, unk_token=end)
    return tokenizer, config


def llama3(training):
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    marks = [special(mark) for mark in marks + ["<|eot_id|>"]]
    tokenizer = byte_level(training, [], split(LLAMA3), added=marks, ignore_merges=True)
    begin = begins(tokenizer, "<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, begin])
    config = dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<|begin_of_text|>")
    return tokenizer, dict(config, eos_token="<|eot_id|>", clean_up_tokenization_spaces=True)


def qwen2(training):
    """Not all that the settings name is special in the file."""
    marks = [special(m) for m in ["<|endoftext|>", "<|im_start|>"]]
    marks += [AddedToken(m, normalized=False) for m in ["<|im_end|>", "<tool_call>"]]
    tokenizer = byte_level(training, [], split(QWEN2), normalizers.NFC(), marks)
    config = dict(tokenizer_class="Qwen2Tokenizer", add_bos_token=False, bos_token=None)
    return tokenizer, dict(config, eos_token="<|im_end|>", pad_token="in")


SENTENCE = ["<unk>", "<s>", "</s>"]
SENTENCE_CONFIG = dict(
    tokenizer_class="LlamaTokenizer",
    bos_token="<s>",
    eos_token="</s>",
    unk_token="<unk>",
    add_eos_token=False,
    clean_up_tokenization_spaces=False,
)


def llama2(training):
    """A space is put before every piece between added tokens, by the normaliser."""
    marks = [special(mark) for mark in SENTENCE]
    tokenizer = byte_fallback(training, SENTENCE, 4, marks)
    parts = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(parts)
    tokenizer.post_processor = begins(tokenizer, "<s>")
    return tokenizer, dict(SENTENCE_CONFIG, add_bos_token=True, legacy=True)


def mistral(training):
    """A space is put before a text, unless it begins with one."""
    marks = [special(mark) for mark in SENTENCE]
    marks += [special(mark) for mark in ["[INST]", "[/INST]"]]
    tokenizer = byte_fallback(training, SENTENCE, 4, marks)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.post_processor = begins(tokenizer, "<s>")
    return tokenizer, dict(SENTENCE_CONFIG, add_bos_token=True, legacy=False)


def phi3(training):
    """Llama 2's, with added tokens that take the blanks beside them.

    transformers 5 pays no attention to `add_bos_token` where there is a `tokenizer.json`.
    """
    tokenizer, _ = llama2(training)
    tokenizer.add_tokens([AddedToken("</s>", rstrip=True, normalized=False)])
    turns = ["<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
    tokenizer.add_tokens([special("<|endoftext|>")] + [special(t, rstrip=True) for t in turns])
    tokenizer.add_tokens([special("<|im_start|>", lstrip=True), special("<|im_end|>", lstrip=True)])
    config = dict(SENTENCE_CONFIG, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    return tokenizer, dict(config, add_bos_token=False, legacy=False)


def gemma(training):
    first = ["<pad>", "<eos>", "<bos>", "<unk>"]
    marks = [special(m) for m in first + ["<start_of_turn>", "<end_of_turn>"]]
    runs = ["\n" * n for n in range(1, 6)] + ["▁" * n for n in range(2, 17)]
    runs += ["\t\t", "<h1>", "</h1>"]
    marks += [AddedToken(run, normalized=False) for run in runs]
    tokenizer = byte_fallback(training, first, 4, marks)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    ends = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(ends)
    tokenizer.post_processor = begins(tokenizer, "<bos>")
    names = {f"{token.strip('<>')}_token": token for token in first}
    return tokenizer, dict(names, tokenizer_class="GemmaTokenizer", add_bos_token=True)


KINDS = {
    "gpt2": (gpt2, "gpt2"),
    "pythia": (pythia, "gpt_neox"),
    "llama2": (llama2, "llama"),
    "llama3": (llama3, "llama"),
    "mistral": (mistral, "mistral"),
    "qwen2": (qwen2, "qwen2"),
    "gemma": (gemma, "gemma"),
    "phi3": (phi3, "phi3"),
}
DEPARTS = ["llama2"]


def case(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    full = tokenizer.encode(text)
    begin = full[: len(full) - len(ids)]
    assert begin + ids == full, text
    case = {"ids": ids, "begin": begin}
    decoded = {"text": tokenizer.decode(full)}
    decoded["plain"] = tokenizer.decode(full, skip_special_tokens=True)
    return case | {key: value for key, value in decoded.items() if value != text}


def both(name, directory, texts):
    auto = AutoTokenizer.from_pretrained(directory)
    file = PreTrainedTokenizerFast.from_pretrained(directory)
    for key, text in texts.items():
        said = case(file, text)
        if case(auto, text) != said:
            assert name in DEPARTS, (name, key, text)
            said["class"] = case(auto, text)["ids"]
        yield f"{json.dumps(key)}: {json.dumps(said, separators=(',', ':'))}"


def mixtures(texts, draw):
    """300 texts of pieces of those, and of characters from anywhere."""
    spans = [(0, 0x100), (0x300, 0x370), (0x590, 0xE80), (0x1F00, 0x2200), (0x3000, 0xD7FF)]
    spans += [(0xE000, 0x10000), (0x1F300, 0x1FA00), (0x10000, 0x110000)]
    for index in range(300):
        text = ""
        for _ in range(draw.randint(1, 8)):
            source = draw.choice(texts)
            start = draw.randrange(len(source) + 1)
            text += source[start : start + draw.randint(0, 12)] + " " * draw.choice([0, 0, 1, 3])
            text += "".join(chr(draw.randrange(*draw.choice(spans))) for _ in range(draw.choice([0, 0, 2])))
        yield f"mixture {index}", text


def make(directory, seed=None):
    """With a seed, other vocabularies and more texts."""
    texts, training = dict(STRINGS.TEXTS), list(STRINGS.TRAINING)
    if seed is not None:
        draw = random.Random(seed)
        training = draw.choices(training, k=len(training) * 3)
        texts.update(mixtures(list(texts.values()), draw))
    lines = []
    for name, (kind, model_type) in KINDS.items():
        tokenizer, config = kind(training)
        target = directory / name
        target.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(target / "tokenizer.json"))
        for file, content in [("tokenizer_config", config), ("config", {"model_type": model_type})]:
            (target / f"{file}.json").write_text(json.dumps(content, indent=2) + "\n")
        cases = ",\n".join(both(name, target, texts))
        lines.append(f"{json.dumps(name)}: {{\n{cases}\n}}")
    head = ",\n".join(f"{json.dumps(name)}: {json.dumps(text)}" for name, text in texts.items())
    all_cases = ",\n".join(lines)
    (directory / "cases.json").write_text(
        f'{{"texts": {{\n{head}\n}},\n"tokenizers": {{\n{all_cases}\n}}}}\n'
    )


if __name__ == "__main__":
    make(HERE)

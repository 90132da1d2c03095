"""Writes what transformers makes of the templates here, and the tokenizer for it.

    python make.py          (transformers 5.23, jinja2 3.1.6, tokenizers 0.23)

`templates/` and `snippets.txt` are written by hand; all JSON files come from here.
"""

import json
from datetime import datetime
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent


class Fixed(datetime):
    """The moment that strftime_now tells: as seconds since 1970 in UTC, 1721984703."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 9, 5, 3)


chat_template_utils.datetime = Fixed

SPECIAL = [
    "<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>",
    "<|assistant|>", "<|system|>", "<|end|>", "<|User|>", "<|Assistant|>",
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

DIALOGUES = {
    "plain": [("user", "Any tea?"), ("assistant", "Green or black.")],
    "system": [("system", "Be brief."), ("user", "Any tea?"), ("assistant", "Green.")],
    "turns": [
        ("user", "Hello"), ("assistant", "Hi!"), ("user", "Any tea?"), ("assistant", "Green."),
        ("user", "And milk?"), ("assistant", "Oat or none."),
    ],
    "system and turns": [
        ("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi!"), ("user", "Any tea?"),
    ],
    "question": [("user", "Any tea?")],
    "unicode": [("user", "Grüße aus Köln, 東京 und 🦀?"), ("assistant", "Ça va, e\u0301te\u0301 \u00a0!")],
    "space": [("user", "  \n Any tea? \n\n"), ("assistant", "\n  Green. \t\n")],
    "empty": [("user", ""), ("assistant", "")],
    "quotes": [
        ("user", "Say \"it's\" \\ <b>&amp;</b>\tnow"), ("assistant", "'It's'\n\n\"twice\"\r\n{{ no }}{% no %}"),
    ],
    "thoughts": [
        ("user", "1 + 1?"), ("assistant", "<think>\nOne and one.\n</think>\n\n2"),
        ("user", "And 2 + 2?"), ("assistant", "<think>\nTwo and two.\n</think>\n\n4"),
    ],
    "two questions": [("user", "Hello?"), ("user", "Any tea?"), ("assistant", "Yes.")],
    "no question": [("assistant", "Hello, I am here.")],
}
# What snippets are rendered with; the last message has more keys.
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Any tea?\nOr \"é\" <milk>? "},
    {
        "role": "assistant", "content": "Green.", "name": "pot", "dropped": None,
        "reasoning": "Tea was asked.",
        "tool_calls": [{"function": {"name": "pour", "arguments": {"cups": 2, "hot": True, "of": "té"}}}],
    },
]


def tokenizer():
    """A byte-level BPE of a few merges."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=len(SPECIAL) + 256 + 60, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    texts = [text for dialogue in DIALOGUES.values() for _, text in dialogue]
    inner.train_from_iterator(texts * 3, trainer)
    (HERE / "tokenizer").mkdir(exist_ok=True)
    inner.save(str(HERE / "tokenizer" / "tokenizer.json"), pretty=False)
    config = {**TOKENS, "tokenizer_class": "PreTrainedTokenizerFast"}
    (HERE / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    return PreTrainedTokenizerFast(tokenizer_object=inner, **TOKENS)


def rendered(tokenizer, messages, template, add_generation_prompt):
    """The text, or the error's."""
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def case(tokenizer, messages, template):
    out = {
        "whole": rendered(tokenizer, messages, template, False),
        "prompt": rendered(tokenizer, messages, template, True),
    }
    if "{% generation" in template or "{%- generation" in template:
        encoded = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=True, return_dict=True,
            return_assistant_tokens_mask=True,
        )
        out["ids"] = encoded["input_ids"]
        out["mask"] = "".join(map(str, encoded["assistant_masks"]))
    return out


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=1)
    (HERE / name).write_text(text + "\n")


def main():
    hf = tokenizer()
    dialogues = {
        name: [{"role": role, "content": content} for role, content in turns]
        for name, turns in DIALOGUES.items()
    }
    templates = {path.stem: path.read_text() for path in sorted(HERE.glob("templates/*.jinja"))}
    write("dialogues.json", dialogues)
    write("expected.json", {
        name: {key: case(hf, messages, template) for key, messages in dialogues.items()}
        for name, template in templates.items()
    })
    snippets = (HERE / "snippets.txt").read_text().removesuffix("\n").split("\n----\n")
    write("snippets.json", {
        "messages": MESSAGES,
        "snippets": [{"template": s, "text": rendered(hf, MESSAGES, s, False)} for s in snippets],
    })


main()

//! Tests of loading, encoding and training on tokenizers small enough to read.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TEXTS: [&str; 3] = [
    "\n\nHuman: What can I plant in May?\n\nAssistant: You could plant beans.",
    "\n\nHuman: What can I cook in May?\n\nAssistant: You could cook beans, or plant them.",
    "Grüße aus Köln, 東京 und 🦀!",
];

fn train(vocab_size: usize, dir: &Path) -> Tokenizer {
    Tokenizer::train_bpe(TEXTS.map(str::to_owned).into_iter(), vocab_size, dir).unwrap()
}

/// A word-level tokenizer with `<s>` 0, `</s>` 1, `<unk>` 2, a 3, b 4, which puts `<s>` first.
fn with_bos(dir: &Path, config: Value) {
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 1, "pad_type_id": 0, "pad_token": "</s>"},
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                               "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>",
                  "vocab": {"<s>": 0, "</s>": 1, "<unk>": 2, "a": 3, "b": 4}},
    });
    write(dir, "tokenizer.json", &tokenizer);
    write(dir, "tokenizer_config.json", &config);
}

fn write(dir: &Path, name: &str, value: &Value) {
    std::fs::write(dir.join(name), value.to_string()).unwrap();
}

#[test]
fn a_trained_tokenizer_has_its_special_ids_and_gives_texts_back() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = train(290, dir.path());
    assert_eq!(tokenizer.vocab_size(), 290);
    assert_eq!(
        (tokenizer.eos_id(), tokenizer.eos_ids(), tokenizer.pad_id()),
        (0, &[0][..], 1)
    );
    for text in TEXTS {
        let ids = tokenizer.encode_prompt(text).unwrap();
        assert_eq!(ids, tokenizer.encode_completion(text).unwrap());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    assert!(tokenizer.encode_prompt(TEXTS[0]).unwrap().len() < TEXTS[0].len());
    assert_eq!(tokenizer.encode_prompt("<|endoftext|>").unwrap(), [0]);
}

#[test]
fn merges_follow_the_counts_worked_out_by_hand() {
    // hug ×10 (nine after a space, Ġ), Ġpug ×5, Ġpun ×12. Pairs: p+u 17, Ġ+p 17, u+g 15. Ties go
    // to the lower ids and Ġ comes after ASCII, so p+u is first. Then Ġ+pu 17; then Ġpu+n 12 leads
    // h+u 10, u+g 10 (of hug alone); last h+u, h being lower than u.
    let text = [
        "hug".to_owned(),
        " hug".repeat(9),
        " pug".repeat(5),
        " pun".repeat(12),
    ]
    .concat();
    let dir = tempfile::tempdir().unwrap();
    Tokenizer::train_bpe([text].into_iter(), 262, dir.path()).unwrap();
    let json = std::fs::read_to_string(dir.path().join("tokenizer.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let merges = json!([["p", "u"], ["Ġ", "pu"], ["Ġpu", "n"], ["h", "u"]]);
    assert_eq!(json["model"]["merges"], merges);
}

#[test]
fn training_is_deterministic_in_any_order_of_the_texts() {
    let bytes = |texts: Vec<&str>| {
        let dir = tempfile::tempdir().unwrap();
        let texts = texts.into_iter().map(str::to_owned);
        Tokenizer::train_bpe(texts, 320, dir.path()).unwrap();
        ["tokenizer.json", "tokenizer_config.json"]
            .map(|f| std::fs::read(dir.path().join(f)).unwrap())
    };
    let first = bytes(TEXTS.to_vec());
    assert_eq!(first, bytes(TEXTS.to_vec()));
    assert_eq!(first, bytes(TEXTS.iter().rev().copied().collect()));
}

#[test]
fn a_vocabulary_without_room_for_the_bytes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Tokenizer::train_bpe(std::iter::empty(), 257, dir.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`vocab_size` is 257; it must be at least 258")
    );
}

proptest! {
    #[test]
    fn any_text_survives(text in "\\PC*|[ \\n\\ta-zé]*") {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = train(280, dir.path());
        let ids = tokenizer.encode_completion(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
        prop_assert_eq!(tokenizer.decode_completion(&ids).unwrap(), text);
    }
}

#[test]
fn saving_copies_every_byte_even_when_the_source_is_gone() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tokenizer = train(270, from.path());
    let names = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ];
    let before = names.map(|name| std::fs::read(from.path().join(name)).unwrap());
    drop(from);
    let target = to.path().join("new");
    tokenizer.save(&target).unwrap();
    assert_eq!(
        names.map(|name| std::fs::read(target.join(name)).unwrap()),
        before
    );
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), names.len());
}

#[test]
fn the_begin_token_stands_once_and_no_end_token_is_added() {
    let dir = tempfile::tempdir().unwrap();
    with_bos(
        dir.path(),
        json!({"eos_token": {"content": "</s>"}, "bos_token": "<s>"}),
    );
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    // Also shows that truncation to 3 and padding to 9 in the file are off.
    assert_eq!(tokenizer.encode_prompt("a b a b").unwrap(), [0, 3, 4, 3, 4]);
    assert_eq!(tokenizer.encode_prompt("<s> a").unwrap(), [0, 3]);
    assert_eq!(tokenizer.encode_completion(" a b").unwrap(), [3, 4]);
    assert_eq!(tokenizer.decode(&[0, 3, 4, 1]).unwrap(), "a b");
    assert_eq!(
        (
            tokenizer.eos_id(),
            tokenizer.pad_id(),
            tokenizer.vocab_size()
        ),
        (1, 1, 5)
    );

    let row = crate::TokenRow::text(&tokenizer, "a b", 9)
        .unwrap()
        .unwrap();
    assert_eq!((row.ids, row.prompt_len), (vec![0, 3, 4, 1], 1));
}

#[test]
fn the_begin_token_is_what_tokenizer_json_says_whatever_add_bos_token_does() {
    let config =
        |flag: bool, end: &str| json!({"eos_token": end, "bos_token": end, "add_bos_token": flag});
    let dir = tempfile::tempdir().unwrap();
    with_bos(dir.path(), config(false, "</s>"));
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.encode_prompt("a").unwrap(), [0, 3]);

    let dir = tempfile::tempdir().unwrap();
    train(258, dir.path());
    let config = config(true, "<|endoftext|>");
    write(dir.path(), "tokenizer_config.json", &config);
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.encode_prompt("a").unwrap().len(), 1);
}

#[test]
fn end_tokens_fall_back_to_the_model_files_and_are_collected() {
    let dir = tempfile::tempdir().unwrap();
    with_bos(dir.path(), json!({}));
    let message = Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("names no end token: set `eos_token`"),
        "{message}"
    );

    write(
        dir.path(),
        "config.json",
        &json!({"eos_token_id": 4, "pad_token_id": 0}),
    );
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!((tokenizer.eos_ids(), tokenizer.pad_id()), (&[4][..], 0));

    write(
        dir.path(),
        "generation_config.json",
        &json!({"eos_token_id": [1, 3]}),
    );
    assert_eq!(Tokenizer::load(dir.path()).unwrap().eos_ids(), [1, 3]);

    write(
        dir.path(),
        "special_tokens_map.json",
        &json!({"eos_token": "b"}),
    );
    assert_eq!(Tokenizer::load(dir.path()).unwrap().eos_ids(), [4, 1, 3]);
}

#[test]
fn errors_name_file_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let message = || Tokenizer::load(dir.path()).unwrap_err().to_string();
    assert!(message().contains("cannot read") && message().contains("tokenizer.json"));
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(message().contains("tokenizer.json: "), "{}", message());
    for (config, part) in [
        (
            json!({"eos_token": "<end>"}),
            "`eos_token` must be a token of tokenizer.json, but is \"<end>\"",
        ),
        (
            json!({"eos_token": 3}),
            "`eos_token` must be a text or an object",
        ),
    ] {
        with_bos(dir.path(), config);
        assert!(
            message().contains("tokenizer_config.json: ") && message().contains(part),
            "{}",
            message()
        );
    }
    with_bos(dir.path(), json!({}));
    write(dir.path(), "config.json", &json!({"eos_token_id": [1, 99]}));
    assert!(
        message().contains("config.json: `eos_token_id` must be an id"),
        "{}",
        message()
    );
}

#[test]
fn a_dummy_prefix_does_not_double_the_space_of_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    with_bos(dir.path(), json!({"eos_token": "</s>"}));
    let text = std::fs::read_to_string(dir.path().join("tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    tokenizer["pre_tokenizer"] = metaspace.clone();
    tokenizer["decoder"] = metaspace;
    tokenizer["model"]["vocab"] =
        json!({"<s>": 0, "</s>": 1, "<unk>": 2, "▁a": 3, "▁b": 4, "▁": 5});
    write(dir.path(), "tokenizer.json", &tokenizer);

    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.encode_prompt("a b").unwrap(), [0, 3, 4]);
    let ids = tokenizer.encode_completion(" a b").unwrap();
    assert_eq!(ids, [3, 4]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "a b");
    assert_eq!(tokenizer.decode_completion(&ids).unwrap(), " a b");
}

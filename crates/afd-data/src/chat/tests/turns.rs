//! A template in use by a tokenizer: the end of a turn, prompts and answers, masks.

use super::*;
use crate::{TokenRow, Tokenizer};

fn tokenizer(text: &str) -> Tokenizer {
    let tokenizer = Tokenizer::load(checkpoint(text).path()).unwrap();
    // The directory is gone by now: the template comes from the files as they were read.
    tokenizer.with_chat().unwrap()
}

fn end(name: &str) -> Option<String> {
    let tokenizer = tokenizer(&named(name));
    tokenizer.chat().unwrap().end_of_turn().map(str::to_owned)
}

#[test]
fn the_end_of_a_turn_is_the_token_after_the_answer() {
    for (name, expected) in [
        ("chatml", "<|im_end|>"),
        ("headers", "<|eot_id|>"),
        ("dated", "<|eot_id|>"),
        ("inst", "</s>"),
        ("turns", "<end_of_turn>"),
        ("mistral", "</s>"),
        ("phi", "<|end|>"),
        ("zephyr", "</s>"),
        ("thinking", "<|im_end|>"),
        ("marked", "<|im_end|>"),
    ] {
        assert_eq!(end(name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(end("controls"), None);
    assert_eq!(end("macros"), None);
}

#[test]
fn the_end_of_a_turn_ends_rows_and_stops_sampling_only_where_the_template_is_in_use() {
    let dir = checkpoint(&named("chatml"));
    let plain = Tokenizer::load(dir.path()).unwrap();
    let eos = 2;
    assert_eq!((plain.eos_id(), plain.eos_ids()), (eos, &[eos][..]));
    assert!(plain.chat().is_none() && plain.chat_template().is_none());
    let chat = plain.clone().with_chat().unwrap();
    let end = chat.encode_completion("<|im_end|>").unwrap()[0];
    assert_eq!((chat.eos_id(), chat.eos_ids()), (end, &[end, eos][..]));
    assert_eq!(chat.pad_id(), plain.pad_id());

    let row = |tokenizer| {
        TokenRow::example(tokenizer, "a", " b", 99)
            .unwrap()
            .unwrap()
    };
    assert_eq!(row(&plain).ids.last(), Some(&eos));
    assert_eq!(row(&chat).ids.last(), Some(&end));

    // Without an end of its own the template leaves the tokenizer's.
    let other = tokenizer(&named("controls"));
    assert_eq!(other.eos_ids(), [eos]);
    let bare = tempfile::tempdir().unwrap();
    let bare = Tokenizer::train_bpe([String::new()].into_iter(), 258, bare.path()).unwrap();
    assert!(bare.with_chat().unwrap().chat().is_none());
}

#[test]
fn prompt_answer_and_end_begin_the_whole_dialogue() {
    let dialogues: Dialogues = golden("dialogues.json");
    let mut seen = 0;
    for name in [
        "chatml", "headers", "inst", "turns", "mistral", "zephyr", "thinking", "marked",
    ] {
        let tokenizer = tokenizer(&named(name));
        let chat = tokenizer.chat().unwrap();
        let answered = dialogues
            .iter()
            .filter(|(_, d)| d.last().unwrap().role == "assistant");
        for (dialogue, messages) in answered {
            let before = &messages[..messages.len() - 1];
            let Ok(Some((prompt, answer))) = chat.exchange(messages) else {
                continue;
            };
            let whole = chat.template().render(messages, false).unwrap().text;
            let end = chat.end_of_turn().unwrap();
            assert!(
                whole.starts_with(&format!("{prompt}{answer}{end}")),
                "{name}, {dialogue}"
            );
            assert_eq!(prompt, chat.prompt(before).unwrap());
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn an_answer_is_what_the_template_writes_of_it() {
    let exchange = |name: &str, answer: &str| {
        let tokenizer = tokenizer(&named(name));
        let messages = [
            Message::new("user", "1 + 1?"),
            Message::new("assistant", answer),
        ];
        tokenizer.chat().unwrap().exchange(&messages).unwrap()
    };
    let answer = |name: &str, answer: &str| exchange(name, answer).unwrap().1;
    assert_eq!(answer("chatml", " 2 "), " 2 ");
    assert_eq!(answer("headers", " 2 "), "2");
    assert_eq!(answer("inst", "2"), " 2 ");
    assert_eq!(answer("thinking", "2"), "<think>\n\n</think>\n\n2");
    assert_eq!(
        answer("thinking", "<think>\nOne.\n</think>\n\n2"),
        "<think>\nOne.\n</think>\n\n2"
    );
    // An answer that holds the end token itself goes up to the last one.
    assert_eq!(answer("chatml", "a<|im_end|>b"), "a<|im_end|>b");
    // The prompt opens a thought that the whole dialogue leaves out.
    assert_eq!(exchange("deepseek", "2"), None);
}

#[test]
fn the_begin_token_stands_once() {
    let messages = [Message::new("user", "a")];
    let ids = |text: &str| {
        let dir = checkpoint(text);
        let path = dir.path().join("tokenizer.json");
        let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        });
        std::fs::write(path, json.to_string()).unwrap();
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        let template = ChatTemplate::load(dir.path()).unwrap().unwrap();
        let text = template.render(&messages, true).unwrap().text;
        let plain = tokenizer.encode_prompt(&text).unwrap();
        (
            plain,
            tokenizer.with_chat().unwrap().encode_prompt(&text).unwrap(),
        )
    };
    let begins = |ids: &[u32]| ids.iter().filter(|&&id| id == 1).count();
    let (plain, chat) = ids(&named("headers"));
    assert_eq!((begins(&plain), plain[0], &plain), (1, 1, &chat));
    // A template that writes none has none, as in transformers.
    let (plain, chat) = ids(&named("chatml"));
    assert_eq!((begins(&plain), begins(&chat)), (1, 0));
}

#[test]
fn masks_are_those_of_transformers() {
    let dialogues: Dialogues = golden("dialogues.json");
    let expected: Expected = golden("expected.json");
    let mut seen = 0;
    for (name, cases) in expected {
        let tokenizer = tokenizer(&named(&name));
        for (dialogue, case) in cases.iter().filter(|(_, case)| !case.ids.is_empty()) {
            let row = TokenRow::dialogue(&tokenizer, &dialogues[dialogue], 999);
            let row = row.unwrap().unwrap();
            let mask: Vec<&str> = row
                .mask()
                .iter()
                .map(|&on| if on { "1" } else { "0" })
                .collect();
            assert_eq!(row.ids, case.ids, "{name}, {dialogue}");
            assert_eq!(mask.concat(), case.mask, "{name}, {dialogue}");
            let first = case.mask.find('1').unwrap_or(case.mask.len());
            assert_eq!(row.prompt_len, first);
            seen += 1;
        }
    }
    assert!(seen > 20);
}

#[test]
fn a_dialogue_trains_all_answers_with_their_ends() {
    let tokenizer = tokenizer(&named("marked"));
    let [ask, say] = ["user", "assistant"].map(|role| move |text: &str| Message::new(role, text));
    let dialogue = [ask("Q"), say("A"), ask("R"), say("é🦀")];
    let row = TokenRow::dialogue(&tokenizer, &dialogue, 999)
        .unwrap()
        .unwrap();
    let trained = row
        .trained
        .iter()
        .map(|range| tokenizer.decode(&row.ids[range.clone()]).unwrap());
    assert_eq!(trained.collect::<Vec<_>>(), ["A", "é🦀"]);
    let ends = row.trained.iter().map(|range| row.ids[range.end - 1]);
    assert!(ends.eq([tokenizer.eos_id(); 2]));
    let length = row.ids.len();
    assert!(
        TokenRow::dialogue(&tokenizer, &dialogue, length)
            .unwrap()
            .is_some()
    );
    assert!(
        TokenRow::dialogue(&tokenizer, &dialogue, length - 1)
            .unwrap()
            .is_none()
    );
}

#[test]
fn dialogues_need_a_template_with_generation_blocks() {
    let dialogue = [Message::new("user", "Q")];
    let message = |tokenizer: &Tokenizer| {
        let row = TokenRow::dialogue(tokenizer, &dialogue, 99);
        row.unwrap_err().to_string()
    };
    let unmarked = message(&tokenizer(&named("chatml")));
    assert!(
        unmarked.contains("has no `{% generation %}` blocks"),
        "{unmarked}"
    );
    let dir = checkpoint(&named("marked"));
    let not_in_use = message(&Tokenizer::load(dir.path()).unwrap());
    assert!(not_in_use.contains("has no chat template"), "{not_in_use}");
}

/// SentencePiece puts a space before each text: not in the middle of one.
#[test]
fn an_answer_in_the_middle_of_a_text_gets_no_space() {
    let dir = checkpoint(
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    );
    let path = dir.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let metaspace = serde_json::json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
    json["pre_tokenizer"] = metaspace.clone();
    json["decoder"] = metaspace;
    json["model"] = serde_json::json!({"type": "BPE", "merges": [], "unk_token": "<unk>",
        "vocab": {"<unk>": 0, "▁": 400, "[": 401, "]": 402, "a": 403, "s": 404, "i": 405, "t": 406, "n": 407, "b": 408}});
    std::fs::write(&path, json.to_string()).unwrap();
    let tokenizer = Tokenizer::load(dir.path()).unwrap().with_chat().unwrap();
    let row = TokenRow::example(&tokenizer, "[assistant]", "ab", 99)
        .unwrap()
        .unwrap();
    assert_eq!(row.answer(), [403, 408, tokenizer.eos_id()]);
    let row = TokenRow::example(&tokenizer, "[assistant]", " ab", 99)
        .unwrap()
        .unwrap();
    assert_eq!(row.answer(), [400, 403, 408, tokenizer.eos_id()]);
}

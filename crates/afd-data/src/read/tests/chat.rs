//! Tests of rows as messages, and in the form of a chat template.

use serde_json::{Value, json};

use super::*;
use crate::{
    Tokenizer,
    chat::{Chat, Message},
};

/// A template in the manner of ChatML which refuses the role `tool`.
const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('No tools') }}{% endif %}<{{ m.role }}>{{ m.content }}<|pad|>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

fn template(text: &str) -> Chat {
    let dir = tempfile::tempdir().unwrap();
    Tokenizer::train_bpe([String::new()].into_iter(), 258, dir.path()).unwrap();
    fs::write(dir.path().join("chat_template.jinja"), text).unwrap();
    let tokenizer = Tokenizer::load(dir.path()).unwrap().with_chat().unwrap();
    tokenizer.chat().unwrap().clone()
}

fn row(row: &Value, chat: Option<&Chat>, options: &ReadOptions) -> Result<Example, RowError> {
    let files = Files::new();
    let path = files.write("rows.jsonl", row.to_string());
    let mut rows: Vec<_> = open_with(&path, options, chat).unwrap().collect();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn in_chat(json: Value) -> Result<Example, RowError> {
    row(&json, Some(&template(TEMPLATE)), &ReadOptions::default())
}

fn in_hh(json: Value) -> Result<Example, RowError> {
    row(&json, None, &ReadOptions::default())
}

fn turns(turns: &[(&str, &str)]) -> Value {
    let turn = |(role, content): &(&str, &str)| json!({"role": role, "content": content});
    turns.iter().map(turn).collect()
}

const PROMPT: &str =
    "<user>Hello<|pad|>\n<assistant>Hi!<|pad|>\n<user>Any tea?<|pad|>\n<assistant>";

#[test]
fn every_kind_of_row_is_rendered_with_the_template() {
    let before = turns(&[
        ("user", "Hello"),
        ("assistant", "Hi!"),
        ("user", "Any tea?"),
    ]);
    let answer = |text: &str| turns(&[("assistant", text)]);
    let whole = |text: &str| {
        let mut whole = before.clone();
        whole
            .as_array_mut()
            .unwrap()
            .extend(answer(text).as_array().unwrap().clone());
        whole
    };
    let said = |text: &str| serde_json::from_value::<Vec<Message>>(whole(text)).unwrap();
    // The demonstration is the second argument's, if there is one, as the reader decides.
    let example = |completion: &str, chosen: Option<&str>, rejected: Option<&str>| Example {
        prompt: PROMPT.to_owned(),
        completion: Some(completion.to_owned()),
        chosen: chosen.map(str::to_owned),
        rejected: rejected.map(str::to_owned),
        messages: said(completion),
        source: "rows.jsonl:1".to_owned(),
    };
    let one = example("Green.", None, None);
    let pair = example("Green.", Some("Green."), Some("No."));
    assert_eq!(in_chat(json!({"messages": whole("Green.")})).unwrap(), one);
    assert_eq!(
        in_chat(json!({"prompt": before, "completion": answer("Green.")})).unwrap(),
        one
    );
    assert_eq!(
        in_chat(json!({"prompt": before, "completion": " Green."})).unwrap(),
        one
    );
    let both = json!({"prompt": before, "chosen": answer("Green."), "rejected": "No. "});
    assert_eq!(in_chat(both).unwrap(), pair);
    let both = json!({"chosen": whole("Green."), "rejected": whole("No.")});
    assert_eq!(in_chat(both).unwrap(), pair);
    // The dialogues of HH are parsed.
    let hh: Value = serde_json::from_str(&PAIR.replace("Green or black", "Green")).unwrap();
    assert_eq!(in_chat(hh).unwrap(), pair);
    let text = json!({"prompt": PAIR_PROMPT, "completion": " Green."});
    assert_eq!(in_chat(text).unwrap(), one);
    // What the system says stands before the first turn.
    let text = json!({"prompt": format!("Be brief.{PAIR_PROMPT}"), "completion": "Green."});
    assert_eq!(
        in_chat(text).unwrap().prompt,
        format!("<system>Be brief.<|pad|>\n{PROMPT}")
    );
}

#[test]
fn a_plain_prompt_is_a_question_if_it_is_to_be_wrapped() {
    let json = json!({"prompt": "x: Any tea?\n", "completion": " Green. \n"});
    let mut options = ReadOptions {
        strip_prefix: Some(StripPrefix::Literal("x:".to_owned())),
        ..ReadOptions::default()
    };
    let chat = template(TEMPLATE);
    let example = row(&json, Some(&chat), &options).unwrap();
    assert_eq!(example.prompt, "<user>Any tea?<|pad|>\n<assistant>");
    assert_eq!(example.completion.as_deref(), Some("Green."));
    options.wrap_prompts = false;
    let example = row(&json, Some(&chat), &options).unwrap();
    assert_eq!(example.prompt, " Any tea?\n");
    assert_eq!(example.completion.as_deref(), Some(" Green."));
}

#[test]
fn csv_is_rendered_too() {
    let files = Files::new();
    let path = files.write("rows.csv", "prompt,completion\nAny tea?,Green.\n");
    let chat = template(TEMPLATE);
    let mut rows = open_with(&path, &ReadOptions::default(), Some(&chat)).unwrap();
    let example = rows.next().unwrap().unwrap();
    assert_eq!(example.prompt, "<user>Any tea?<|pad|>\n<assistant>");
}

#[test]
fn messages_without_a_template_take_the_form_of_hh() {
    let pair = json!({
        "prompt": turns(&[("user", "Hello"), ("assistant", "Hi!"), ("user", "Any tea?")]),
        "chosen": turns(&[("assistant", " Green.\n")]), "rejected": "No.",
    });
    let example = in_hh(pair).unwrap();
    assert_eq!(example.prompt, PAIR_PROMPT);
    assert_eq!(example.chosen.as_deref(), Some(" Green."));
    assert_eq!(example.rejected.as_deref(), Some(" No."));
    let ask = ("user", "Any tea?");
    let pair = json!({"chosen": turns(&[ask, ("assistant", "a")]), "rejected": turns(&[ask, ("assistant", "b")])});
    assert_eq!(
        in_hh(pair).unwrap().prompt,
        "\n\nHuman: Any tea?\n\nAssistant:"
    );
}

#[test]
fn rows_without_one_answer_are_dropped_with_and_without_a_template() {
    let ask = ("user", "Q");
    for (json, expected) in [
        (
            json!({"prompt": turns(&[ask]), "completion": turns(&[ask])}),
            DropReason::NoAnswer,
        ),
        (
            json!({"prompt": "Q", "completion": []}),
            DropReason::NoAnswer,
        ),
        (
            json!({"prompt": "Q", "completion": turns(&[("assistant", "a"), ("assistant", "b")])}),
            DropReason::NoAnswer,
        ),
        (
            json!({"prompt": "Q", "completion": turns(&[("assistant", " \n")])}),
            DropReason::EmptyAnswer,
        ),
        (
            json!({"prompt": "Q", "completion": " "}),
            DropReason::EmptyAnswer,
        ),
        (
            json!({"prompt": [], "completion": "a"}),
            DropReason::EmptyPrompt,
        ),
        (
            json!({"prompt": " ", "completion": "a"}),
            DropReason::EmptyPrompt,
        ),
        (
            json!({"messages": turns(&[("system", "s"), ("assistant", "a")])}),
            DropReason::EmptyPrompt,
        ),
        (
            json!({"chosen": turns(&[ask, ("assistant", "a")]), "rejected": turns(&[("user", "R"), ("assistant", "a")])}),
            DropReason::PromptsDiffer,
        ),
        (
            json!({"chosen": turns(&[ask, ("assistant", "a")]), "rejected": "\n\nHuman: Q\n\nAssistant: b"}),
            DropReason::PromptsDiffer,
        ),
    ] {
        assert_eq!(reason(in_hh(json.clone())), expected, "{json}");
        assert_eq!(reason(in_chat(json.clone())), expected, "{json}");
    }
}

#[test]
fn what_the_template_refuses_or_does_not_continue_is_dropped() {
    let ask = ("user", "Q");
    let json = json!({"messages": turns(&[ask, ("tool", "t"), ("assistant", "a")])});
    match in_chat(json) {
        Err(RowError::Dropped(row)) => {
            assert_eq!(
                (row.reason, row.detail.as_str()),
                (DropReason::TemplateRefused, "No tools")
            );
        }
        other => panic!("{other:?}"),
    }
    let json = json!({"messages": turns(&[ask, ("assistant", "a")])});
    let opens = TEMPLATE.replace("%}<assistant>{%", "%}<assistant><think>{%");
    let dropped = row(&json, Some(&template(&opens)), &ReadOptions::default());
    assert_eq!(reason(dropped), DropReason::TemplateMismatch);
}

#[test]
fn a_template_that_fails_ends_the_file_and_names_the_row() {
    let fails = TEMPLATE.replace(
        "m.content",
        "(1 + m.content if m.content == 'bad' else m.content)",
    );
    let json = json!({"prompt": "bad", "completion": "a"});
    let error = row(&json, Some(&template(&fails)), &ReadOptions::default());
    let message = broken(error).to_string();
    assert!(
        message.starts_with("rows.jsonl:1: ") && message.contains("chat_template.jinja: line 1"),
        "{message}"
    );
}

#[test]
fn messages_of_the_wrong_type_are_named() {
    for (json, part) in [
        (
            json!({"prompt": [1], "completion": "a"}),
            "`prompt[0].role` must be a string",
        ),
        (
            json!({"prompt": 1, "completion": "a"}),
            "`prompt` must be a string or a list of messages",
        ),
        (
            json!({"prompt": "a", "completion": [{"role": "x"}]}),
            "`completion[0].content` must be",
        ),
    ] {
        let message = broken(in_chat(json)).to_string();
        assert!(message.contains(part), "{message}");
    }
}

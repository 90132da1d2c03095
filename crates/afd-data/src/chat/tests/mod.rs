//! Rendering against transformers, on the files that `testdata/chat/make.py` wrote.

mod files;
mod turns;

use std::{collections::BTreeMap, path::PathBuf};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::Error;

/// The moment that make.py has `strftime_now` tell.
const NOW: i64 = 1_721_984_703;

#[derive(Deserialize)]
struct Case {
    whole: Value,
    prompt: Value,
    #[serde(default)]
    ids: Vec<u32>,
    #[serde(default)]
    mask: String,
}

type Dialogues = BTreeMap<String, Vec<Message>>;
type Expected = BTreeMap<String, BTreeMap<String, Case>>;

#[derive(Deserialize)]
struct Snippets {
    messages: Vec<Message>,
    snippets: Vec<Snippet>,
}

#[derive(Deserialize)]
struct Snippet {
    template: String,
    text: Value,
}

fn testdata() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/chat"))
}

fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(testdata().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A directory with this template and the special tokens of make.py.
fn checkpoint(template: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        std::fs::copy(
            testdata().join("tokenizer").join(name),
            dir.path().join(name),
        )
        .unwrap()
    };
    copy("tokenizer_config.json");
    copy("tokenizer.json");
    std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    dir
}

/// The template of this text, with make.py's special tokens and clock.
fn template(text: &str) -> Result<ChatTemplate, Error> {
    let template = ChatTemplate::load(checkpoint(text).path())?.unwrap();
    template.at(NOW)
}

fn named(name: &str) -> String {
    std::fs::read_to_string(testdata().join(format!("templates/{name}.jinja"))).unwrap()
}

/// Whether we render as transformers does; where it fails, we must fail too, and with the same
/// words if they are the template's own.
fn compare(got: Result<String, Error>, expected: &Value) -> Result<(), String> {
    match (got, expected) {
        (Ok(got), Value::String(expected)) if got == *expected => Ok(()),
        (Err(Error::ChatRefused { message, .. }), Value::Object(error)) => {
            let error = error["error"].as_str().unwrap_or_default();
            match error.strip_prefix("TemplateError: ") == Some(&message) {
                true => Ok(()),
                false => Err(format!("refused with {message:?}, not {error:?}")),
            }
        }
        (Err(_), Value::Object(_)) => Ok(()),
        (got, expected) => Err(format!(
            "
 got      {got:?}\n expected {expected}"
        )),
    }
}

#[test]
fn templates_render_as_in_transformers() {
    let dialogues: Dialogues = golden("dialogues.json");
    let expected: Expected = golden("expected.json");
    let mut wrong = String::new();
    for (name, cases) in &expected {
        let template = template(&named(name)).unwrap();
        for (dialogue, case) in cases {
            for (prompt, expected) in [(false, &case.whole), (true, &case.prompt)] {
                let got = template.render(&dialogues[dialogue], prompt);
                if let Err(e) = compare(got.map(|r| r.text), expected) {
                    wrong += &format!("{name}, {dialogue}, {prompt}: {e}\n");
                }
            }
        }
    }
    assert!(expected.len() > 10 && wrong.is_empty(), "{wrong}");
}

/// Where minijinja takes what Python refuses, or does not know the syntax.
const KNOWN: [&str; 6] = [
    "{% for x in none %}x{% endfor %}",
    "{{ 1 in 'abc' }}",
    "{{ +1 }}",
    "{{ '%s and %d' % ('a', 3) }} {{ '%s' % 'x' }} {{ '%.2f' % 1.234 }}",
    "{{ 'a\\\nb' }}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}{{ ns._x }}",
];

#[test]
fn snippets_render_as_in_transformers() {
    let golden: Snippets = golden("snippets.json");
    let mut wrong = Vec::new();
    for Snippet {
        template: text,
        text: expected,
    } in &golden.snippets
    {
        let got = template(text).and_then(|t| t.render(&golden.messages, false));
        let got = compare(got.map(|r| r.text), expected);
        match (got, KNOWN.contains(&text.as_str())) {
            (Ok(()), false) | (Err(_), true) => {}
            (got, _) => wrong.push(format!("{text}{got:?}")),
        }
    }
    let count = wrong.len();
    assert!(count == 0, "{count} wrong:\n{}", wrong.join("\n"));
}

proptest! {
    #[test]
    fn rewriting_leaves_templates_without_the_tag_alone(
        parts in proptest::collection::vec(
            prop_oneof![
                "[ \\n\\ta-z'\"{}%#-]{0,8}",
                Just("{% if true %}".to_owned()), Just("{% endif %}".to_owned()),
                Just("{{ '%}{{' }}".to_owned()), Just("{# {% #}".to_owned()),
                Just("{% raw +%}{{ x }}{% endraw %}".to_owned()),
                Just("{{ {'a': {'b': 1}} }}".to_owned()),
                Just("{%- set generation = '{% generation %}' -%}".to_owned()),
                Just("{{ generation }}".to_owned()),
            ],
            0..12,
        ),
    ) {
        let text = parts.concat();
        let (rewritten, count) = generation::rewrite(&text, "f");
        prop_assert_eq!((rewritten, count), (text, 0));
    }
}

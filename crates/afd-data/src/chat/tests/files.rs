//! Where templates are found, and what is said when they fail.

use std::path::Path;

use serde_json::json;

use super::*;

fn write(dir: &Path, name: &str, text: impl ToString) {
    std::fs::write(dir.join(name), text.to_string()).unwrap();
}

fn said(dir: &Path) -> Option<String> {
    let template = ChatTemplate::load(dir).unwrap()?;
    let messages = [Message::new("user", "x")];
    Some(template.render(&messages, false).unwrap().text)
}

#[test]
fn the_file_of_its_own_comes_before_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(said(dir), None);
    write(dir, "tokenizer_config.json", json!({"eos_token": "</s>"}));
    assert_eq!(said(dir), None);
    write(dir, "tokenizer_config.json", json!({"chat_template": null}));
    assert_eq!(said(dir), None);
    let list =
        json!([{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "list"}]);
    write(dir, "tokenizer_config.json", json!({"chat_template": list}));
    assert_eq!(said(dir).as_deref(), Some("list"));
    write(
        dir,
        "tokenizer_config.json",
        json!({"chat_template": "key"}),
    );
    assert_eq!(said(dir).as_deref(), Some("key"));
    write(dir, "chat_template.json", json!({"chat_template": "json"}));
    assert_eq!(said(dir).as_deref(), Some("json"));
    write(dir, "chat_template.jinja", "jinja\r\n");
    assert_eq!(said(dir).as_deref(), Some("jinja"));
}

#[test]
fn special_tokens_are_texts_or_objects_of_either_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ unk_token is defined }}";
    write(
        dir.path(),
        "tokenizer_config.json",
        json!({"bos_token": {"content": "<b>"}, "eos_token": "<e>", "unk_token": null, "chat_template": text}),
    );
    let map = json!({"eos_token": "<other>", "pad_token": {"content": "<p>"}});
    write(dir.path(), "special_tokens_map.json", map);
    assert_eq!(said(dir.path()).as_deref(), Some("<b><e><p>False"));
}

#[test]
fn files_that_hold_no_template_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = || ChatTemplate::load(dir.path()).unwrap_err().to_string();
    for (value, part) in [
        (json!(3), "but is 3"),
        (
            json!([{"name": "rag", "template": "x"}]),
            "with the name `default`",
        ),
        (json!([{"name": "default"}]), "with the name `default`"),
    ] {
        write(
            dir.path(),
            "tokenizer_config.json",
            json!({"chat_template": value}),
        );
        let message = message();
        let place = "tokenizer_config.json: `chat_template` must be a text, or a list";
        assert!(
            message.contains(place) && message.contains(part),
            "{message}"
        );
    }
    std::fs::write(dir.path().join("chat_template.jinja"), b"a\xff").unwrap();
    let text = message();
    assert!(
        text.contains("chat_template.jinja: invalid UTF-8 after byte 1"),
        "{text}"
    );
}

#[test]
fn a_template_that_does_not_parse_is_named_with_its_line() {
    let dir = checkpoint("a\n{% if %}\n{% endif %}");
    let message = ChatTemplate::load(dir.path()).unwrap_err().to_string();
    let place = "chat_template.jinja: line 2: the chat template fails: syntax error";
    assert!(message.contains(place), "{message}");

    let dir = tempfile::tempdir().unwrap();
    let config = json!({"chat_template": "{% generation %}\n{% if x %}"});
    write(dir.path(), "tokenizer_config.json", config);
    let message = ChatTemplate::load(dir.path()).unwrap_err().to_string();
    let place = "tokenizer_config.json (`chat_template`): line 2: ";
    assert!(message.contains(place), "{message}");
}

#[test]
fn a_template_that_fails_says_where_and_why() {
    let fails = |text: &str| {
        let messages = [Message::new("user", "x")];
        template(text)
            .unwrap()
            .render(&messages, false)
            .unwrap_err()
    };
    let message = fails("\n\n{{ messages[3].role }}").to_string();
    assert!(
        message.contains("line 3: the chat template fails: undefined value"),
        "{message}"
    );
    // The innermost line is told, and what the template says is told in its own words.
    let text =
        "{% macro f() %}\n{{ raise_exception('No ' ~ messages|length) }}{% endmacro %}\n{{ f() }}";
    match fails(text) {
        Error::ChatRefused { message, .. } => assert_eq!(message, "No 1"),
        other => panic!("{other}"),
    }
    let message = fails("{% macro f() %}\n{{ 1 + 'a' }}{% endmacro %}\n\n{{ f() }}").to_string();
    assert!(
        message.contains("line 2: the chat template fails: tried to use +"),
        "{message}"
    );
    let message = fails("{{ strftime_now('%Q') }}").to_string();
    assert!(
        message.contains("does not know the format \"%Q\""),
        "{message}"
    );
    let message = fails("{% set x %}{% generation %}ab{% endgeneration %}{% endset %}{{ x[:1] }}");
    let part = "the text of a generation block is changed after the block";
    assert!(message.to_string().contains(part), "{message}");
}

#[test]
fn the_clock_is_the_present_unless_it_is_set() {
    let messages = [Message::new("user", "x")];
    let dir = checkpoint("{{ strftime_now('%Y') }}");
    let live = ChatTemplate::load(dir.path()).unwrap().unwrap();
    let year: u32 = live.render(&messages, false).unwrap().text.parse().unwrap();
    assert!(year > 2024);
    let fixed = live.at(0).unwrap().render(&messages, false).unwrap();
    assert_eq!(fixed.text, "1970");
}

#[test]
fn messages_keep_further_keys_in_json() {
    let json = json!({"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]});
    let message: Message = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(message.extra["tool_calls"][0]["id"], 1);
    assert_eq!(serde_json::to_value(message).unwrap(), json);
}

//! The chain on dialogues that the checkpoint's chat template writes.

use std::fs;

use serde_json::{Value, json};

use crate::util::{Ends, Run, afd, read_rows};

/// The assistant's turns end with the tokenizer's end token and are marked as what is learned.
const TEMPLATE: &str = "{% for message in messages %}\
{% if message.role == 'assistant' %}[bot] {% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}
{% else %}[{{ message.role }}] {{ message.content }}
{% endif %}{% endfor %}{% if add_generation_prompt %}[bot] {% endif %}";

const CONFIG: &str = "
[model]
path = \"model\"
[data]
source = \"file\"
path = \"rows.jsonl\"
dialogue_form = \"chat_template\"
split = { sft = 0.3, reward = 0.2, validation = 0.1, judge = 0.2, test = 0.2 }
max_rows = { test = 6 }
[sft]
assistant_only_loss = true
[eval]
golden = \"judge\"
";

/// Two turns each, with an answer that is liked and one that is not.
fn rows() -> String {
    let row = |k: usize| {
        let thing = ["soup", "bread", "rice", "stew", "salad", "tea", "noodles"][k % 7];
        let turn = |role: &str, content: String| json!({ "role": role, "content": content });
        let prompt = [
            turn("system", "Be brief.".to_owned()),
            turn("user", format!("I would like to make {thing}, number {k}.")),
            turn("assistant", "What do you have at home?".to_owned()),
            turn("user", "Not much.".to_owned()),
        ];
        let answer = |text: &str| [turn("assistant", format!("{text} {thing}."))];
        let row = json!({
            "prompt": prompt,
            "chosen": answer("Then keep it plain, the"),
            "rejected": answer("No"),
        });
        format!("{row}\n")
    };
    (0..80).map(row).collect()
}

fn run(template: &str) -> Run {
    let run = Run::new(CONFIG);
    let model = run.copy_of_base();
    if !template.is_empty() {
        fs::write(model.join("chat_template.jinja"), template).unwrap();
    }
    run.write("rows.jsonl", rows());
    run
}

#[test]
fn a_run_speaks_as_the_checkpoints_template_does() {
    let run = run(TEMPLATE);
    run.pipeline(&[]).succeeds();
    let examples: Vec<Value> = read_rows(&run.file("data/sft.jsonl"));
    let prompt = examples[0]["prompt"].as_str().unwrap();
    assert!(
        prompt.starts_with("[system] Be brief.\n[user] I would like"),
        "{prompt}"
    );
    assert!(prompt.ends_with("[user] Not much.\n[bot] "), "{prompt}");
    let answer = examples[0]["completion"].as_str().unwrap();
    assert!(answer.starts_with("Then keep it plain, the"), "{answer}");
    // The template goes with the model, so that whoever loads it speaks so too.
    let saved = fs::read_to_string(run.file("sft/chat_template.jinja")).unwrap();
    assert_eq!(saved, TEMPLATE);

    let mut chat = afd([
        "chat",
        "--chat-template",
        "--max-new-tokens",
        "5",
        "--model",
    ]);
    chat.arg(run.file("sft"));
    assert!(chat.succeeds().stdout.starts_with("An empty line"));
}

#[test]
fn templates_that_are_missing_or_wrong_are_told_with_their_place() {
    let refused = |template: &str, code: i32, parts: &[&str]| {
        let run = run(template);
        run.pipeline(&[]).fails(code, parts);
    };
    refused("", 1, &["chat template", "model"]);
    let broken = format!("{TEMPLATE}\n\n{{% if %}}");
    refused(&broken, 1, &["chat_template.jinja: line 5:"]);
    let failing = "{% for m in messages %}\n{{ m.content.no_such_method() }}\n{% endfor %}";
    refused(failing, 1, &["chat_template.jinja: line 2:"]);
    // It renders, and marks nothing to learn.
    let unmarked = TEMPLATE
        .replace("{% generation %}", "")
        .replace("{% endgeneration %}", "");
    refused(&unmarked, 1, &["generation", "chat_template.jinja"]);

    let run = Run::new("[data]\ndialogue_form = \"chat_template\"\n");
    run.pipeline(&[])
        .fails(2, &["`data.dialogue_form` must be \"hh\""]);
    let run = Run::new("[sft]\nassistant_only_loss = true\n");
    run.pipeline(&[])
        .fails(2, &["`sft.assistant_only_loss` needs data.dialogue_form"]);
}

//! Model cards: the `README.md` of an exported model.

mod evaluation;

use std::{fmt::Write, fs, path::Path};

use afd_model::Head;
use afd_stage::Manifest;
use serde_json::Value;

use crate::{args::ExportFormat, error::Error};
use evaluation::Evaluation;

/// The configuration of the run, as it goes with the model.
const CONFIG: &str = "afd-config.toml";

/// What there is to tell of a model.
pub(crate) struct Card {
    format: ExportFormat,
    head: Head,
    base: Option<String>,
    /// What made it, if it is a stage of a run.
    made: Option<Made>,
}

struct Made {
    /// What it was made with, by the manifest.
    settings: Vec<(String, Value)>,
    manifest: Manifest,
    /// The numbers of the stage's `summary.json`.
    metrics: Vec<(String, Value)>,
    /// The run's configuration, resolved.
    config: Option<(String, toml::Table)>,
    /// What the run's evaluation says of it.
    evaluation: Option<Evaluation>,
}

impl Card {
    /// Reads what the stage directory `from` and its run say.
    ///
    /// # Errors
    /// When a manifest is there and cannot be read.
    pub(crate) fn read(
        from: &Path,
        format: ExportFormat,
        head: Head,
        base: Option<&Path>,
    ) -> Result<Self, Error> {
        let made = match from.join("manifest.json").exists() {
            false => None,
            true => {
                let manifest = Manifest::read(from)?;
                let settings = settings(&manifest.config);
                // The run may have gone on with other settings since.
                let run_dir = from.ancestors().skip(1).find(|dir| is_run(dir));
                let config = run_dir.and_then(run_config);
                let evaluation = run_dir.and_then(|dir| Evaluation::read(dir, &manifest));
                let config =
                    config.filter(|(_, config)| agrees(config, &manifest.stage, &settings));
                Some(Made {
                    settings,
                    manifest,
                    metrics: metrics(&from.join("summary.json")),
                    config,
                    evaluation,
                })
            }
        };
        let base = base.map(|base| base.to_string_lossy().into_owned());
        let of_run = made.as_ref().and_then(|made| made.config.as_ref());
        let of_run = of_run.and_then(|(_, config)| text(config, "model", "path"));
        Ok(Self {
            format,
            head,
            base: base.or(of_run),
            made,
        })
    }

    /// Writes the card into `dir`, whose name will be that of `output`, and the run's configuration
    /// beside it.
    pub(crate) fn write(&self, dir: &Path, output: &Path) -> Result<(), Error> {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let write = |file: &str, text: &str| {
            let path = dir.join(file);
            fs::write(&path, text).map_err(|source| Error::Io {
                action: "write",
                path,
                source,
            })
        };
        if let Some((config, _)) = self.made.as_ref().and_then(|made| made.config.as_ref()) {
            write(CONFIG, config)?;
        }
        write("README.md", &self.render(&name))
    }

    fn render(&self, name: &str) -> String {
        let mut card = self.front_matter(name);
        let kind = match (self.head, self.format) {
            (Head::LanguageModel, ExportFormat::Hf) => "A language model",
            (Head::LanguageModel, ExportFormat::Peft) => "LoRA adapters for a language model",
            (Head::Score, ExportFormat::Hf) => "A reward model",
            (Head::Score, ExportFormat::Peft) => "LoRA adapters for a reward model",
        };
        let _ = write!(card, "\n# {name}\n\n{kind}");
        if let Some(base) = &self.base {
            let _ = write!(card, " made from `{base}`");
        }
        let _ = writeln!(
            card,
            " with afd, which aligns language models from demonstrations."
        );
        let _ = write!(card, "\n## Use\n\n```python\n{}```\n", self.usage());
        if let Some(made) = &self.made {
            if let Some(evaluation) = &made.evaluation {
                evaluation.render(&mut card);
            }
            made.render(&mut card);
        }
        card.push_str(CITATION);
        card
    }

    fn front_matter(&self, name: &str) -> String {
        let (library, task) = match (self.format, self.head) {
            (ExportFormat::Hf, Head::LanguageModel) => ("transformers", "text-generation"),
            (ExportFormat::Hf, Head::Score) => ("transformers", "text-classification"),
            (ExportFormat::Peft, Head::LanguageModel) => ("peft", "text-generation"),
            (ExportFormat::Peft, Head::Score) => ("peft", "text-classification"),
        };
        let mut yaml = format!("---\nlibrary_name: {library}\npipeline_tag: {task}\n");
        if let Some(base) = &self.base {
            let _ = writeln!(yaml, "base_model: {}", quoted(base));
        }
        let mut tags = vec!["afd", "generated_from_trainer"];
        match self.made.as_ref().map(|made| made.manifest.stage.as_str()) {
            Some("sft") => tags.push("sft"),
            Some(stage) if stage.starts_with("reward/") => tags.push("reward-trainer"),
            _ => {}
        }
        let _ = writeln!(yaml, "tags: [{}]", tags.join(", "));
        let _ = writeln!(yaml, "model_name: {}", quoted(name));
        if let Some(made) = &self.made {
            let data = made.data();
            let _ = writeln!(yaml, "datasets: [{}]", quoted(&data));
            let evaluated = made.evaluation.as_ref().map(Evaluation::metrics);
            let metrics: Vec<_> = made
                .metrics
                .iter()
                .chain(evaluated.iter().flatten())
                .collect();
            if !metrics.is_empty() {
                let _ = write!(
                    yaml,
                    "model-index:\n- name: {}\n  results:\n  - task: {{ type: {task} }}\n    \
                     dataset: {{ name: {data}, type: {data} }}\n    metrics:\n",
                    quoted(name),
                    data = quoted(&data)
                );
                for (metric, value) in metrics {
                    let _ = writeln!(yaml, "    - {{ type: {metric}, value: {value} }}");
                }
            }
        }
        yaml + "---\n"
    }

    /// Whether dialogues were written by the chat template.
    fn is_templated(&self) -> bool {
        let config = self.made.as_ref().and_then(|made| made.config.as_ref());
        let form = config.and_then(|(_, config)| text(config, "data", "dialogue_form"));
        form.as_deref() == Some("chat_template")
    }

    fn usage(&self) -> String {
        let class = match (self.format, self.head) {
            (ExportFormat::Hf, Head::LanguageModel) => "AutoModelForCausalLM",
            (ExportFormat::Hf, Head::Score) => "AutoModelForSequenceClassification",
            (ExportFormat::Peft, Head::LanguageModel) => "AutoPeftModelForCausalLM",
            (ExportFormat::Peft, Head::Score) => "AutoPeftModelForSequenceClassification",
        };
        let (import, options) = match (self.format, self.head) {
            (ExportFormat::Hf, _) => (
                format!("from transformers import AutoTokenizer, {class}\n"),
                "",
            ),
            (ExportFormat::Peft, head) => (
                format!("from peft import {class}\nfrom transformers import AutoTokenizer\n"),
                if head == Head::Score {
                    ", num_labels=1"
                } else {
                    ""
                },
            ),
        };
        let last = match self.head {
            Head::LanguageModel => {
                "output = model.generate(**inputs, max_new_tokens=128)\n\
                 print(tokenizer.decode(output[0], skip_special_tokens=True))\n"
            }
            Head::Score => "print(model(**inputs).logits)  # higher is more demonstration-like\n",
        };
        let text = match self.head {
            Head::LanguageModel => {
                "\"\\n\\nHuman: How do I grow beans?\\n\\nAssistant:\"".to_owned()
            }
            Head::Score => {
                "\"\\n\\nHuman: How do I grow beans?\\n\\nAssistant: In a sunny spot.\" \
                            + tokenizer.eos_token"
                    .to_owned()
            }
        };
        let inputs = match self.is_templated() {
            false => format!("tokenizer({text}, return_tensors=\"pt\")"),
            true => {
                let answer = match self.head {
                    Head::LanguageModel => "], add_generation_prompt=True",
                    Head::Score => {
                        ",\n    {\"role\": \"assistant\", \"content\": \"In a sunny spot.\"}]"
                    }
                };
                format!(
                    "tokenizer.apply_chat_template(\n    \
                     [{{\"role\": \"user\", \"content\": \"How do I grow beans?\"}}{answer},\n    \
                     return_tensors=\"pt\", return_dict=True)"
                )
            }
        };
        format!(
            "{import}\npath = \"PATH\"  # this directory\n\
             tokenizer = AutoTokenizer.from_pretrained(path)\n\
             model = {class}.from_pretrained(path{options})\n\
             inputs = {inputs}\n{last}"
        )
    }
}

impl Made {
    /// What it learned from, by name.
    fn data(&self) -> String {
        let config = self.config.as_ref().map(|(_, config)| config);
        let of_data = |key| config.and_then(|config| text(config, "data", key));
        match (of_data("source").as_deref(), of_data("path")) {
            (Some("world"), _) => "afd's synthetic world".to_owned(),
            (_, Some(path)) => {
                let file = Path::new(&path).file_name().unwrap_or_default();
                file.to_string_lossy().into_owned()
            }
            _ => "unknown".to_owned(),
        }
    }

    fn render(&self, card: &mut String) {
        let manifest = &self.manifest;
        let method = match manifest.stage.as_str() {
            "sft" => "supervised fine-tuning on demonstrations (forward KL)",
            stage if stage.starts_with("reward/") => {
                "a reward model learned from pairs by inverse reinforcement learning; the stage's \
                 name says which two sources of answers it tells apart"
            }
            _ => "a stage of afd's pipeline",
        };
        let _ = write!(
            card,
            "\n## How it was made\n\nStage `{}`: {method}, on {}, with seed {}, by afd {}{}.\n",
            manifest.stage,
            self.data(),
            manifest.seed,
            manifest.versions.afd,
            match &manifest.environment {
                Some(environment) => format!(" on {environment}"),
                None => String::new(),
            },
        );
        if self.config.is_some() {
            let _ = write!(
                card,
                "The same again, with `{CONFIG}` of this directory:\n\n```bash\ncargo xtask stage {} --config {CONFIG}\n```\n",
                manifest.stage
            );
        }
        if !self.settings.is_empty() {
            card.push_str("\n| setting | value |\n| --- | --- |\n");
            for (key, value) in &self.settings {
                let _ = writeln!(card, "| `{key}` | {value} |");
            }
        }
        if !self.metrics.is_empty() {
            card.push_str("\n| result | value |\n| --- | --- |\n");
            for (key, value) in &self.metrics {
                let _ = writeln!(card, "| {key} | {value} |");
            }
        }
    }
}

/// The settings in a manifest's configuration: those of its tables, and of tables within.
fn settings(config: &Value) -> Vec<(String, Value)> {
    fn gather(value: &Value, path: &str, settings: &mut Vec<(String, Value)>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let key = format!("{path}{key}");
            match value {
                Value::Object(_) => gather(value, &format!("{key}."), settings),
                value => settings.push((key, value.clone())),
            }
        }
    }
    let mut found = Vec::new();
    let parts = config
        .as_array()
        .map_or(std::slice::from_ref(config), Vec::as_slice);
    for part in parts {
        gather(part, "", &mut found);
    }
    found
}

/// Whether a run's configuration says of a stage what its manifest does.
fn agrees(config: &toml::Table, stage: &str, settings: &[(String, Value)]) -> bool {
    let table = stage.split('/').next().unwrap_or_default();
    let same = |(key, value): &(String, Value)| {
        let mut found = config.get(table);
        for part in key.split('.') {
            found = found.and_then(|table| table.get(part));
        }
        let found = found.and_then(|value| serde_json::to_value(value).ok());
        match (value.as_f64(), found.as_ref().and_then(Value::as_f64)) {
            (Some(made), Some(said)) => made == said,
            // What is off needs no key.
            _ => found.as_ref().unwrap_or(&Value::Bool(false)) == value,
        }
    };
    settings.iter().all(same)
}

/// The numbers of a summary, or none.
fn metrics(path: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    let entries = json.as_object().into_iter().flatten();
    entries
        .filter(|(_, value)| value.is_number())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether `dir` is the directory of a run.
fn is_run(dir: &Path) -> bool {
    dir.join("run.json").exists()
}

/// The resolved configuration of the run in `dir`.
fn run_config(dir: &Path) -> Option<(String, toml::Table)> {
    let text = fs::read_to_string(dir.join("config.toml")).ok()?;
    let table = text.parse().ok()?;
    Some((text, table))
}

fn text(config: &toml::Table, table: &str, key: &str) -> Option<String> {
    let value = config.get(table)?.get(key)?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// A text as YAML has it, which takes JSON's quotes.
fn quoted(text: &str) -> Value {
    Value::from(text)
}

const CITATION: &str = "
## Sources

Sun and van der Schaar, *Inverse-RLignment: Large Language Model Alignment from Demonstrations
through Inverse Reinforcement Learning*, arXiv 2405.15624.
";

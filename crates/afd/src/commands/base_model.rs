//! `afd base-model`: a small base checkpoint from the synthetic world.
//!
//! The corpus is what mediocre answerers say, the tokenizer a byte-level BPE learned from
//! it, the model a small Llama trained on prompt and answer alike.

use std::{fs, path::Path};

use afd_backend::{Placement, Precision};
use afd_data::{
    TokenRow, Tokenizer,
    records::{Example, JsonlWriter, read_jsonl},
    world::World,
};
use afd_model::{CausalLm, DecoderConfig, Pretrained, SaveOptions};
use afd_sft::{NegativeLogLikelihood, train_model};
use afd_stage::{RunDir, seed::derive};
use afd_train::Snapshots;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Overrides, Recipe},
    error::Error,
    observer,
};

/// The `[corpus]` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Corpus {
    /// Dialogues to train on.
    rows: u64,
    /// Dialogues to evaluate on.
    validation_rows: u64,
    /// Ids of the tokenizer.
    vocab_size: usize,
}

/// The `[model]` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    max_position_embeddings: usize,
}

pub(crate) fn run(config: &Path, output: &Path, run_dir: &Path) -> Result<(), Error> {
    let recipe = Recipe::load(config, &Overrides::new(super::environment(), &[])?)?;
    let placement = Placement::open(&recipe.device, Precision::default())?;
    let io = |source| Error::Io {
        action: "write",
        path: output.into(),
        source,
    };
    // Better now than after the training.
    fs::create_dir_all(output).map_err(io)?;
    let run = RunDir::open(run_dir, recipe.seed, observer::for_terminal())?;

    let corpus = run.stage("corpus", 1, &recipe.corpus, &[], |ctx| {
        let (rows, validation) = (recipe.corpus.rows, recipe.corpus.validation_rows);
        for (name, start, count) in [("train", 0, rows), ("validation", rows, validation)] {
            let mut writer = JsonlWriter::create(&ctx.dir().join(format!("{name}.jsonl")))?;
            for index in start..start + count {
                writer.write(&dialogue(ctx.seed(), index))?;
            }
            writer.finish()?;
        }
        let texts = read_jsonl::<Example>(&ctx.dir().join("train.jsonl"))?;
        let texts = texts.into_iter().map(|example| text(&example));
        Tokenizer::train_bpe(texts, recipe.corpus.vocab_size, ctx.dir())?;
        Ok::<(), Error>(())
    })?;

    let key = (&recipe.shape, &recipe.sft);
    let model = run.stage("model", 1, &key, &[&corpus], |ctx| {
        let tokenizer = Tokenizer::load(corpus.path())?;
        let (sft, train) = &recipe.sft;
        let rows = |name: &str| -> Result<NegativeLogLikelihood, Error> {
            let examples: Vec<Example> = read_jsonl(&corpus.file(format!("{name}.jsonl")))?;
            let rows = examples
                .iter()
                .filter_map(|e| TokenRow::text(&tokenizer, &text(e), sft.max_length).transpose())
                .collect::<Result<_, _>>()?;
            let seed = ctx.seed();
            Ok(NegativeLogLikelihood { rows, seed })
        };
        let config = shape(&recipe.shape, &tokenizer);
        let model = CausalLm::init(config, derive(ctx.seed(), "init", 0), &placement)?;
        let (training, validation) = (rows("train")?, rows("validation")?);
        let outcome = train_model(
            model,
            &training,
            &validation,
            sft,
            train,
            Snapshots::none(),
            &placement,
            ctx,
        )?;
        outcome.model.save(ctx.dir(), SaveOptions::default())?;
        tokenizer.save(ctx.dir())?;
        let summary = serde_json::json!({
            "dialogues": training.rows.len(),
            "steps": outcome.steps,
            "eval_loss": outcome.eval_loss,
        });
        ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
        Ok::<(), Error>(())
    })?;

    for entry in fs::read_dir(model.path()).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let internal = ["manifest.json", "metrics.jsonl"];
        if entry.path().is_file() && !internal.iter().any(|own| name == *own) {
            fs::copy(entry.path(), output.join(name)).map_err(io)?;
        }
    }
    Ok(())
}

/// Dialogue `index` of the corpus.
fn dialogue(seed: u64, index: u64) -> Example {
    let mut rng = ChaCha8Rng::seed_from_u64(derive(seed, "corpus", index));
    let situation = World::situation(&mut rng);
    Example {
        prompt: situation.prompt().to_owned(),
        completion: Some(World::base_answer(&situation, &mut rng)),
        chosen: None,
        rejected: None,
        messages: Vec::new(),
        source: format!("world:{index}"),
    }
}

fn text(example: &Example) -> String {
    format!(
        "{}{}",
        example.prompt,
        example.completion.as_deref().unwrap_or_default()
    )
}

fn shape(shape: &Shape, tokenizer: &Tokenizer) -> DecoderConfig {
    DecoderConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: shape.hidden_size,
        intermediate_size: shape.intermediate_size,
        num_hidden_layers: shape.num_hidden_layers,
        num_attention_heads: shape.num_attention_heads,
        num_key_value_heads: shape.num_key_value_heads,
        max_position_embeddings: shape.max_position_embeddings,
        tie_word_embeddings: true,
        pad_token_id: Some(tokenizer.pad_id()),
        eos_token_ids: vec![tokenizer.eos_id()],
        ..DecoderConfig::llama(shape.hidden_size / shape.num_attention_heads)
    }
}

impl Recipe {
    /// Every value out of range, by key.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let train = self.sft.1.problems().into_iter();
        let mut problems: Vec<_> = train
            .map(|(key, rule)| (format!("sft.{key}"), format!("must be {rule}")))
            .collect();
        let heads = self.shape.num_attention_heads;
        if heads == 0 || !self.shape.hidden_size.is_multiple_of(heads) {
            let problem = "must divide model.hidden_size".to_owned();
            problems.push(("model.num_attention_heads".into(), problem));
        }
        problems
    }
}

//! Files and text in, records and token batches out.
//!
//! * [`open`] reads demonstrations and preferences: JSON Lines or CSV, plain or gzip.
//! * [`prepare`] de-duplicates, filters and splits them by prompt: the data stage.
//! * [`records`] holds the types that stages exchange as JSON Lines, with
//!   [`read_jsonl`](records::read_jsonl) and [`JsonlWriter`](records::JsonlWriter).
//! * [`chat`] renders dialogues by a checkpoint's chat template, as transformers does.
//! * [`Tokenizer`] is a Hugging Face tokenizer directory; it can also learn a byte-level BPE.
//! * [`TokenRow`] is a sequence with its answer marked.
//! * [`epoch_plan`] and [`eval_batches`] say which rows go into which batch.
//! * [`features`] are what can be read off an answer's text without understanding it.
//! * [`world`] is a synthetic source of dialogues with a reward known exactly.
//!
//! ```no_run
//! use std::path::Path;
//! use afd_data::{PrepareConfig, ReadOptions, TokenRow, Tokenizer, open, prepare, records};
//!
//! # fn main() -> Result<(), afd_data::Error> {
//! let tokenizer = Tokenizer::load(Path::new("checkpoint"))?;
//! let rows = open(Path::new("demonstrations.jsonl.gz"), &ReadOptions::default())?;
//! let out = Path::new("runs/first/data");
//! let summary = prepare(rows, &PrepareConfig::default(), &tokenizer, out)?;
//!
//! let examples: Vec<records::Example> = records::read_jsonl(&out.join("sft.jsonl"))?;
//! assert_eq!(examples.len() as u64, summary.kept.sft);
//! let answer = examples[0].completion.as_deref().unwrap_or_default();
//! let row = TokenRow::example(&tokenizer, &examples[0].prompt, answer, 512)?;
//! # Ok(())
//! # }
//! ```

mod batches;
pub mod chat;
mod error;
pub mod features;
mod prepare;
mod read;
pub mod records;
mod tokenizer;
mod tokens;
pub mod world;

pub use crate::{
    batches::{Step, epoch_plan, eval_batches},
    error::{Error, RowError},
    prepare::{
        DropCount, PrepareConfig, Quantiles, SplitCaps, SplitCounts, SplitFractions, Summary,
        prepare,
    },
    read::{ASSISTANT, HUMAN, ReadOptions, Rows, StripPrefix, open, open_with},
    tokenizer::{DialogueForm, Tokenizer},
    tokens::{TokenRow, encode_all},
};

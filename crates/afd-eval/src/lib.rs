//! Stage: judges policies and rankers by a golden reward, and tells what it found.
//!
//! * [`run`] is the stage: samples of the initial and the fine-tuned policy, scores of the latter
//!   by any number of rankers, samples of any number of policies made from it ([`PolicyInput`]), and
//!   a golden reward go in; figures and a report come out.
//! * [`score_golden`] is a stage of its own for each further scorer, whose word then stands beside the golden one's.
//! * [`EvalConfig`] is its table in the configuration, [`EvalInputs`] the files it reads.
//! * [`Summary`] is `summary.json`; [`load_summary`] reads it, [`terminal_table`] shows it,
//!   [`comparison_table`] several, and [`across_seeds`] what several seeds of one configuration say.
//!
//! Best-of-N is worked out exactly from the stored samples, for all N at once; intervals come from
//! a bootstrap over prompts, and all differences are paired.
//!
//! ```no_run
//! let summary = afd_eval::load_summary("runs/quickstart/eval/summary.json".as_ref())?;
//! let best = summary.headline("init-sft").map(|row| row.golden_mean);
//! print!("{}", afd_eval::terminal_table(&summary));
//! # Ok::<(), afd_eval::Error>(())
//! ```

mod config;
mod error;
mod evaluate;
mod findings;
mod golden;
mod inputs;
mod numbers;
mod record;
mod report;
#[cfg(test)]
mod sample_summary;
mod seeds;
mod stage;
mod summary;
mod table;
mod texts;
mod warnings;

pub use config::EvalConfig;
pub use error::Error;
pub use golden::{FILE as GOLDEN, GoldenRow};
pub use inputs::{CLOSED_FORM, EmbeddingSpread, EvalInputs, LogProbs, PolicyInput, RewardSummary};
pub use record::{PolicyCost, RunRecord, StageRecord};
pub use seeds::{SeedEffect, across_seeds, across_seeds_table};
pub use stage::{run, score_golden};
pub use summary::{
    Agreement, CalibrationSummary, Comparison, Demonstrator, Judged, KlKind, KlSweep, Policy,
    PolicyRow, RankerKind, RankerSummary, Reference, ScoredPolicy, ScorerSummary, Strength,
    Summary, Test, load_summary, summary_schema,
};
pub use table::{comparison_table, terminal_table};

//! The command line from outside: `afd` as people run it, on configurations that take seconds.
//!
//! `util` starts the binary and keeps one finished run that all tests may look at.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod chat;
mod config_faults;
mod data_faults;
mod devices;
mod export;
mod hub;
mod judge;
mod llm_judge;
mod model_faults;
mod pipeline;
mod policies;
mod results;
mod resume;
mod rewards;
mod rows;
mod run_faults;
mod shards;
mod stacked;
mod templates;
mod util;

//! Turns a function into a cached, atomic, resumable, traceable stage.
//!
//! A run is a directory; a stage is a function that fills one directory in it. [`RunDir::stage`]
//! is all the ceremony there is:
//!
//! * **Cached.** A stage whose name, format, configuration, seed and inputs are those of a
//!   finished one is skipped. Inputs count by content, so a rebuilt but identical input skips too.
//! * **Atomic.** The function works in a scratch directory, which is renamed into place once
//!   `manifest.json` is written. A directory without a manifest is never taken for a result.
//! * **Resumable.** A kill, an error or a panic leaves the scratch directory. The same stage finds
//!   it again and is told so by [`StageContext::resumed`]; any change of the key starts afresh.
//! * **Traceable.** [`Manifest`] holds what went in, what came out, where and what it took.
//!
//! Main items: [`RunDir`] holds a run, [`StageContext`] is what a stage's function works with,
//! [`Artifact`] is what it leaves and what the next stage takes, [`source_artifact`] makes an input
//! of a file from elsewhere and [`source_files`] of some in a directory, [`Metrics`] records curves, [`Observer`] hears what happens,
//! [`seed::derive`] gives each use of randomness its own seed and [`fs`] writes files atomically.
//!
//! # Example
//!
//! Two stages, of which the second call does nothing:
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use afd_stage::{Artifact, Error, Quiet, RunDir, StageError};
//!
//! #[derive(serde::Serialize)]
//! struct Words {
//!     text: String,
//! }
//!
//! /// Returns the second stage's artefact and how many functions were called.
//! fn pipeline(root: &Path) -> Result<(Artifact, usize), StageError<Error>> {
//!     let called = std::cell::Cell::new(0);
//!     let run = RunDir::open(root, 42, Arc::new(Quiet))?;
//!
//!     let config = Words { text: "one two three".into() };
//!     let words = run.stage("words", 1, &config, &[], |ctx| {
//!         called.set(called.get() + 1);
//!         ctx.write("words.txt", config.text.as_bytes())
//!     })?;
//!
//!     let count = run.stage("count", 1, &(), &[&words], |ctx| {
//!         called.set(called.get() + 1);
//!         let text = afd_stage::fs::read_to_string(&words.file("words.txt"))?;
//!         ctx.write("count.txt", text.split(' ').count().to_string().as_bytes())
//!     })?;
//!     Ok((count, called.get()))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = tempfile::tempdir()?;
//! let (first, called) = pipeline(root.path())?;
//! assert_eq!(called, 2);
//! assert_eq!(std::fs::read_to_string(first.file("count.txt"))?, "3");
//!
//! let (second, called) = pipeline(root.path())?;
//! assert_eq!(called, 0);
//! assert_eq!(first.fingerprint(), second.fingerprint());
//! # Ok(())
//! # }
//! ```

mod artifact;
mod context;
mod cost;
mod environment;
mod error;
mod events;
pub mod fs;
mod manifest;
mod metrics;
mod name;
mod observer;
mod run;
mod scratch;
pub mod seed;

pub use artifact::{Artifact, source_artifact, source_files};
pub use context::StageContext;
pub use cost::{Cost, peak_memory_bytes};
pub use error::{Error, StageError};
pub use manifest::{FileRecord, InputRecord, Manifest, Versions};
pub use metrics::Metrics;
pub use observer::{Event, Observer, Quiet};
pub use run::RunDir;

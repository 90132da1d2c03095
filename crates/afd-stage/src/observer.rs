//! Who wants to know how a run goes: a terminal, a log, a test.

use crate::Cost;

/// Hears what happens in a run.
///
/// Called on the thread that runs the stage, as often as the stage reports; an observer that draws
/// throttles itself. It must not panic.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}

/// What an [`Observer`] hears. A stage is either skipped, or started and then finished or failed.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A finished stage has the same key: nothing to do.
    Skipped {
        /// The stage's name.
        stage: &'a str,
    },
    /// The stage's function is about to be called.
    Started {
        /// The stage's name.
        stage: &'a str,
        /// Whether it continues work that was interrupted.
        resumed: bool,
    },
    /// The stage's function called [`StageContext::progress`](crate::StageContext::progress).
    Progress {
        /// The stage's name.
        stage: &'a str,
        /// How many of `total` are done.
        done: u64,
        /// How many there are.
        total: u64,
        /// What is counted, in the singular: "step", "prompt" …
        unit: &'a str,
        /// A few words on how it goes, such as "loss 2.31"; may be empty.
        note: &'a str,
    },
    /// The stage's result is in place.
    Finished {
        /// The stage's name.
        stage: &'a str,
        /// What it took, over all resumes.
        cost: &'a Cost,
    },
    /// The stage's function failed or panicked, or its result could not be put in place.
    Failed {
        /// The stage's name.
        stage: &'a str,
    },
}

/// Hears and does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn event(&self, _event: &Event<'_>) {}
}

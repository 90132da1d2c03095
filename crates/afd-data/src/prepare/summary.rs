//! What the data stage reports: counts, reasons and lengths, without time or place.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    records::{DropReason, DroppedRow},
};

/// How many sources are named for each reason.
const NAMED_SOURCES: usize = 5;

/// The content of `summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Rows in the input, dropped ones included.
    pub rows_read: u64,
    /// Rows in each split.
    pub kept: SplitCounts,
    /// Distinct prompts among the rows kept.
    pub unique_prompts: u64,
    /// Rows left out, by reason.
    pub dropped: BTreeMap<DropReason, DropCount>,
    /// Prompt lengths of the rows kept, in tokens.
    pub prompt_tokens: Quantiles,
    /// Demonstration lengths of the rows kept, in tokens without the end token.
    pub completion_tokens: Quantiles,
}

/// Rows in each split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitCounts {
    /// In `sft.jsonl`.
    pub sft: u64,
    /// In `reward.jsonl`.
    pub reward: u64,
    /// In `validation.jsonl`.
    pub validation: u64,
    /// In `judge.jsonl`.
    pub judge: u64,
    /// In `test.jsonl`.
    pub test: u64,
}

impl From<[u64; 5]> for SplitCounts {
    fn from([sft, reward, validation, judge, test]: [u64; 5]) -> Self {
        Self {
            sft,
            reward,
            validation,
            judge,
            test,
        }
    }
}

/// How often a reason applied, and where first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropCount {
    /// Rows.
    pub count: u64,
    /// The sources of the first few; all are in `dropped.jsonl`.
    pub first: Vec<String>,
}

/// Quantiles of a length (nearest rank: each is a length that occurs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub min: usize,
    pub p25: usize,
    pub p50: usize,
    pub p75: usize,
    pub p95: usize,
    pub max: usize,
}

impl Summary {
    pub(super) fn count_dropped(&mut self, row: &DroppedRow) {
        let entry = self.dropped.entry(row.reason).or_default();
        entry.count += 1;
        if entry.first.len() < NAMED_SOURCES {
            entry.first.push(row.source.clone());
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .map_err(Error::io("write", path))?;
        text.push(b'\n');
        Ok(afd_stage::fs::write_atomic(path, &text)?)
    }
}

/// Counts by length: exact quantiles in memory bounded by the longest text.
#[derive(Default)]
pub(super) struct Lengths {
    counts: BTreeMap<usize, u64>,
}

impl Lengths {
    pub(super) fn add(&mut self, length: usize) {
        *self.counts.entry(length).or_default() += 1;
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let at = |percent| self.quantile(percent);
        Quantiles {
            min: at(0),
            p25: at(25),
            p50: at(50),
            p75: at(75),
            p95: at(95),
            max: at(100),
        }
    }

    /// The smallest length that at least `percent` of the rows do not exceed; 0 without rows.
    fn quantile(&self, percent: u64) -> usize {
        let total: u64 = self.counts.values().sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (&length, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return length;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let mut lengths = Lengths::default();
        for length in [5, 1, 4, 2, 3, 3, 9, 8, 7, 6] {
            lengths.add(length);
        }
        // Sorted: 1 2 3 3 4 5 6 7 8 9; ranks 1, 3, 5, 8, 10, 10.
        let expected = Quantiles {
            min: 1,
            p25: 3,
            p50: 4,
            p75: 7,
            p95: 9,
            max: 9,
        };
        assert_eq!(lengths.quantiles(), expected);
        assert_eq!(Lengths::default().quantiles(), Quantiles::default());
    }
}

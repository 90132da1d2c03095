//! The pairs of some prompts: halves that share no prompt, for a reward that is only watched.

use std::path::Path;

use afd_data::records::{JsonlReader, JsonlWriter, PreferenceRow};
use afd_stage::{StageContext, seed::derive};
use serde::{Deserialize, Serialize};

use super::{PAIRS, PairSource};
use crate::Error;

/// Prompts in an order that is theirs alone, from one share of them to another.
///
/// The whole, from 0 to 1, is worth a name too: a reward model of another name begins with other weights
/// and takes its pairs in another order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Whose pairs.
    pub of: PairSource,
    /// The share of the prompts before the first.
    pub from: f64,
    /// The share up to and with the last.
    pub to: f64,
}

impl Part {
    /// Whether it is a part of anything.
    pub(super) fn is_sound(&self) -> bool {
        0.0 <= self.from && self.from < self.to && self.to <= 1.0
    }

    /// Whether a prompt is in it: by its text, so that two parts that do not meet share none.
    fn holds(&self, prompt: &str) -> bool {
        let place = derive(0, prompt, 0) as f64 / 2f64.powi(64);
        self.from <= place && (place < self.to || self.to == 1.0)
    }
}

/// Writes the pairs whose prompt is in the part; where each answer has a prompt of its own, both.
///
/// # Errors
/// [`Error::EmptyClass`] when there are none.
pub fn take(pairs: &Path, part: &Part, ctx: &StageContext) -> Result<(), Error> {
    let mut writer = JsonlWriter::create(&ctx.dir().join(PAIRS))?;
    let mut left_out = 0u64;
    for row in JsonlReader::<PreferenceRow>::open(pairs)? {
        let row = row?;
        match part.holds(&row.prompt) && part.holds(row.rejected_prompt()) {
            true => writer.write(&row)?,
            false => left_out += 1,
        }
    }
    let rows = writer.finish()?;
    if rows == 0 {
        return Err(Error::EmptyClass {
            side: "a part".into(),
            paths: vec![pairs.into()],
        });
    }
    let summary = serde_json::json!({ "pairs": rows, "left_out": left_out });
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_do_not_meet_share_no_prompt_and_leave_none_out() {
        let part = |from, to| Part {
            of: PairSource::InitSft,
            from,
            to,
        };
        let parts = [part(0.0, 0.3), part(0.3, 1.0)];
        let prompts: Vec<String> = (0..2000).map(|number| format!("prompt {number}")).collect();
        let mut first = 0;
        for prompt in &prompts {
            let held = parts.each_ref().map(|part| part.holds(prompt));
            assert_ne!(held[0], held[1], "{prompt}");
            first += usize::from(held[0]);
        }
        // Five standard errors of a share of 0.3 among 2,000.
        assert!((500..700).contains(&first), "{first}");
        assert!(!part(0.5, 0.5).is_sound() && !part(-0.1, 0.5).is_sound());
    }
}

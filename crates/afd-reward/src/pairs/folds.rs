//! The demonstrations in two halves, so that each half's prompts are new to who learned the other.

use std::path::Path;

use afd_data::records::{Example, JsonlReader, JsonlWriter};
use afd_stage::{StageContext, seed::derive};

use crate::Error;

/// The halves' files in the stage's directory.
pub const FOLDS: [&str; 2] = ["fold-0.jsonl", "fold-1.jsonl"];

/// Splits [`Example`] rows in two by lot; rows of one prompt stay together.
///
/// # Errors
/// When the rows cannot be read, or all fall into one half.
pub fn write_folds(examples: &Path, ctx: &StageContext) -> Result<(), Error> {
    let mut folds = Vec::new();
    for name in FOLDS {
        folds.push(JsonlWriter::create(&ctx.dir().join(name))?);
    }
    for example in JsonlReader::<Example>::open(examples)? {
        let example = example?;
        let fold = derive(ctx.seed(), &example.prompt, 0) % FOLDS.len() as u64;
        folds[fold as usize].write(&example)?;
    }
    for (fold, name) in folds.into_iter().zip(FOLDS) {
        if fold.finish()? == 0 {
            return Err(Error::EmptyClass {
                side: name.to_owned(),
                paths: vec![examples.to_owned()],
            });
        }
    }
    Ok(())
}

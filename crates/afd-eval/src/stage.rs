//! The stage: answers and their scores in, figures and a report out.

use std::path::Path;

use afd_model::Scorer;
use afd_stage::StageContext;

use crate::{
    Error, EvalConfig, EvalInputs, Summary,
    evaluate::evaluate,
    golden,
    inputs::{self, Asked},
    record, report,
};

/// Evaluates policies and rankers by `golden`, and leaves `golden.jsonl` (golden rewards of all
/// answers), `summary.json` (a [`Summary`]), `report.md` and `report.html` in the stage's
/// directory.
///
/// Answers are read prompt by prompt, several times over: what is held of them are a few numbers each, and the texts
/// that the report shows.
///
/// `golden` is asked once per prompt, for all its answers; an interrupted stage does not ask again
/// for what it has.
///
/// # Errors
///
/// On inputs that cannot be read or do not belong together, rewards that rank nothing, a golden
/// reward that fails or is not finite, and fewer samples than the smallest N.
pub fn run(
    config: &EvalConfig,
    inputs: &EvalInputs<'_>,
    golden: &dyn Scorer,
    ctx: &StageContext,
) -> Result<(), Error> {
    let asked = Asked::read(inputs)?;
    let samples = asked.sft.answers;
    let smallest = config.n.first().copied().unwrap_or(1);
    if smallest > samples || config.n.is_empty() {
        return Err(Error::TooFewSamples {
            path: inputs.sft_samples.into(),
            smallest,
            samples,
        });
    }
    let logged = record::logged(inputs.record, &report::LOGGED.map(|(name, _)| name))?;
    let shown = report::shown(config, asked.dialogues.len());
    let data = inputs::read(inputs, asked, &shown)?;
    let rows = golden::score(&data.asked, golden, inputs.golden_name, ctx)?;
    golden::tells_apart(&rows, inputs.golden_name)?;
    let summary = evaluate(config, &data, &rows, inputs.golden_name, ctx.seed());
    let (markdown, html) = report::render(&summary, &data, &rows, config, inputs.record, &logged);
    ctx.write("summary.json", &json(&summary, ctx.dir())?)?;
    ctx.write("report.md", markdown.as_bytes())?;
    ctx.write("report.html", html.as_bytes())?;
    Ok(())
}

/// Has `scorer` reward all answers, and leaves [`GOLDEN`](crate::GOLDEN) in the stage's directory, for an evaluation to
/// compare with its own golden rewards. An interrupted stage does not ask again for what it has.
///
/// # Errors
///
/// On files of samples that cannot be read or do not belong together, names of policies that are taken, and a scorer that
/// fails or whose reward is not finite. Of `inputs` the prompts, the samples and the golden name are read, and no more.
pub fn score_golden(
    inputs: &EvalInputs<'_>,
    scorer: &dyn Scorer,
    ctx: &StageContext,
) -> Result<(), Error> {
    let asked = Asked::read(inputs)?;
    golden::score(&asked, scorer, inputs.golden_name, ctx)?;
    Ok(())
}

fn json(summary: &Summary, dir: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(summary).map_err(|source| Error::Json {
        path: dir.join("summary.json"),
        source,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests;

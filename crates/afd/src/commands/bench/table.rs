//! The table of variants side by side.

use super::Measured;
use crate::args::{BenchArgs, Variant};

/// The medians of a variant.
pub(super) struct Row<'a> {
    variant: &'a Variant,
    /// Tokens a second: forward, backward and AdamW.
    train: f64,
    /// Tokens a second: log-probabilities of given answers.
    score: f64,
    /// Tokens a second: answers drawn with the cache.
    sample: f64,
    /// Floating-point operations a second of large matrix products in the compute type.
    matmul: f64,
    /// The largest of the processes that trained.
    peak_memory: Option<u64>,
}

impl<'a> Row<'a> {
    /// From the runs of training, scoring, sampling and matrix products.
    pub(super) fn new(variant: &'a Variant, runs: &[Vec<Measured>; 4]) -> Self {
        let [train, score, sample, matmul] = runs;
        Self {
            variant,
            peak_memory: train.iter().filter_map(|run| run.peak_memory).max(),
            train: median(train),
            score: median(score),
            sample: median(sample),
            matmul: median(matmul),
        }
    }
}

fn median(runs: &[Measured]) -> f64 {
    let mut rates: Vec<f64> = runs.iter().map(|run| run.rate).collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

pub(super) fn table(args: &BenchArgs, rows: &[Row<'_>]) -> String {
    let (shape, runs) = (args.shape, args.repeats);
    let parameters = shape.parameters() as f64;
    let first = &rows[0];
    let mut text = format!(
        "{shape}: width {}, {} layers, vocabulary {}, {:.1} M parameters; batch {} x {} tokens, median of {runs} runs\n\
         × is the ratio to the first row; of peak: 6 FLOPs per parameter and token over a large matrix product's\n\n\
         {:<26} {:>15} {:>6} {:>14} {:>6} {:>15} {:>6} {:>8} {:>9}\n",
        shape.width,
        shape.layers,
        shape.vocabulary,
        parameters / 1e6,
        args.batch_size,
        args.length,
        "",
        "train tokens/s",
        "×",
        "score tokens/s",
        "×",
        "sample tokens/s",
        "×",
        "of peak",
        "host MiB",
    );
    for row in rows {
        let memory = row
            .peak_memory
            .map_or("–".into(), |b| format!("{:.0}", b as f64 / 1_048_576.0));
        let of_peak = 6.0 * parameters * row.train / row.matmul;
        text += &format!(
            "{:<26} {:>15.0} {:>6.2} {:>14.0} {:>6.2} {:>15.0} {:>6.2} {:>6.0} % {memory:>9}\n",
            row.variant.to_string(),
            row.train,
            row.train / first.train,
            row.score,
            row.score / first.score,
            row.sample,
            row.sample / first.sample,
            100.0 * of_peak,
        );
    }
    text
}

//! Several files of pairs in one: demonstrations and preferences together, or earlier rounds again.

use std::path::PathBuf;

use afd_data::records::{JsonlReader, JsonlWriter, PreferenceRow};
use afd_stage::StageContext;

use super::PAIRS;
use crate::Error;

/// One file of a mixture.
#[derive(Debug, Clone)]
pub struct Share {
    /// [`PreferenceRow`]s.
    pub pairs: PathBuf,
    /// Its share of the mixture's rows, relative to the others'.
    pub weight: f64,
}

/// Writes a mixture in the given shares: as many rows as there can be without any of them twice.
///
/// Of a file that has more than its share, rows are taken at even distances; the files' rows alternate
/// in proportion, so that every part of the mixture is mixed. Rows keep their provenance.
/// `summary.json` counts the rows of each file.
///
/// # Errors
/// [`Error::EmptyClass`] when a file holds no rows.
///
/// # Panics
/// When a weight is not above 0.
pub fn mix(shares: &[Share], ctx: &StageContext) -> Result<(), Error> {
    let total: f64 = shares.iter().map(|share| share.weight).sum();
    let weights: Vec<f64> = shares.iter().map(|share| share.weight / total).collect();
    assert!(weights.iter().all(|w| *w > 0.0), "weights above 0");
    let mut counts = Vec::new();
    for share in shares {
        let rows = JsonlReader::<PreferenceRow>::open(&share.pairs)?;
        let count = rows.map(|row| row.map(|_| 1u64)).sum::<Result<u64, _>>()?;
        if count == 0 {
            return Err(Error::EmptyClass {
                side: "a mixture".into(),
                paths: vec![share.pairs.clone()],
            });
        }
        counts.push(count);
    }
    let takes = takes(&counts, &weights);
    let mut files = Vec::new();
    for ((share, &count), &take) in shares.iter().zip(&counts).zip(&takes) {
        let rows = JsonlReader::<PreferenceRow>::open(&share.pairs)?;
        // Row k is taken where the even count of rows taken goes up.
        let taken = move |(k, _): &(u64, _)| (k + 1) * take / count > k * take / count;
        files.push((0..).zip(rows).filter(taken).map(|(_, row)| row));
    }
    let mut writer = JsonlWriter::create(&ctx.dir().join(PAIRS))?;
    let mut written = vec![0u64; shares.len()];
    while let Some(next) = furthest_behind(&written, &takes) {
        if let Some(row) = files[next].next() {
            writer.write(&row?)?;
        }
        written[next] += 1;
    }
    let summary = serde_json::json!({
        "pairs": writer.finish()?,
        "pairs_of_each": takes,
        "left_out_of_each": counts.iter().zip(&takes).map(|(n, k)| n - k).collect::<Vec<_>>(),
    });
    ctx.write("summary.json", format!("{summary:#}\n").as_bytes())?;
    Ok(())
}

/// How many rows of each file there are in the largest mixture.
fn takes(counts: &[u64], weights: &[f64]) -> Vec<u64> {
    let limits = counts.iter().zip(weights).map(|(&n, w)| n as f64 / w);
    let size = limits.fold(f64::INFINITY, f64::min);
    // A part too small for a whole row has one all the same: it was asked for.
    let take = |(&n, w): (&u64, &f64)| ((w * size).round() as u64).clamp(1, n);
    counts.iter().zip(weights).map(take).collect()
}

/// The file of which the smallest part is written; none when all are.
fn furthest_behind(written: &[u64], takes: &[u64]) -> Option<usize> {
    let part = |&index: &usize| written[index] as f64 / takes[index] as f64;
    (0..takes.len())
        .filter(|&index| written[index] < takes[index])
        .min_by(|a, b| part(a).total_cmp(&part(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mixture_repeats_nothing() {
        assert_eq!(takes(&[800, 600], &[0.5, 0.5]), [600, 600]);
        assert_eq!(takes(&[800, 100], &[0.75, 0.25]), [300, 100]);
    }

    #[test]
    fn files_alternate_in_proportion() {
        let (takes, mut written) = ([3, 6], [0, 0]);
        let mut order = Vec::new();
        while let Some(next) = furthest_behind(&written, &takes) {
            order.push(next);
            written[next] += 1;
        }
        assert_eq!(order, [0, 1, 1, 0, 1, 1, 0, 1, 1]);
    }
}

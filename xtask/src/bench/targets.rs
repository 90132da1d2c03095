//! What the ratios are to be, and whether they are.

use serde::Serialize;

use super::rows::Row;

/// A bound of a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => ratio >= bound,
            Bound::AtMost(bound) => ratio <= bound,
        }
    }
}

/// A target, and the ratios it is about, one for each size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) bound: Bound,
    pub(super) ratios: Vec<f64>,
}

impl Target {
    /// Whether all its ratios are within the bound; none where there are none.
    fn is_met(&self) -> Option<bool> {
        let holds = self.ratios.iter().all(|ratio| self.bound.holds(*ratio));
        (!self.ratios.is_empty()).then_some(holds)
    }
}

pub(super) fn targets(rows: &[Row]) -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    let of = |work: &str, device: &str, precision: &str| -> Vec<f64> {
        let of_work = rows.iter().filter(|row| row.work == work);
        let same = |name: &str, found: &str| name.is_empty() || name == found;
        of_work
            .filter(|row| same(device, &row.device) && same(precision, &row.precision))
            .map(|row| row.ratio)
            .collect()
    };
    let target = |what, bound, ratios| Target {
        what,
        bound,
        ratios,
    };
    vec![
        target(
            "SFT on libtorch, f32",
            AtLeast(1.1),
            of("sft", "libtorch", "f32"),
        ),
        target(
            "SFT on libtorch, bf16",
            AtLeast(1.1),
            of("sft", "libtorch", "bf16"),
        ),
        target("SFT on flex, f32", AtLeast(0.7), of("sft", "flex", "f32")),
        target(
            "sampling at N = 16, best of either side",
            AtLeast(3.0),
            best(rows, "sample", "N=16"),
        ),
        target(
            "scoring, best of either side",
            AtLeast(1.5),
            best(rows, "score", ""),
        ),
        target(
            "peak memory of the SFT and RL step",
            AtMost(0.7),
            of("memory", "", ""),
        ),
        target("start to first step", AtMost(0.2), of("start", "", "")),
        target("whole chain", AtMost(0.5), of("pipeline", "", "")),
    ]
}

/// For each size the fastest of ours over the fastest of the rival's, whatever the type.
fn best(rows: &[Row], work: &str, ending: &str) -> Vec<f64> {
    let own = |row: &&Row| row.work == work && row.size.ends_with(ending);
    let mut sizes: Vec<(&str, f64, f64)> = Vec::new();
    for row in rows.iter().filter(own) {
        match sizes.iter_mut().find(|(size, ..)| *size == row.size) {
            Some((_, ours, rival)) => {
                *ours = ours.max(row.ours);
                *rival = rival.max(row.rival);
            }
            None => sizes.push((&row.size, row.ours, row.rival)),
        }
    }
    sizes
        .into_iter()
        .map(|(_, ours, rival)| ours / rival)
        .collect()
}

pub(super) fn text(all: &[Target]) -> String {
    let mut text = "targets, which hold where every size is within the bound\n".to_owned();
    for target in all {
        let bound = match target.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}"),
            Bound::AtMost(bound) => format!("≤ {bound}"),
        };
        let verdict = match target.is_met() {
            None => "not measured".to_owned(),
            Some(is_met) => {
                let good = target.ratios.iter().filter(|r| target.bound.holds(**r));
                let (good, of) = (good.count(), target.ratios.len());
                let least = target.ratios.iter().copied().fold(f64::INFINITY, f64::min);
                let most = target.ratios.iter().copied().fold(0.0, f64::max);
                let word = if is_met { "met" } else { "MISSED" };
                format!("{least:.2} to {most:.2}  {word} ({good} of {of})")
            }
        };
        text += &format!("  {:<40}  {bound:>6}  {verdict}\n", target.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rows::{rows, tests::runs};
    use super::*;

    #[test]
    fn verdicts_on_paper() {
        // flex 8 and libtorch 6 against 4; bf16 3 and 2 against 5. Best 8 against 5.
        let rows = rows(&runs(
            [8.0, 4.0, 3.0, 5.0, 6.0, 2.0],
            [50, 100, 40, 80, 70, 60],
        ));
        let all = targets(&rows);
        let of = |what: &str| {
            all.iter()
                .find(|target| target.what.starts_with(what))
                .unwrap()
        };
        assert_eq!(of("SFT on libtorch, f32").ratios, [1.5]);
        assert_eq!(of("SFT on libtorch, f32").is_met(), Some(true));
        assert_eq!(of("SFT on libtorch, bf16").is_met(), Some(false));
        assert_eq!(of("SFT on flex").ratios, [2.0]);
        assert_eq!(of("sampling").ratios, [1.6]);
        assert_eq!(of("scoring").is_met(), Some(true));
        assert_eq!(
            of("peak memory").ratios,
            [0.5, 0.5, 0.7, 0.75, 0.5, 0.5, 0.7, 0.75]
        );
        assert_eq!(of("whole chain").is_met(), None);
        let text = text(&all);
        assert!(text.contains("0.50 to 0.75  MISSED (6 of 8)"), "{text}");
        assert!(text.contains("not measured"), "{text}");
    }
}

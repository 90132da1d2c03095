//! The rows of the comparison: ours, the rival's, and the ratio of their medians.

use serde::Serialize;

use super::Run;
use super::plan::{Side, Work};
use super::spread::Spread;
use super::worker::Reading;

/// One comparison of one of our devices with the rival, in the same number type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) work: &'static str,
    pub(super) device: String,
    pub(super) precision: String,
    pub(super) size: String,
    /// The median of the rounds.
    pub(super) ours: f64,
    /// The median of the rounds.
    pub(super) rival: f64,
    pub(super) unit: &'static str,
    /// Ours over the rival's.
    pub(super) ratio: f64,
    #[serde(skip)]
    pub(super) spread: [Spread; 2],
}

impl Row {
    /// From the medians of both.
    pub(super) fn new(
        work: &'static str,
        (device, precision): (&str, &str),
        size: String,
        unit: &'static str,
        spread: [Spread; 2],
    ) -> Row {
        let [ours, rival] = spread.map(|spread| spread.median);
        Row {
            work,
            device: device.to_owned(),
            precision: precision.to_owned(),
            size,
            ours,
            rival,
            unit,
            ratio: ours / rival,
            spread,
        }
    }
}

pub(super) const MIB: f64 = 1_048_576.0;

/// What one kind of process tells: the row's work, its unit, and the value of a reading.
type Figure = (&'static str, &'static str, fn(&Reading) -> Option<f64>);

const SPEED: fn(&Reading) -> Option<f64> = |reading| Some(reading.rate);
const MEMORY: Figure = ("memory", "MiB", |reading| {
    reading.peak_memory.map(|bytes| bytes as f64 / MIB)
});
const START: Figure = ("start", "s", |reading| reading.first_step);

/// Every row that the runs give, by work and then as they were measured.
pub(super) fn rows(runs: &[Run]) -> Vec<Row> {
    let mut rows = Vec::new();
    let is_ours = |run: &&Run| run.contender.side == Side::Ours && run.measurement.is_compared();
    for ours in runs.iter().filter(is_ours) {
        let work = ours.measurement.work;
        let is_rival = |run: &&Run| {
            run.contender.side == Side::Rival
                && run.contender.precision == ours.contender.precision
                && run.measurement == ours.measurement
        };
        let Some(rival) = runs.iter().find(is_rival) else {
            continue;
        };
        let mut figures: Vec<Figure> = vec![(work.name(), "tokens/s", SPEED)];
        if matches!(work, Work::Sft | Work::Rl) {
            figures.push(MEMORY);
        }
        if work == Work::Sft {
            figures.push(START);
        }
        for (name, unit, value) in figures {
            let spread = |run: &Run| Spread::of(run.rounds.iter().filter_map(value));
            let (Some(a), Some(b)) = (spread(ours), spread(rival)) else {
                continue;
            };
            let size = match name == work.name() {
                true => ours.measurement.size(),
                false => format!("{}, {}", ours.measurement.size(), work.name()),
            };
            let contender = (ours.contender.device, ours.contender.precision);
            rows.push(Row::new(name, contender, size, unit, [a, b]));
        }
    }
    let place = |row: &Row| ORDER.iter().position(|work| *work == row.work);
    rows.sort_by_key(place);
    rows
}

const ORDER: [&str; 8] = [
    "sft", "reward", "rl", "sample", "score", "memory", "start", "pipeline",
];

/// What `--json` writes.
pub(super) fn json(rows: &[Row]) -> String {
    format!("{:#}\n", serde_json::json!({ "rows": rows }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::plan::{contenders, measurements};
    use super::*;

    /// Runs of one measurement of each kind, the contenders' rates and memories as in the order of
    /// their turns.
    pub(in super::super) fn runs(rates: [f64; 6], mib: [u64; 6]) -> Vec<Run> {
        let mut runs = Vec::new();
        for measurement in measurements(true, &[], &[]) {
            for (index, contender) in contenders(true).into_iter().enumerate() {
                let reading = Reading {
                    rate: rates[index],
                    peak_memory: Some(mib[index] * 1_048_576),
                    idle_memory: Some(0),
                    first_step: (measurement.work == Work::Sft).then_some(1.0 / rates[index]),
                };
                runs.push(Run {
                    measurement: measurement.clone(),
                    contender,
                    rounds: vec![reading.clone(), reading],
                    failed: None,
                });
            }
        }
        runs
    }

    #[test]
    fn ours_is_compared_with_the_rival_in_the_same_type() {
        let rows = rows(&runs(
            [8.0, 4.0, 3.0, 5.0, 6.0, 2.0],
            [50, 100, 40, 80, 70, 60],
        ));
        // Six speeds of four of ours; memory of two steps, and one start.
        assert_eq!(rows.len(), 4 * (6 + 2 + 1));
        let of = |work: &'static str| rows.iter().filter(move |row| row.work == work);
        let ratios: Vec<f64> = of("sft").map(|row| row.ratio).collect();
        assert_eq!(ratios, [2.0, 0.6, 1.5, 0.4]);
        let memory = of("memory").next().unwrap();
        assert_eq!(
            (memory.ours, memory.rival, memory.ratio),
            (50.0, 100.0, 0.5)
        );
        assert_eq!(memory.size, "width-128 x 128, sft");
        assert_eq!(of("start").next().unwrap().ratio, 0.5);
        let text = json(&rows);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<&String> = parsed["rows"][0].as_object().unwrap().keys().collect();
        let expected = [
            "work",
            "device",
            "precision",
            "size",
            "ours",
            "rival",
            "unit",
            "ratio",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn who_failed_has_no_row() {
        let mut runs = runs([1.0; 6], [1; 6]);
        for run in runs
            .iter_mut()
            .filter(|run| run.contender.device == "libtorch")
        {
            run.rounds.clear();
        }
        assert!(rows(&runs).iter().all(|row| row.device == "flex"));
    }
}

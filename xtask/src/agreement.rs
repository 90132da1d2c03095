//! `cargo xtask agreement`: the same short pipeline on other devices and on Flex.

use std::fs;
use std::path::Path;

use crate::backend::{Backend, Backends};
use crate::error::Error;
use crate::product::{self, Afd};
use crate::run_dir::{self, manifests};
use crate::shell;
use crate::summary::{RowId, Summary};

const CONFIG: &str = "configs/devices.toml";

/// Largest difference of a training's last loss, as a share. Devices add in another order, which
/// moves log-probabilities by some 1e-6, and AdamW makes more of it.
const LOSS_TOLERANCE: f64 = 1e-3;

/// Largest difference of a golden mean. What is seen of those last bits here comes from the few
/// tokens that are drawn otherwise.
const TOLERANCE: f64 = 0.1;

const EXAMPLES: &str = "\
Examples:
  cargo xtask agreement libtorch
  cargo xtask agreement libtorch:cuda:0 vulkan:0";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Devices to compare with flex
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
    /// Further backends to build in, so that what is compiled already serves
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    features: Vec<Backend>,
    /// Run the binary that the tests build: quicker to build, slower to run
    #[arg(long)]
    dev: bool,
}

/// Runs the pipeline on Flex and on each device, and compares stages and golden means.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let mut backends = args.features.clone();
    for device in &args.devices {
        backends.extend(Backend::of_device(device)?);
    }
    let backends: Backends = backends.into_iter().collect();
    let afd = product::build_for_check(args.dev, &backends)?;

    let folder = run_dir::fresh("agreement")?;
    let flex_dir = folder.join("flex");
    let flex = pipeline(&afd, "flex", &flex_dir)?;
    for device in &args.devices {
        let run_dir = folder.join(device.replace(':', "-"));
        let other = pipeline(&afd, device, &run_dir)?;
        let (expected, found) = (manifests(&flex_dir)?, manifests(&run_dir)?);
        if !expected.keys().eq(found.keys()) {
            return Err(Error::OtherStages {
                device: device.clone(),
                stages: found.into_keys().collect(),
            });
        }
        let pairs = pairs(&flex, &other);
        let losses = losses(&flex_dir, &run_dir, expected.keys())?;
        println!("\n{}{}", table(device, &pairs), loss_table(device, &losses));
        let rows = pairs.iter().filter_map(Pair::problem);
        let rows: Vec<String> = rows
            .chain(losses.iter().filter_map(Loss::problem))
            .collect();
        if !rows.is_empty() {
            return Err(Error::Disagreement {
                device: device.clone(),
                rows,
            });
        }
    }
    Ok(())
}

fn pipeline(afd: &Afd, device: &str, run_dir: &Path) -> Result<Summary, Error> {
    let mut command = afd.pipeline(CONFIG, device, run_dir)?;
    println!("\n{}", shell::line(&command));
    shell::run(&mut command)?;
    Summary::read(&run_dir.join("eval").join("summary.json"))
}

/// The last loss of a stage that trains, on Flex and on another device.
#[derive(Debug)]
struct Loss {
    stage: String,
    flex: f64,
    other: f64,
}

impl Loss {
    fn problem(&self) -> Option<String> {
        let Loss { stage, flex, other } = self;
        // Written so that a loss that is no number is a problem too.
        let agrees = (other - flex).abs() <= LOSS_TOLERANCE * flex.abs();
        (!agrees).then(|| format!("the loss of {stage}: {flex:.5} and {other:.5}"))
    }
}

/// The losses of all stages that train.
fn losses<'a>(
    flex: &Path,
    other: &Path,
    stages: impl Iterator<Item = &'a String>,
) -> Result<Vec<Loss>, Error> {
    let mut losses = Vec::new();
    for stage in stages {
        let last = |run: &Path| last_loss(&run.join(stage).join("metrics.jsonl"));
        if let (Some(flex), Some(other)) = (last(flex)?, last(other)?) {
            let stage = stage.clone();
            losses.push(Loss { stage, flex, other });
        }
    }
    Ok(losses)
}

/// The last `train/loss` of a file of metrics; none where nothing was trained.
fn last_loss(path: &Path) -> Result<Option<f64>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let mut losses = text.lines().rev().filter_map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).ok()?;
        row.get("train/loss")?.as_f64()
    });
    Ok(losses.next())
}

fn loss_table(device: &str, losses: &[Loss]) -> String {
    let mut table = format!("\n| last loss of | flex | {device} |\n| --- | ---: | ---: |\n");
    for Loss { stage, flex, other } in losses {
        table.push_str(&format!("| {stage} | {flex:.6} | {other:.6} |\n"));
    }
    table
}

/// A policy's golden mean on Flex and on another device; none where that one lacks the row.
#[derive(Debug)]
struct Pair {
    id: RowId,
    flex: Option<f64>,
    other: Option<f64>,
}

fn pairs(flex: &Summary, other: &Summary) -> Vec<Pair> {
    let mean = |summary: &Summary, id: &RowId| {
        let row = summary.rows.iter().find(|row| row.id == *id);
        row.map(|row| row.golden_mean)
    };
    let only_there = other
        .rows
        .iter()
        .filter(|row| mean(flex, &row.id).is_none());
    let rows = flex.rows.iter().chain(only_there);
    rows.map(|row| Pair {
        id: row.id.clone(),
        flex: mean(flex, &row.id),
        other: mean(other, &row.id),
    })
    .collect()
}

impl Pair {
    fn problem(&self) -> Option<String> {
        let cells = self.id.cells();
        let (Some(flex), Some(other)) = (self.flex, self.other) else {
            return Some(format!("{cells}: only one of them has this row"));
        };
        let difference = (other - flex).abs();
        // Written so that a mean that is no number is a problem too.
        let agrees = difference <= TOLERANCE;
        (!agrees)
            .then(|| format!("{cells}: {flex:.4} and {other:.4} differ by more than {TOLERANCE}"))
    }
}

fn table(device: &str, pairs: &[Pair]) -> String {
    let mut table = format!(
        "| policy | ranker | N | flex | {device} | difference |\n\
         | --- | --- | ---: | ---: | ---: | ---: |\n"
    );
    let number = |mean: Option<f64>| mean.map_or_else(String::new, |mean| format!("{mean:.4}"));
    for pair in pairs {
        let difference = pair.other.zip(pair.flex).map(|(other, flex)| other - flex);
        table.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            pair.id.cells(),
            number(pair.flex),
            number(pair.other),
            number(difference),
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::BEST_OF_N;
    use crate::summary::tests::{row, summary};

    fn problems(flex: f64, other: f64) -> usize {
        let flex = summary(vec![row("sft", "", 1, flex)]);
        let other = summary(vec![row("sft", "", 1, other)]);
        pairs(&flex, &other)
            .iter()
            .filter_map(Pair::problem)
            .count()
    }

    #[test]
    fn means_may_differ_by_the_tolerance() {
        assert_eq!(problems(0.5, 0.5), 0);
        assert_eq!(problems(0.5, 0.5 + 0.9 * TOLERANCE), 0);
        assert_eq!(problems(0.5, 0.5 - 1.1 * TOLERANCE), 1);
        assert_eq!(problems(0.5, f64::NAN), 1);
    }

    #[test]
    fn losses_may_differ_by_a_share() {
        let problem = |flex: f64, other: f64| {
            let stage = "sft".to_owned();
            Loss { stage, flex, other }.problem()
        };
        assert_eq!(problem(2.0, 2.0 * (1.0 + 0.9 * LOSS_TOLERANCE)), None);
        assert!(problem(2.0, 2.0 * (1.0 + 1.1 * LOSS_TOLERANCE)).is_some());
        assert!(problem(2.0, f64::NAN).unwrap().contains("sft"));
    }

    #[test]
    fn the_last_loss_is_read_from_the_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert_eq!(last_loss(&path).unwrap(), None);
        let text = "{\"step\":1,\"train/loss\":3.5}\n{\"step\":2,\"train/loss\":2.5}\n\
                    {\"step\":2,\"eval/loss\":9.0}\n";
        fs::write(&path, text).unwrap();
        assert_eq!(last_loss(&path).unwrap(), Some(2.5));
    }

    #[test]
    fn a_row_that_only_one_of_them_has_is_a_problem() {
        let flex = summary(vec![row("init", "", 1, 0.0), row("sft", "", 1, 0.0)]);
        let other = summary(vec![
            row("sft", "", 1, 0.0),
            row(BEST_OF_N, "golden", 8, 0.0),
        ]);
        let problems: Vec<String> = pairs(&flex, &other)
            .iter()
            .filter_map(Pair::problem)
            .collect();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("init"), "{problems:?}");
        assert!(problems[1].starts_with(BEST_OF_N), "{problems:?}");
    }

    #[test]
    fn the_table_shows_both_means_and_their_difference() {
        let flex = summary(vec![row("sft", "", 1, 0.5)]);
        let other = summary(vec![row("sft", "", 1, 0.25)]);
        let text = table("vulkan:0", &pairs(&flex, &other));
        assert!(text.contains("| flex | vulkan:0 | difference |"), "{text}");
        assert!(
            text.contains("| sft |  | 1 | 0.5000 | 0.2500 | -0.2500 |\n"),
            "{text}"
        );
    }
}

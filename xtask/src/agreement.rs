//! `cargo xtask agreement`: the same short pipeline on other devices and on Flex.

use std::path::Path;

use crate::backend::{Backend, Backends};
use crate::error::Error;
use crate::product::{self, Afd};
use crate::run_dir::{self, manifests};
use crate::shell;
use crate::summary::{RowId, Summary};

const CONFIG: &str = "configs/devices.toml";

/// Largest difference of a golden mean. Devices add in another order, which moves log-probabilities
/// by some 1e-6; what is seen of it here comes from the few tokens that are drawn otherwise.
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
    let afd = if args.dev {
        product::build_for_tests(&backends)?
    } else {
        product::build(&backends)?
    };

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
        println!("\n{}", table(device, &pairs));
        let rows: Vec<String> = pairs.iter().filter_map(Pair::problem).collect();
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
    let mut command = afd.command()?;
    command
        .current_dir(shell::root())
        .args(["pipeline", "--config", CONFIG, "--device", device])
        .arg("--run-dir")
        .arg(run_dir);
    println!("\n{}", shell::line(&command));
    shell::run(&mut command)?;
    Summary::read(&run_dir.join("eval").join("summary.json"))
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

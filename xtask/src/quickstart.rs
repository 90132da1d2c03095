//! The quickstart as a check: a fresh run has every result, and a second run does nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::device::DeviceArgs;
use crate::error::Error;
use crate::product::Afd;
use crate::run_dir::manifests;
use crate::summary::{BEST_OF_N, Summary};
use crate::{product, run_dir, shell};

const CONFIG: &str = "configs/quickstart.toml";

/// Policies that choose nothing.
const PLAIN_POLICIES: [&str; 2] = ["init", "sft"];

/// What chooses among N samples: reward models, baselines, and the golden reward itself.
const RANKERS: [&str; 10] = [
    "init-sft",
    "init-demo",
    "sft-demo",
    "preference",
    "closed-form",
    "random",
    "longest",
    "shortest",
    "mean-logprob",
    "golden",
];

/// The N that every run reports, because the studies compare policies there.
const REPORTED_N: u32 = 8;

const RERUN_LIMIT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  cargo xtask quickstart
  cargo xtask quickstart --device libtorch
  cargo xtask quickstart --dev --features libtorch,vulkan    as `cargo xtask ci` runs it";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// Run the binary that the tests build: quicker to build, slower to run
    #[arg(long)]
    dev: bool,
}

/// Runs the quickstart into a fresh folder, and checks results and caching.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let backends = args.device.backends()?;
    let afd = product::build_for_check(args.dev, &backends)?;
    let device = args.device.named();
    check(&afd, device.as_deref().unwrap_or("flex"))
}

fn check(afd: &Afd, device: &str) -> Result<(), Error> {
    let run_dir = run_dir::fresh("quickstart")?;
    shell::run(&mut afd.pipeline(CONFIG, device, &run_dir)?)?;

    let path = run_dir.join("eval").join("summary.json");
    let summary = Summary::read(&path)?;
    let missing = missing_rows(&summary);
    if !missing.is_empty() {
        return Err(Error::MissingRows { path, missing });
    }
    check_rerun(afd, device, &run_dir)?;
    println!("\n{}", summary.table());
    Ok(())
}

/// Runs the pipeline again: quick, no manifest written, and every stage reported as skipped.
fn check_rerun(afd: &Afd, device: &str, run_dir: &Path) -> Result<(), Error> {
    let before = manifests(run_dir)?;
    let mut command = afd.pipeline(CONFIG, device, run_dir)?;
    let start = Instant::now();
    let output = command.output().map_err(shell::cannot_start(&command))?;
    let elapsed = start.elapsed();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    print!("\nsecond run:\n{said}");
    if !output.status.success() {
        return Err(Error::Command {
            command: shell::line(&command),
            status: output.status,
        });
    }
    let problems = not_skipped(&before, &manifests(run_dir)?, &said);
    if !problems.is_empty() {
        return Err(Error::NotSkipped { problems });
    }
    if elapsed >= RERUN_LIMIT {
        return Err(Error::SlowRerun {
            seconds: elapsed.as_secs_f64(),
            limit: RERUN_LIMIT.as_secs(),
        });
    }
    Ok(())
}

/// The rows that a summary lacks; every ranker must have every N that any of them has.
fn missing_rows(summary: &Summary) -> Vec<String> {
    let has = |policy: &str, ranker: Option<&str>, n: Option<u32>| {
        summary.rows.iter().any(|row| {
            row.id.policy == policy
                && (ranker.is_none() || row.id.ranker.as_deref() == ranker)
                && (n.is_none() || row.id.n == n)
        })
    };
    let best_of_n = summary.rows.iter().filter(|row| row.id.policy == BEST_OF_N);
    let mut ns: Vec<u32> = best_of_n.filter_map(|row| row.id.n).collect();
    ns.push(REPORTED_N);
    ns.sort_unstable();
    ns.dedup();

    let plain = PLAIN_POLICIES
        .into_iter()
        .filter(|policy| !has(policy, None, None))
        .map(str::to_owned);
    let chosen = RANKERS
        .into_iter()
        .flat_map(|ranker| ns.iter().map(move |n| (ranker, *n)))
        .filter(|(ranker, n)| !has(BEST_OF_N, Some(ranker), Some(*n)))
        .map(|(ranker, n)| format!("{BEST_OF_N} by {ranker}, N = {n}"));
    plain.chain(chosen).collect()
}

/// What shows that a stage ran again, or that its skipping was not reported.
fn not_skipped(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
    said: &str,
) -> Vec<String> {
    let mut problems = Vec::new();
    if before.is_empty() {
        problems.push("the first run left no stage with a manifest.json".to_owned());
    }
    for (stage, manifest) in before {
        if after.get(stage) != Some(manifest) {
            problems.push(format!("stage {stage} ran again"));
        }
        let names_it = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()) == stage;
        let reported = said
            .lines()
            .any(|line| line.contains("skip") && line.split_whitespace().any(names_it));
        if !reported {
            problems.push(format!("no line says that stage {stage} was skipped"));
        }
    }
    for stage in after.keys().filter(|stage| !before.contains_key(*stage)) {
        problems.push(format!("stage {stage} is new"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Row;
    use crate::summary::tests::{row, summary};

    fn complete() -> Vec<Row> {
        let plain = PLAIN_POLICIES.map(|policy| row(policy, "", 1, 0.0));
        let chosen = RANKERS
            .into_iter()
            .flat_map(|ranker| [2, 8].map(|n| row(BEST_OF_N, ranker, n, 1.0)));
        plain.into_iter().chain(chosen).collect()
    }

    #[test]
    fn a_complete_summary_passes_and_each_missing_row_is_named() {
        assert!(missing_rows(&summary(complete())).is_empty());
        for left_out in 0..complete().len() {
            let mut rows = complete();
            let gone = rows.remove(left_out);
            let missing = missing_rows(&summary(rows));
            assert_eq!(missing.len(), 1, "without {gone:?}");
            let name = gone.id.ranker.unwrap_or(gone.id.policy);
            assert!(missing[0].contains(&name), "{missing:?}");
        }
    }

    #[test]
    fn an_empty_summary_lacks_every_policy() {
        let missing = missing_rows(&summary(Vec::new()));
        assert_eq!(missing.len(), PLAIN_POLICIES.len() + RANKERS.len());
    }

    #[test]
    fn a_rerun_must_leave_every_manifest_and_report_every_skip() {
        let stage = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
        let before = BTreeMap::from([stage("sft", "1"), stage("reward/init-sft", "1")]);
        let said = "sft  skipped\nreward/init-sft  skipped\n";
        assert!(not_skipped(&before, &before, said).is_empty());

        let rerun = BTreeMap::from([stage("sft", "2"), stage("reward/init-sft", "1")]);
        assert_eq!(not_skipped(&before, &rerun, said), ["stage sft ran again"]);
        assert_eq!(
            not_skipped(&before, &before, "reward/init-sft  skipped\n"),
            ["no line says that stage sft was skipped"]
        );
        assert_eq!(not_skipped(&BTreeMap::new(), &BTreeMap::new(), "").len(), 1);
    }
}

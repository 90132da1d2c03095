//! The whole chain, ours and the rival's: from demonstrations to the best of N answers.
//!
//! Both start from the shipped base checkpoint, with the quickstart's data and hyper-parameters and
//! one reward model, Init-SFT. Ours is `afd pipeline` up to Best-of-N, which besides makes the data and
//! diagnoses the reward model; the rival reads the data of our run.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, str};

use serde::Serialize;

use super::plan::{Contender, Side};
use super::rows::Row;
use super::spread::Spread;
use super::worker::Workers;
use crate::error::Error;
use crate::{run_dir, shell};

const CONFIG: &str = "configs/quickstart.toml";

/// What the runs are called, in tables and below the target directory.
const SIZE: &str = "quickstart";

/// What one contender took in all rounds; none where it failed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Chain {
    #[serde(flatten)]
    contender: Contender,
    /// Seconds from start to end of the process.
    seconds: Vec<f64>,
    /// The last line of what it said, of each round.
    said: Vec<String>,
    pub(super) failed: Option<String>,
}

/// All rounds; the first contender is ours, and leaves the data that the rival reads.
pub(super) fn run(
    workers: &Workers,
    contenders: &[Contender],
    rounds: u64,
) -> Result<Vec<Chain>, Error> {
    let folder = run_dir::fresh("bench")?;
    let f32s = contenders.iter().filter(|c| c.precision == "f32");
    let mut chains: Vec<Chain> = f32s
        .map(|contender| Chain {
            contender: contender.clone(),
            seconds: Vec::new(),
            said: Vec::new(),
            failed: None,
        })
        .collect();
    for round in 1..=rounds {
        for chain in chains.iter_mut().filter(|chain| chain.failed.is_none()) {
            let out = folder.join(format!("{round}-{}", chain.contender.device));
            let command = match chain.contender.side {
                Side::Ours => {
                    let device = chain.contender.device;
                    let mut command = workers.afd(device).pipeline(CONFIG, device, &out)?;
                    command.args(["--set", "pairs.sources=[\"init-sft\"]"]);
                    command.args(["--until", "policy/best-of-n"]);
                    command
                }
                Side::Rival => workers.chain(&folder.join(format!("{round}-flex")), &out),
            };
            chain.turn(round, command, &folder)?;
        }
    }
    Ok(chains)
}

impl Chain {
    fn turn(&mut self, round: u64, mut command: Command, folder: &Path) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let start = Instant::now();
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(shell::cannot_start(&command))?;
        let seconds = start.elapsed().as_secs_f64();
        let name = self.contender.to_string();
        if !output.status.success() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            println!("  round {round}  {name:<22}failed, see above");
            self.failed = Some(shell::line(&command));
            return Ok(());
        }
        println!("  round {round}  {name:<22}{seconds:.1} s");
        let last = str::from_utf8(&output.stdout)
            .ok()
            .and_then(|text| text.lines().last());
        self.said.push(last.unwrap_or_default().to_owned());
        self.seconds.push(seconds);
        Ok(())
    }
}

/// Each of ours beside the rival.
pub(super) fn rows(chains: &[Chain]) -> Vec<Row> {
    let spread = |chain: &Chain| Spread::of(chain.seconds.iter().copied());
    let rival = chains
        .iter()
        .find(|chain| chain.contender.side == Side::Rival);
    let Some(rival) = rival.and_then(spread) else {
        return Vec::new();
    };
    let ours = chains
        .iter()
        .filter(|chain| chain.contender.side == Side::Ours);
    ours.filter_map(|chain| {
        let contender = (chain.contender.device, chain.contender.precision);
        let both = [spread(chain)?, rival];
        Some(Row::new("pipeline", contender, SIZE.to_owned(), "s", both))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::contenders;
    use super::*;

    #[test]
    fn ours_is_compared_by_the_medians() {
        let chain = |seconds: &[f64], contender: Contender| Chain {
            contender,
            seconds: seconds.to_vec(),
            said: Vec::new(),
            failed: None,
        };
        let [flex, rival]: [Contender; 2] = contenders(false)[..2].to_vec().try_into().unwrap();
        let both = [
            chain(&[10.0, 30.0, 20.0], flex),
            chain(&[50.0, 40.0, 30.0], rival),
        ];
        let rows = rows(&both);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].ours, rows[0].rival, rows[0].ratio),
            (20.0, 40.0, 0.5)
        );
        assert!(super::rows(&both[..1]).is_empty());
    }
}

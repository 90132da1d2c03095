//! One measurement: a process that does one kind of work and says how fast it was.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::plan::{Contender, Measurement, Side};
use crate::backend::Backend;
use crate::environment;
use crate::error::Error;
use crate::product::{self, Afd};
use crate::shell;

const SCRIPT: &str = "xtask/bench/rival.py";

const CHAIN: &str = "xtask/bench/chain.py";

/// What a process prints when its first optimiser step is done.
const FIRST_STEP: &str = "first step";

/// What one process measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// Tokens a second.
    pub(super) rate: f64,
    /// The largest that the process was, in bytes.
    pub(super) peak_memory: Option<u64>,
    /// The same before it had a model.
    pub(super) idle_memory: Option<u64>,
    /// Seconds from its start to the end of its first optimiser step.
    pub(super) first_step: Option<f64>,
}

/// Both sides, ready to be started.
pub(super) struct Workers {
    /// Ours by the device it was built for.
    afd: BTreeMap<&'static str, Afd>,
    python: PathBuf,
    threads: usize,
}

impl Workers {
    /// Builds ours for the devices of these contenders: for each as `cargo xtask pipeline` builds it, since a
    /// backend that is linked and not used is loaded all the same.
    pub(super) fn new(
        contenders: &[Contender],
        python: PathBuf,
        threads: usize,
    ) -> Result<Workers, Error> {
        let mut afd = BTreeMap::new();
        for contender in contenders.iter().filter(|c| c.side == Side::Ours) {
            let device = contender.device;
            if !afd.contains_key(device) {
                let backends = Backend::of_device(device)?.into_iter().collect();
                afd.insert(device, product::build(&backends)?.set_aside(device)?);
            }
        }
        Ok(Workers {
            afd,
            python,
            threads,
        })
    }

    /// Ours as it was built for a device.
    ///
    /// # Panics
    /// When none of the contenders is on it.
    pub(super) fn afd(&self, device: &str) -> &Afd {
        &self.afd[device]
    }

    /// What the other side is made of.
    pub(super) fn versions(&self) -> Result<serde_json::Value, Error> {
        let mut command = self.script(SCRIPT);
        let printed = shell::capture(command.arg("versions"))?;
        serde_json::from_slice(&printed).map_err(|source| Error::Json {
            path: SCRIPT.into(),
            source,
        })
    }

    /// A reading, or the line to repeat a measurement that failed, after what it said of that.
    pub(super) fn measure(
        &self,
        measurement: &Measurement,
        contender: &Contender,
    ) -> Result<Result<Reading, String>, Error> {
        let mut command = match contender.side {
            Side::Ours => {
                let mut command = self.afd(contender.device).command()?;
                command.args(["bench", "--one", &contender.to_string()]);
                command.args(["--work", measurement.work.name()]);
                command
            }
            Side::Rival => {
                let mut command = self.script(SCRIPT);
                command.arg(measurement.work.name());
                command.args(["--precision", contender.precision]);
                command.args(["--threads", &self.threads.to_string()]);
                command
            }
        };
        command.current_dir(shell::root());
        command.args(["--shape", measurement.shape]);
        for (name, value) in [
            ("--length", measurement.length),
            ("--batch-size", measurement.batch),
            ("--answers", measurement.answers),
            ("--steps", measurement.steps),
        ] {
            command.args([name, &value.to_string()]);
        }
        let line = shell::line(&command);
        let (reading, said) = read(command)?;
        Ok(reading.ok_or_else(|| {
            eprint!("{said}");
            line
        }))
    }

    /// The rival's whole chain, on the data and configuration of a run of ours.
    pub(super) fn chain(&self, run: &Path, out: &Path) -> Command {
        let mut command = self.script(CHAIN);
        command.arg(run).arg(out);
        command.args(["--threads", &self.threads.to_string()]);
        command
    }

    /// A script of the rival's, in an environment without our libtorch: it has one of its own.
    fn script(&self, path: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.current_dir(shell::root());
        for name in environment::VARIABLES {
            command.env_remove(name);
        }
        command.env("HF_HUB_OFFLINE", "1");
        command.args(["-W", "ignore", path]);
        command
    }
}

/// Runs the command: what it measured, if it did, and what it wrote besides.
fn read(mut command: Command) -> Result<(Option<Reading>, String), Error> {
    let start = Instant::now();
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(shell::cannot_start(&command))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        // What cannot be read is not shown.
        let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let (mut reading, mut first_step, mut said) = (None, None, String::new());
    for line in stdout
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let line = line.map_err(shell::cannot_start(&command))?;
        if line == FIRST_STEP {
            first_step = Some(start.elapsed().as_secs_f64());
        }
        match serde_json::from_str::<Reading>(&line) {
            Ok(found) => reading = Some(found),
            Err(_) => said += &format!("{line}\n"),
        }
    }
    let status = child.wait().map_err(shell::cannot_start(&command))?;
    said += &errors.join().unwrap_or_default();
    let reading = reading.filter(|_| status.success());
    let reading = reading.map(|reading| Reading {
        first_step,
        ..reading
    });
    Ok((reading, said))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn script(text: &str) -> (Option<Reading>, String) {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        read(command).unwrap()
    }

    #[test]
    fn a_reading_is_what_the_process_prints_and_when_its_first_step_was() {
        let (reading, _) = script(
            "echo note; sleep 0.05; echo first step; echo warning >&2; \
             echo '{\"rate\": 5.0, \"peak_memory\": 7, \"idle_memory\": null}'",
        );
        let reading = reading.unwrap();
        assert_eq!((reading.rate, reading.peak_memory), (5.0, Some(7)));
        assert!(reading.first_step.unwrap() >= 0.05);
    }

    #[test]
    fn a_process_that_fails_has_no_reading_and_is_quoted() {
        let (reading, said) = script("echo '{\"rate\": 5.0}'; echo no memory >&2; exit 3");
        assert_eq!(reading, None);
        assert_eq!(said, "no memory\n");
        assert_eq!(script("true").0, None);
    }
}

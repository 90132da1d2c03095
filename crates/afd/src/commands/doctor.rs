//! `afd doctor`: what this build and this machine can do, all of it tried.
//!
//! Each device is examined in a process of its own: a driver that crashes or hangs while it
//! computes ends its own examination and no other.

use std::{
    env,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use afd_backend::{
    DeviceError, Dtype,
    device::{self, DeviceName},
};
use burn::tensor::{Device, FloatDType};

use super::print;
use crate::{args::DoctorArgs, error::Error, speed};

/// The longest examination of one device; programs that stand in for a GPU compile for a minute.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn run(args: &DoctorArgs) -> Result<(), Error> {
    match &args.device {
        Some(name) => {
            examine(name)?;
            leave()
        }
        None => everything(),
    }
}

/// All devices that are there, and of those that are not, why.
///
/// # Errors
/// [`Error::Devices`], after everything was told, when a device that is there does not work.
fn everything() -> Result<(), Error> {
    print(&format!(
        "afd {} on {} {}\n",
        env!("CARGO_PKG_VERSION"),
        env::consts::OS,
        env::consts::ARCH
    ))?;
    let mut missing = String::new();
    let mut broken = Vec::new();
    for kind in DeviceName::KINDS {
        let there = device::of_kind(kind);
        for name in &there {
            print("\n")?;
            if let Some(reason) = examine_apart(*name)? {
                print(&format!("{name:<19}{reason}\n"))?;
                broken.push(name.to_string());
            }
        }
        if there.is_empty()
            && let Err(error) = device::open(&kind.to_string())
        {
            missing += &absent(kind, error);
        }
    }
    if !missing.is_empty() {
        print(&format!("\nnot here\n{missing}"))?;
    }
    match broken.is_empty() {
        true => Ok(()),
        false => Err(Error::Devices(broken.join(", "))),
    }
}

/// Why a device is not there, and what to do about it.
fn absent(name: DeviceName, error: DeviceError) -> String {
    let (reason, remedy) = match error {
        DeviceError::NotCompiled { .. } => (
            "not in this build".to_owned(),
            format!(
                "cargo xtask pipeline --device {name}, or cargo build --release -p afd --features {}",
                name.feature()
            ),
        ),
        DeviceError::Unavailable { reason, remedy, .. } => (reason, remedy.to_owned()),
        other => (other.to_string(), String::new()),
    };
    format!("  {name:<17}{reason}\n{:19}{remedy}\n", "")
}

/// [`examine`] in another process, whose standard output is this one's; what it failed with, if it
/// did.
fn examine_apart(name: DeviceName) -> Result<Option<String>, Error> {
    let io = |source| Error::Io {
        action: "start",
        path: "afd doctor".into(),
        source,
    };
    let program = env::current_exe().map_err(io)?;
    let mut child = Command::new(program)
        .args(["doctor", "--device", &name.to_string()])
        // Its log would fill the pipe, which nobody reads before the end.
        .env_remove("AFD_LOG")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io)?;
    let start = Instant::now();
    while child.try_wait().map_err(io)?.is_none() {
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            let patience = PATIENCE.as_secs();
            return Ok(Some(format!(
                "no answer within {patience} s: its driver may need an update"
            )));
        }
        sleep(Duration::from_millis(5));
    }
    failure(child).map_err(io)
}

/// What a process that has ended failed with.
fn failure(child: Child) -> Result<Option<String>, std::io::Error> {
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().skip_while(|line| !line.starts_with("error: "));
    let lines: Vec<&str> = lines.map(str::trim).collect();
    Ok(Some(match lines.join(" ").strip_prefix("error: ") {
        Some(error) => error.to_owned(),
        None => format!(
            "the driver ended the process ({}): it may need an update",
            output.status
        ),
    }))
}

/// One device.
///
/// # Errors
/// When it is not there, or does not compute in f32, which everything here needs.
fn examine(name: &str) -> Result<(), Error> {
    let device = device::open(name)?;
    let description = device::describe(name)?;
    let room = match (description.memory, description.largest_buffer) {
        (Some(memory), _) => format!(", {} of memory", size(memory)),
        (None, Some(buffer)) => format!(", tensors up to {}", size(buffer)),
        (None, None) => String::new(),
    };
    print(&format!("{name:<19}{description}{room}\n"))?;
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        let supported = device::supports(&device, dtype.into());
        let verdict = match &supported {
            Ok(()) => working(&device, dtype.into()),
            Err(reason) => format!("no: {reason}"),
        };
        print(&format!("  {:<17}{verdict}\n", dtype.name()))?;
        if dtype == Dtype::F32 && supported.is_err() {
            return Err(Error::Devices(name.to_owned()));
        }
    }
    Ok(())
}

/// Ends the process without the driver's own clearing up, which crashes in some drivers and hangs
/// in others: becomes a process that has nothing to clear up.
fn leave() -> Result<(), Error> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        if let Ok(program) = env::current_exe() {
            // Returns only if it fails, and then the usual end has to do.
            let _ = Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .exec();
        }
    }
    Ok(())
}

fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// What a device that computes in `dtype` is told to do so.
fn working(device: &Device, dtype: FloatDType) -> String {
    match device::catch(|| speed::matmul(device, dtype)) {
        Ok(Some((side, speed))) => {
            let speed = speed / 1e9;
            let digits = if speed < 1.0 { 3 } else { 0 };
            format!("works, {speed:.digits$} GFLOP/s multiplying {side} x {side}")
        }
        Ok(None) => "works, but products of larger matrices come out wrong".to_owned(),
        Err(reason) => format!("works, but not for large matrices: {reason}"),
    }
}

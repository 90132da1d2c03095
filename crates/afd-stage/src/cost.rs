//! What a stage takes: tokens, seconds, peak memory, paid requests, added up over resumes.

use std::iter::Sum;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Error, fs};

/// How often at most the cost so far is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// What a stage took, interrupted attempts included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens read and written, as counted by the stage. Work lost to a kill and done again
    /// counts twice, as it was paid twice.
    pub tokens: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Highest resident memory of the process in bytes, without that of a GPU; `None` where the
    /// system does not tell (it does on Linux).
    pub peak_memory_bytes: Option<u64>,
    /// Questions put to a judge's server, each counted once however often it was tried, …
    #[serde(default, skip_serializing_if = "is_none")]
    pub requests: u64,
    /// … and their price, in whatever the configured prices are in. A reply that was kept from earlier
    /// counts with what it cost then.
    #[serde(default, skip_serializing_if = "is_free")]
    pub price: f64,
}

impl Sum for Cost {
    /// Of stages that ran one after the other: the highest of their peaks, and the sums of the rest.
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |all, cost| Self {
            tokens: all.tokens + cost.tokens,
            seconds: all.seconds + cost.seconds,
            peak_memory_bytes: all.peak_memory_bytes.max(cost.peak_memory_bytes),
            requests: all.requests + cost.requests,
            price: all.price + cost.price,
        })
    }
}

fn is_none(requests: &u64) -> bool {
    *requests == 0
}

fn is_free(price: &f64) -> bool {
    *price == 0.0
}

/// Measures the cost of one attempt and adds it to that of earlier ones.
#[derive(Debug)]
pub(crate) struct Meter {
    path: PathBuf,
    earlier: Cost,
    started: Instant,
    tokens: AtomicU64,
    /// Number and price.
    requests: Mutex<(u64, f64)>,
    measures_memory: bool,
    saved: Mutex<Option<Instant>>,
}

impl Meter {
    /// Starts measuring, on top of what earlier attempts saved in `path`.
    pub(crate) fn start(path: PathBuf) -> Self {
        let earlier = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "earlier cost is unreadable");
                Cost::default()
            }),
            Err(_) => Cost::default(),
        };
        Self {
            path,
            earlier,
            started: Instant::now(),
            tokens: AtomicU64::new(0),
            requests: Mutex::new((0, 0.0)),
            measures_memory: reset_peak_memory(),
            saved: Mutex::new(None),
        }
    }

    pub(crate) fn add_tokens(&self, n: u64) {
        self.tokens.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn add_requests(&self, n: u64, price: f64) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.0 += n;
        requests.1 += price;
    }

    /// The cost up to now.
    pub(crate) fn cost(&self) -> Cost {
        let peak = self.measures_memory.then(peak_memory_bytes).flatten();
        let (requests, price) = *self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        Cost {
            tokens: self.earlier.tokens + self.tokens.load(Ordering::Relaxed),
            seconds: self.earlier.seconds + self.started.elapsed().as_secs_f64(),
            peak_memory_bytes: peak.max(self.earlier.peak_memory_bytes),
            requests: self.earlier.requests + requests,
            price: self.earlier.price + price,
        }
    }

    /// Saves the cost up to now, unless that was done less than a second ago.
    pub(crate) fn save_now_and_then(&self) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.is_none_or(|at| at.elapsed() >= SAVE_INTERVAL) {
            self.save();
            *saved = Some(Instant::now());
        }
    }

    /// Saves the cost up to now. Not worth failing for: if the disk is full, the stage will hear
    /// of it from its own files.
    pub(crate) fn save(&self) {
        let saved = serde_json::to_vec(&self.cost())
            .map_err(|error| Error::io("write", &self.path)(error.into()))
            .and_then(|json| fs::write_atomic(&self.path, &json));
        if let Err(error) = saved {
            tracing::warn!(%error, "the cost so far was not saved");
        }
    }
}

/// Forgets the process's peak so far; false where there is no such thing.
fn reset_peak_memory() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The process's highest resident memory in bytes since its start or that of its latest stage;
/// `None` where the system does not tell (it does on Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    parse_peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_peak(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cost.json");
        let earlier = Cost {
            tokens: 5,
            seconds: 1000.0,
            peak_memory_bytes: Some(u64::MAX),
            requests: 3,
            price: 0.5,
        };
        std::fs::write(&path, serde_json::to_vec(&earlier).unwrap()).unwrap();

        let meter = Meter::start(path.clone());
        meter.add_tokens(7);
        meter.add_requests(2, 0.25);
        meter.save();
        let cost = Meter::start(path).cost();
        assert_eq!(cost.tokens, 12);
        assert!(cost.seconds > 1000.0 && cost.seconds < 1500.0, "{cost:?}");
        assert_eq!(cost.peak_memory_bytes, Some(u64::MAX));
        assert_eq!((cost.requests, cost.price), (5, 0.75));
    }

    #[test]
    fn saving_is_throttled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cost.json");
        let meter = Meter::start(path.clone());
        meter.save_now_and_then();
        let first = std::fs::read(&path).unwrap();

        meter.add_tokens(1);
        *meter.saved.lock().unwrap() = Some(Instant::now());
        meter.save_now_and_then();
        assert_eq!(std::fs::read(&path).unwrap(), first);

        *meter.saved.lock().unwrap() = None;
        meter.save_now_and_then();
        assert_ne!(std::fs::read(&path).unwrap(), first);
    }

    #[test]
    fn an_unreadable_cost_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cost.json");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Meter::start(path).cost().tokens, 0);
    }

    #[test]
    fn the_peak_is_read_in_kibibytes() {
        let status = "VmPeak:\t  999 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(parse_peak(status), Some(1234 * 1024));
        assert_eq!(parse_peak("VmRSS:\t 1 kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_covers_what_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let meter = Meter::start(dir.path().join("cost.json"));
        // Held until after the measurement, so that no reset by a neighbouring test loses it.
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let peak = meter.cost().peak_memory_bytes;
        assert!(peak > Some(60 << 20), "{peak:?}");
        drop(held);
    }
}

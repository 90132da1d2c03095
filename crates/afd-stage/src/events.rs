//! The same curves as `metrics.jsonl` has, in the files that TensorBoard reads.
//!
//! A file is a row of records: length (u64), checksum of the length, data, checksum of the data, all
//! little-endian, the data being a protocol buffer `tensorflow.Event`. Of that format four fields are
//! needed, so they are written here by hand.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, fs};

/// The directory beside `metrics.jsonl`; `tensorboard --logdir RUN` finds it.
pub(crate) const DIR: &str = "tb";

/// A file of events, open for more.
#[derive(Debug)]
pub(crate) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// A fresh file in `dir` in the place of all that were there: what they hold is in `metrics.jsonl`,
    /// and of an attempt that was cut back it would be wrong. Its name is a new one, so that a
    /// TensorBoard that has the old one open notices.
    pub(crate) fn create(dir: &Path) -> Result<Self, Error> {
        fs::remove_dir_all(dir)?;
        fs::create_dir_all(dir)?;
        let now = since_1970();
        let name = format!(
            "events.out.tfevents.{}.{:09}.afd",
            now.as_secs(),
            now.subsec_nanos()
        );
        let path = dir.join(name);
        let mut file = File::create(&path).map_err(Error::io("write", &path))?;
        // The version of the format, which has to come first.
        let mut event = now_field();
        bytes_field(&mut event, 3, b"brain.Event:2");
        file.write_all(&record(&event))
            .map_err(Error::io("write", &path))?;
        Ok(Self { path, file })
    }

    /// Appends the values of a step; those that are no numbers are left out.
    pub(crate) fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), Error> {
        let mut summary = Vec::new();
        for (name, value) in values.iter().filter(|(_, value)| value.is_finite()) {
            let mut one = Vec::new();
            bytes_field(&mut one, 1, name.as_bytes());
            one.push(2 << 3 | 5);
            one.extend((*value as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &one);
        }
        let mut event = now_field();
        event.push(2 << 3);
        varint(&mut event, step);
        bytes_field(&mut event, 5, &summary);
        self.file
            .write_all(&record(&event))
            .map_err(Error::io("write", &self.path))
    }
}

fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// The event's wall time, its first field.
fn now_field() -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(since_1970().as_secs_f64().to_le_bytes());
    event
}

/// Field `number`, of the kind that has a length.
fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

/// The checksum as records have it: CRC-32C, rotated and shifted.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_those_of_the_format_on_paper() {
        let found = record(b"abc");
        assert_eq!(found[..8], 3u64.to_le_bytes());
        assert_eq!(found.len(), 8 + 4 + 3 + 4);
        // CRC-32C of "123456789" is 0xe3069283: the check value of the polynomial.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // Rotated by 15 that is 0x2507c60d, and with the constant:
        assert_eq!(masked(b"123456789"), 0xc78ab0e5);
        let mut message = Vec::new();
        varint(&mut message, 300);
        assert_eq!(message, [0xac, 0x02]);
    }

    #[test]
    fn a_step_is_an_event_with_its_values() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(DIR);
        let mut events = Events::create(&place).unwrap();
        events.log(7, &[("loss", 0.5), ("gone", f64::NAN)]).unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let name = b"loss";
        let found = bytes.windows(name.len()).filter(|at| at == name).count();
        assert_eq!(found, 1);
        assert!(!bytes.windows(4).any(|at| at == b"gone"));
        assert!(bytes.windows(4).any(|at| at == 0.5f32.to_le_bytes()));
        // Another attempt leaves nothing of it.
        Events::create(&place).unwrap();
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1);
    }
}

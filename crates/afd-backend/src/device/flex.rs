//! Burn's own CPU backend.

use burn::tensor::Device;

use super::{Description, host};

/// The version of Burn, which is that of its backends.
const VERSION: &str = "0.22.1";

pub(super) fn open() -> Device {
    Device::flex()
}

pub(super) fn describe() -> Description {
    Description {
        name: host::processor(),
        driver: format!(
            "flex {VERSION}, {}",
            host::threads(rayon::current_num_threads())
        ),
        memory: host::memory(),
        largest_buffer: None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_in_the_manifest() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let pin = format!("burn = {{ version = \"={}\"", super::VERSION);
        assert!(manifest.contains(&pin), "no {pin} in the root manifest");
    }
}

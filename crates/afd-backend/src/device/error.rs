//! Why a device cannot be had.

use super::{DeviceName, name};

/// A device this build or this machine cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The name is not in the grammar.
    #[error(
        "unknown device `{name}`; this build has: {}; the names are {}, where N counts from 0",
        name::compiled(),
        name::GRAMMAR
    )]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The backend was left out of this build.
    #[error(
        "this build has no `{name}`, only {}; `cargo xtask pipeline --device {name}` builds with \
         it and runs, `cargo build --release -p afd --features {}` only builds",
        name::compiled(),
        .name.feature()
    )]
    NotCompiled {
        /// The device.
        name: DeviceName,
    },
    /// There are devices of this kind, but not that many.
    #[error(
        "there is no `{name}`: this machine has {count} such {}; `afd doctor` lists what it has",
        match count { 1 => "device, which is number 0", _ => "devices, counted from 0" }
    )]
    NoSuchIndex {
        /// The device.
        name: DeviceName,
        /// How many there are, at least one.
        count: usize,
    },
    /// The machine has no such device, or no driver for it.
    #[error("`{name}` cannot be used here: {reason}; {remedy}")]
    Unavailable {
        /// The device.
        name: DeviceName,
        /// What is missing.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The device is there, but does not compute in this type of numbers.
    #[error(
        "`{device}` does not compute in {dtype}: {reason}; take another type or another device"
    )]
    Dtype {
        /// The device's name.
        device: String,
        /// The type's name.
        dtype: &'static str,
        /// What was found.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_index_tells_how_many_there_are() {
        let error = |count| {
            let name = DeviceName::LibtorchCuda(3);
            DeviceError::NoSuchIndex { name, count }.to_string()
        };
        assert!(error(1).contains("no `libtorch:cuda:3`: this machine has 1 such device,"));
        assert!(error(2).contains("this machine has 2 such devices, counted from 0;"));
    }

    #[test]
    fn a_backend_left_out_names_both_commands() {
        let name = DeviceName::LibtorchCuda(1);
        let error = DeviceError::NotCompiled { name }.to_string();
        assert!(error.starts_with("this build has no `libtorch:cuda:1`, only flex"));
        assert!(error.contains("`cargo xtask pipeline --device libtorch:cuda:1`"));
        assert!(error.contains("`cargo build --release -p afd --features libtorch`"));
    }
}

//! Device names, one grammar everywhere: flag, `AFD_DEVICE` and config.

use burn::tensor::Device;

/// The device used when nobody names one: pure Rust, nothing to install.
pub const DEFAULT: &str = "flex";

/// A device name this build cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is not in the grammar, or its backend is not compiled in.
    #[error("unknown device `{name}`; this build has: {}", available().join(", "))]
    Unknown {
        /// The name as given.
        name: String,
    },
}

/// The device names this build can open.
pub fn available() -> Vec<&'static str> {
    let mut names = Vec::new();
    if cfg!(feature = "flex") {
        names.push("flex");
    }
    names
}

/// Opens the device called `name`, without automatic differentiation.
///
/// # Errors
/// [`DeviceError::Unknown`] when the name means nothing to this build.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that constructs devices"
)]
pub fn open(name: &str) -> Result<Device, DeviceError> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        _ => Err(DeviceError::Unknown { name: name.into() }),
    }
}

/// How many independent pieces of inference are worth running at once on `device`.
///
/// Flex computes small operations on the thread that asks for them, so it is worth one piece
/// per core; other devices spread an operation themselves.
pub fn workers(device: &Device) -> usize {
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => {
            std::thread::available_parallelism().map_or(1, usize::from)
        }
        #[allow(
            unreachable_patterns,
            reason = "Flex may be the only backend of this build"
        )]
        _ => 1,
    }
}

/// The device tests run on: `AFD_DEVICE`, or [`DEFAULT`].
///
/// # Panics
/// When `AFD_DEVICE` names a device this build does not have; a test suite that
/// silently ran elsewhere would prove nothing.
pub fn test_device() -> Device {
    let name = std::env::var("AFD_DEVICE").unwrap_or_else(|_| DEFAULT.into());
    match open(&name) {
        Ok(device) => device,
        Err(error) => panic!("AFD_DEVICE: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_name_opens() {
        for name in available() {
            assert!(open(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let error = open("gpu").unwrap_err().to_string();
        assert_eq!(error, "unknown device `gpu`; this build has: flex");
    }
}

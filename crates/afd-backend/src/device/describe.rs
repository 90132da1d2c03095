//! What a device is, for people.

use std::fmt;

/// A device's chip and what drives it. Displayed as one line, `CHIP (DRIVER)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The chip, as it names itself.
    pub name: String,
    /// Backend, driver, versions.
    pub driver: String,
    /// What the device can hold, in bytes, where that is known.
    pub memory: Option<u64>,
    /// The largest tensor, in bytes, where that has a limit of its own.
    pub largest_buffer: Option<u64>,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.driver)
    }
}

//! Sizes of files as people write them: `"5GB"`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Size {
    text: String,
    bytes: u64,
}

/// Units by the end of the text, as transformers has them.
const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Size {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
        let bytes = unit.and_then(|(unit, factor)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(*factor).filter(|bytes| *bytes > 0)
        });
        match bytes {
            Some(bytes) => Ok(Self {
                text: text.to_owned(),
                bytes,
            }),
            None => Err(format!(
                "`{text}` is no size; write a whole number with a unit, such as \"5GB\" or \"500MB\""
            )),
        }
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.text
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.bytes());
        assert_eq!(bytes("5GB"), Ok(5_000_000_000));
        assert_eq!(bytes("2 KiB"), Ok(2048));
        for wrong in ["", "5", "GB", "-1GB", "0MB", "1.5GB", "99999999999TB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}

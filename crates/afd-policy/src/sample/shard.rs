//! A part of the batches of a stage, to be drawn elsewhere.

use std::{fmt, str::FromStr};

use crate::Error;

/// One of `count` shards: every `count`-th batch of the plan over all prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    index: usize,
    count: usize,
}

impl Shard {
    /// # Errors
    /// [`Error::Shard`] unless `index` is from 1 to `count`.
    pub fn new(index: usize, count: usize) -> Result<Self, Error> {
        match (1..=count).contains(&index) {
            true => Ok(Self { index, count }),
            false => Err(Error::Shard { index, count }),
        }
    }

    /// Whether the batch of this number, from 0, belongs to it.
    pub fn holds(self, batch: usize) -> bool {
        batch % self.count == self.index - 1
    }
}

/// As in `2-of-4`: what its directory is called.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.index, self.count)
    }
}

/// As in `2/4`.
impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<usize>().ok();
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(index, count)| Some((number(index)?, number(count)?)));
        let (index, count) = numbers.ok_or("must be two numbers, as in 2/4")?;
        Self::new(index, count).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::Shard;

    #[test]
    fn each_batch_is_in_one_shard() {
        for count in 1..5 {
            let shards: Vec<Shard> = (1..=count)
                .map(|index| format!("{index}/{count}").parse().unwrap())
                .collect();
            for batch in 0..20 {
                let held = shards.iter().filter(|shard| shard.holds(batch)).count();
                assert_eq!(held, 1, "{batch} of {count}");
            }
        }
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2-of-4");
    }

    #[test]
    fn shards_that_do_not_exist_are_refused() {
        for text in ["0/4", "5/4", "1/0", "1", "a/b", "1/2/3", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}

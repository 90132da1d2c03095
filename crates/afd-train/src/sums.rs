//! Sums by name, and the weight they are divided by.

use serde::{Deserialize, Serialize};

/// What some examples add up to: named sums, and their weight.
///
/// A mean over several batches is the sums' quotient, not the mean of the batches' means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sums(Vec<(String, f64)>);

/// The weight's own name.
const WEIGHT: &str = "";

impl Sums {
    /// Sums of examples that weigh `weight` together.
    pub fn new<'a>(weight: f64, sums: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        let sums = [(WEIGHT, weight)].into_iter().chain(sums);
        Self(sums.map(|(name, sum)| (name.to_owned(), sum)).collect())
    }

    /// Adds those of other examples.
    pub fn add(&mut self, others: Self) {
        for (name, sum) in others.0 {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known += sum,
                None => self.0.push((name, sum)),
            }
        }
    }

    /// A sum over the weight; NaN where there is none of that name.
    pub fn mean(&self, name: &str) -> f64 {
        let get = |wanted: &str| self.0.iter().find(|(name, _)| name == wanted);
        match (get(name), get(WEIGHT)) {
            (Some((_, sum)), Some((_, weight))) => sum / weight,
            _ => f64::NAN,
        }
    }

    /// All means, by name.
    pub fn means(&self) -> impl Iterator<Item = (&str, f64)> {
        let named = self.0.iter().filter(|(name, _)| name != WEIGHT);
        named.map(|(name, _)| (name.as_str(), self.mean(name)))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_unequal_batches_is_that_of_their_examples() {
        let mut sums = Sums::default();
        assert!(sums.mean("loss").is_nan());
        sums.add(Sums::new(3.0, [("loss", 6.0)]));
        sums.add(Sums::new(1.0, [("loss", 6.0), ("late", 2.0)]));
        let means: Vec<_> = sums.means().collect();
        assert_eq!(means, [("loss", 3.0), ("late", 0.5)]);
    }
}

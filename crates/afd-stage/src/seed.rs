//! One seed per run, one derived seed per use of randomness.

/// The seed for use number `index` of the randomness called `name` in a run with `seed`.
///
/// The three are hashed, so uses do not disturb each other: adding one shifts no other. Names are
/// part of a run's results; renaming one is a change of results.
///
/// ```
/// use afd_stage::seed::derive;
///
/// assert_eq!(derive(1, "shuffle", 0), derive(1, "shuffle", 0));
/// assert_ne!(derive(1, "shuffle", 0), derive(1, "shuffle", 1));
/// assert_ne!(derive(1, "shuffle", 0), derive(1, "dropout", 0));
/// ```
pub fn derive(seed: u64, name: &str, index: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    // The two of fixed width go first, so that no two triples give the same bytes.
    hasher.update(&seed.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every result of every run hangs on these values, which come from the reference
    /// implementation:
    ///
    /// ```python
    /// import struct; from blake3 import blake3
    /// f = lambda s, n, i: int.from_bytes(blake3(struct.pack("<QQ", s, i) + n.encode()).digest()[:8], "little")
    /// f(0, "", 0), f(42, "shuffle", 7), f(2**64 - 1, "größe", 1)
    /// ```
    #[test]
    fn golden_values() {
        assert_eq!(derive(0, "", 0), 824_163_284_354_560_741);
        assert_eq!(derive(42, "shuffle", 7), 10_092_795_021_450_921_277);
        assert_eq!(derive(u64::MAX, "größe", 1), 10_525_094_315_295_649_787);
    }

    #[test]
    fn seed_name_and_index_all_count() {
        let mut seen = BTreeSet::new();
        for seed in 0..8 {
            for name in ["", "a", "b", "ab", "sft", "sft/shuffle"] {
                for index in 0..8 {
                    seen.insert(derive(seed, name, index));
                }
            }
        }
        assert_eq!(seen.len(), 8 * 6 * 8);
    }
}

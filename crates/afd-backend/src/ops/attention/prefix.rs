//! Keys and values that stand in memory more than once.

/// What a sequence has in common with another of its batch: before key `end`, whichever keys it sees have the same
/// numbers in sequence `row`, and so have their values.
///
/// A kernel may read them there, so that the answers to one prompt read it from the processor's caches. What it
/// computes is the same to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The first of those that share; the sequence's own number for that one, and where nothing is shared.
    pub row: usize,
    /// The first key that they need not share.
    pub end: usize,
}

//! What can be read off an answer's text without understanding it.
//!
//! A classifier on these features beside a reward model shows how much of the latter's verdict
//! length, format and stock phrases explain.
//!
//! * [`readable`]: [`N`] figures with [`NAMES`]; [`LENGTH`] and [`FORMAT`] are subsets for
//!   classifiers that may see nothing else, taken out by [`select`].
//! * [`ngrams`]: which words and pairs of words, hashed into [`BUCKETS`].
//!
//! A word is a run of letters and digits in lower case, apostrophes between them included; in
//! scripts without spaces that is a whole run. White space around the text does not count.
//!
//! ```
//! use afd_data::features::{NAMES, readable};
//!
//! let figures = readable(" I'm sorry, I can't help with that.");
//! let named = |name: &str| figures[NAMES.iter().position(|other| *other == name).unwrap()];
//! assert_eq!((named("words"), named("refusals")), (7.0, 2.0));
//! ```

mod ngrams;
mod phrases;
mod readable;
mod words;

pub use ngrams::{BUCKETS, ngrams};
pub use readable::{FORMAT, LENGTH, N, NAMES, readable, select};

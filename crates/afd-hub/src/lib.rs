//! Models by name: from the Hugging Face Hub into the cache it shares with other tools.
//!
//! The only crate that opens a network connection. It knows no model, no Burn and no crate of
//! ours, prints nothing and reads no variable itself.

mod error;
mod options;
mod reference;
mod token;

pub use error::Error;
pub use options::Options;
pub use reference::{Model, Repository};
pub use token::Token;

//! Models by name: from the Hugging Face Hub into the cache it shares with other tools.
//!
//! [`Model::parse`] tells a directory from a repository, [`resolve`] turns a repository into a
//! [`Snapshot`], a directory with its files, and [`cached`] does so without a network.
//! [`Options::from_env`] takes what the Hub's variables say.
//!
//! The only crate that opens a network connection. It knows no Burn and no crate of ours, prints
//! nothing and reads no variable itself.
//!
//! * **What is fetched** is what a model needs: `config.json` and other settings, the tokenizer,
//!   safetensors. Never pickles, never code.
//! * **Commits.** A branch is looked up once, everything else is asked for by its commit, and
//!   [`Snapshot::commit`] is what to write down: a commit that is in the cache needs no network.
//! * **The cache** is laid out as Python's `huggingface_hub` does it; each uses what the other
//!   fetched. A file is in a snapshot only when it is whole. Weights, which are named by their
//!   hash, are checked against it, other files against their size.
//! * **The token** goes to the Hub's own address, not to the hosts it redirects to.
//!
//! Why not the `hf-hub` crate: see `docs/adr/0006-models-by-name.md`.

mod cache;
mod download;
mod error;
mod files;
mod http;
mod hub;
mod options;
mod reference;
mod resolve;
mod token;

pub use error::Error;
pub use options::Options;
pub use reference::{Model, Repository};
pub use resolve::{Progress, Snapshot, cached, resolve};
pub use token::Token;

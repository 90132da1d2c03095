//! The operations a decoder spends its time in.
//!
//! Each is a plain composition of Burn's tensor operations, differentiable on any
//! device. Shapes use `B` sequences, `T` tokens, `H` heads, `K` key/value heads,
//! `d` width of a head, `D` width, `V` vocabulary.

mod attention;
mod log_probs;
mod norm;
mod rotary;
mod softcap;

pub use attention::{Mask, ScoreOptions, attention, causal_mask, padding_mask};
pub use log_probs::token_log_probs;
pub use norm::{layer_norm, rms_norm};
pub use rotary::{RotaryTable, frequencies, rotate};
pub use softcap::cap;

//! Every operation, forward and backward, against its definition in f64, on the device that
//! `AFD_DEVICE` names.
//!
//! Shapes are few and telling, because a device that compiles its kernels compiles some for
//! each of them; two of each list are drawn.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod adamw;
mod attention;
mod gelu;
mod log_probs;
mod masks;
mod matmul;
mod norm;
mod recompute;
mod reference;
mod rotary;
mod rows;
mod squares;
mod swiglu;

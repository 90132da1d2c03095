//! The only crate that knows Burn's backends.
//!
//! Everybody else sees plain [`burn::Tensor`]s and a run-time [`burn::tensor::Device`];
//! this crate turns a device *name* into one ([`device`]) and owns the tensor
//! operations a decoder spends its time in ([`ops`]), so that a faster version of an
//! operation changes one file.
//!
//! - [`device::open`]: a name such as `flex` to a device, or an error that lists what
//!   this build has.
//! - [`device::test_device`]: the device tests run on, from `AFD_DEVICE`.
//! - [`Placement`]: a device and the number types models use on it.
//! - [`recompute()`]: a piece of a model whose activations are computed again in backward.
//! - [`workers::for_each`]: independent work on the threads that a device leaves idle.
//! - [`host`]: loops over numbers on the host, for the processor at hand, and on whose threads they run.
//! - [`ops::attention`], [`ops::rms_norm`], [`ops::rotate`], [`ops::token_log_probs`].
//!
//! ```
//! let device = afd_backend::device::open("flex")?;
//! let x = burn::Tensor::<2>::ones([2, 4], &device);
//! let y = afd_backend::ops::rms_norm(x, burn::Tensor::<1>::ones([4], &device), 1e-6);
//! assert_eq!(y.dims(), [2, 4]);
//! # Ok::<(), afd_backend::DeviceError>(())
//! ```

pub mod device;
pub mod host;
pub mod ops;
mod placement;
mod recompute;
pub mod workers;

pub use device::DeviceError;
pub use placement::{Dtype, Placement, Precision};
pub use recompute::recompute;

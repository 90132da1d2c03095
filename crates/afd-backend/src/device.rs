//! Names to devices, and what is to be known about them.

#[cfg(feature = "wgpu")]
mod adapters;
#[cfg(feature = "cuda")]
mod cuda;
mod describe;
mod error;
mod fault;
#[cfg(feature = "flex")]
mod flex;
mod host;
#[cfg(feature = "libtorch")]
mod libtorch;
mod name;
mod supports;

use burn::tensor::Device;

pub use describe::Description;
pub use error::DeviceError;
pub use fault::{Cause, catch, cause, summary};
pub use name::{DeviceName, GRAMMAR};
pub use supports::supports;

/// The device used when nobody names one: pure Rust, nothing to install.
pub const DEFAULT: &str = "flex";

/// The devices this build and this machine really have.
pub fn available() -> Vec<DeviceName> {
    DeviceName::KINDS.into_iter().flat_map(of_kind).collect()
}

/// The devices of one kind that are there; `kind` is any of them.
pub fn of_kind(kind: DeviceName) -> Vec<DeviceName> {
    match kind {
        #[cfg(feature = "libtorch")]
        DeviceName::LibtorchCuda(_) => counted(libtorch::gpus(), DeviceName::LibtorchCuda),
        #[cfg(feature = "libtorch")]
        DeviceName::LibtorchMps if !libtorch::has_mps() => Vec::new(),
        #[cfg(feature = "wgpu")]
        DeviceName::Wgpu(_) => counted(adapters::count(kind), DeviceName::Wgpu),
        #[cfg(feature = "vulkan")]
        DeviceName::Vulkan(_) => counted(adapters::count(kind), DeviceName::Vulkan),
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(_) => counted(cuda::count(), DeviceName::Cuda),
        #[cfg(feature = "metal")]
        DeviceName::Metal if adapters::count(kind) == 0 => Vec::new(),
        _ if kind.is_compiled() => vec![kind],
        _ => Vec::new(),
    }
}

#[cfg(any(feature = "libtorch", feature = "wgpu", feature = "cuda"))]
fn counted(count: usize, name: fn(usize) -> DeviceName) -> Vec<DeviceName> {
    (0..count).map(name).collect()
}

/// Opens the device called `name`, without automatic differentiation.
///
/// # Errors
/// When the name means nothing, its backend is not in this build, or this machine does not have
/// the device; the message tells what to do.
#[allow(
    unreachable_patterns,
    reason = "nothing is left over when every backend is compiled in"
)]
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let name: DeviceName = name.parse()?;
    match name {
        #[cfg(feature = "flex")]
        DeviceName::Flex => Ok(flex::open()),
        #[cfg(feature = "libtorch")]
        DeviceName::Libtorch => Ok(libtorch::open()),
        #[cfg(feature = "libtorch")]
        DeviceName::LibtorchCuda(index) => libtorch::open_cuda(index),
        #[cfg(feature = "libtorch")]
        DeviceName::LibtorchMps => libtorch::open_mps(),
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(index) => cuda::open(index),
        #[cfg(feature = "wgpu")]
        _ if name.is_compiled() => adapters::open(name),
        _ => Err(DeviceError::NotCompiled { name }),
    }
}

/// What the device called `name` is.
///
/// # Errors
/// As [`open`].
#[allow(
    unreachable_patterns,
    reason = "nothing is left over when every backend is compiled in"
)]
pub fn describe(name: &str) -> Result<Description, DeviceError> {
    open(name)?;
    let name: DeviceName = name.parse()?;
    match name {
        #[cfg(feature = "flex")]
        DeviceName::Flex => Ok(flex::describe()),
        #[cfg(feature = "libtorch")]
        DeviceName::Libtorch => Ok(libtorch::describe()),
        #[cfg(feature = "libtorch")]
        DeviceName::LibtorchCuda(index) => Ok(libtorch::describe_cuda(index)),
        #[cfg(feature = "libtorch")]
        DeviceName::LibtorchMps => Ok(libtorch::describe_mps()),
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(index) => Ok(cuda::describe(index)),
        #[cfg(feature = "wgpu")]
        _ if name.is_compiled() => adapters::describe(name),
        _ => Err(DeviceError::NotCompiled { name }),
    }
}

/// How many independent pieces of inference are worth running at once on `device`.
///
/// Flex computes small operations on the thread that asks for them, so it is worth one piece
/// for each of rayon's threads; other devices spread an operation themselves.
pub fn workers(device: &Device) -> usize {
    match is_worth_several(device) {
        true => rayon::current_num_threads(),
        false => 1,
    }
}

/// Whether [`workers`] may be more than one: a matter of the device, and not of how many cores there are.
pub fn is_worth_several(device: &Device) -> bool {
    is_flex(device)
}

/// Whether this is Flex, with automatic differentiation or without.
#[allow(
    unreachable_patterns,
    reason = "Flex may be the only backend of this build"
)]
pub(crate) fn is_flex(device: &Device) -> bool {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => true,
        _ => false,
    }
}

/// Whether this is libtorch, with automatic differentiation or without.
#[cfg(feature = "libtorch")]
pub(crate) fn is_libtorch(device: &Device) -> bool {
    let device = device.clone().without_autodiff();
    matches!(
        device.as_dispatch(),
        burn::backend::DispatchDevice::LibTorch(_)
    )
}

/// Whether this is libtorch on the CPU, with automatic differentiation or without.
#[cfg(feature = "libtorch")]
pub(crate) fn is_libtorch_on_cpu(device: &Device) -> bool {
    match device.clone().without_autodiff().as_dispatch() {
        burn::backend::DispatchDevice::LibTorch(device) => libtorch::is_cpu(device),
        #[allow(unreachable_patterns, reason = "libtorch may be the only backend")]
        _ => false,
    }
}

/// Whether this computes on the CPU, with automatic differentiation or without: Flex, or libtorch there.
#[allow(
    unreachable_patterns,
    reason = "these may be the only backends of this build"
)]
pub(crate) fn is_cpu(device: &Device) -> bool {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => true,
        #[cfg(feature = "libtorch")]
        burn::backend::DispatchDevice::LibTorch(device) => libtorch::is_cpu(device),
        _ => false,
    }
}

/// Whether `device` gives the same bits whenever it computes the same thing in one process.
///
/// The CPU does, through Flex and through libtorch. GPUs add in whichever order threads come,
/// and devices that compile their kernels choose among several by timing them.
pub fn repeats_bits(device: &Device) -> bool {
    is_cpu(device)
}

/// The name of the device tests run on: `AFD_DEVICE`, or [`DEFAULT`].
pub fn test_name() -> String {
    std::env::var("AFD_DEVICE").unwrap_or_else(|_| DEFAULT.into())
}

/// The device called [`test_name`].
///
/// # Panics
/// When that device is not there; a test suite that silently ran elsewhere would prove nothing.
pub fn test_device() -> Device {
    match open(&test_name()) {
        Ok(device) => device,
        Err(error) => panic!("AFD_DEVICE: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_device_of_a_kind_opens_or_tells_why_not() {
        for kind in DeviceName::KINDS {
            let there = of_kind(kind);
            let Err(error) = open(&kind.to_string()) else {
                assert_eq!(there.first(), Some(&kind));
                continue;
            };
            assert_eq!(there, [], "{kind}");
            assert_eq!(
                kind.is_compiled(),
                !matches!(error, DeviceError::NotCompiled { .. })
            );
        }
    }

    #[test]
    fn an_index_beyond_the_last_is_an_error() {
        let beyond = [
            DeviceName::LibtorchCuda(4242),
            DeviceName::Wgpu(4242),
            DeviceName::Vulkan(4242),
            DeviceName::Cuda(4242),
        ];
        for name in beyond {
            let error = open(&name.to_string()).unwrap_err();
            let expected = match (name.is_compiled(), of_kind(name).len()) {
                (false, _) => matches!(error, DeviceError::NotCompiled { .. }),
                (true, 0) => matches!(error, DeviceError::Unavailable { .. }),
                (true, there) => {
                    matches!(error, DeviceError::NoSuchIndex { count, .. } if count == there)
                }
            };
            assert!(expected, "{error}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let error = open("gpu").unwrap_err().to_string();
        assert!(error.starts_with("unknown device `gpu`; this build has: flex"));
        assert!(error.contains("libtorch:cuda:N"), "{error}");
    }

    #[test]
    fn what_is_there_can_be_described() {
        let description = describe("flex").unwrap();
        assert!(!description.name.is_empty());
        let line = format!("{} (flex 0.", description.name);
        assert!(description.to_string().starts_with(&line), "{description}");
    }
}

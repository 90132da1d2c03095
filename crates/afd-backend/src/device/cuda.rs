//! NVIDIA's GPUs, through kernels compiled here.

use burn::tensor::{Device, DeviceType, Tensor};

use super::{Description, DeviceError, DeviceName, fault, host};

pub(super) fn open(index: usize) -> Result<Device, DeviceError> {
    let name = DeviceName::Cuda(index);
    let unavailable = |reason| DeviceError::Unavailable {
        name,
        reason,
        remedy: "it needs an NVIDIA GPU, its driver (`nvidia-smi` tells) and the CUDA toolkit's \
                 libraries",
    };
    match count() {
        0 => Err(unavailable("no NVIDIA driver offers a GPU".into())),
        count if index >= count => Err(DeviceError::NoSuchIndex { name, count }),
        _ => {
            let device = Device::cuda(index);
            let used = fault::catch(|| Tensor::<1>::from_data([1.0], &device).into_data());
            used.map(|_| device).map_err(unavailable)
        }
    }
}

pub(super) fn describe(index: usize) -> Description {
    host::nvidia(index, "cuda")
}

/// How many GPUs NVIDIA's driver offers.
pub(super) fn count() -> usize {
    fault::catch(|| Device::enumerate(DeviceType::Cuda).len()).unwrap_or(0)
}

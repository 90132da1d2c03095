//! libtorch: the CPU, NVIDIA's GPUs and Apple's.
#![allow(
    deprecated,
    reason = "Burn has marked its libtorch backend for removal, and has no other CUDA that builds offline"
)]

use std::{fs, path::Path};

use burn::{
    backend::libtorch::LibTorchDevice,
    tensor::{Device, Tensor},
};

use super::{Description, DeviceError, DeviceName, fault, host};

/// The CPU.
pub(super) fn open() -> Device {
    Device::libtorch()
}

/// Whether this is the CPU.
pub(super) fn is_cpu(device: &LibTorchDevice) -> bool {
    matches!(device, LibTorchDevice::Cpu)
}

/// NVIDIA's GPU number `index`.
pub(super) fn open_cuda(index: usize) -> Result<Device, DeviceError> {
    let name = DeviceName::LibtorchCuda(index);
    match gpus() {
        0 => Err(unavailable(
            name,
            "libtorch finds no NVIDIA GPU".into(),
            "it needs a GPU that `nvidia-smi` lists, and a libtorch with CUDA, as \
             `cargo xtask setup libtorch` tells",
        )),
        count if index >= count => Err(DeviceError::NoSuchIndex { name, count }),
        _ => proven(name, Device::libtorch_cuda(index)),
    }
}

/// Apple's GPU.
pub(super) fn open_mps() -> Result<Device, DeviceError> {
    let name = DeviceName::LibtorchMps;
    match has_mps() {
        true => proven(name, Device::libtorch_mps()),
        false => Err(unavailable(
            name,
            "libtorch finds no Metal GPU".into(),
            "it needs a Mac with an Apple chip and a libtorch made for it",
        )),
    }
}

/// The device, once it has held a number.
fn proven(name: DeviceName, device: Device) -> Result<Device, DeviceError> {
    match fault::catch(|| Tensor::<1>::from_data([1.0], &device).into_data()) {
        Ok(_) => Ok(device),
        Err(reason) => Err(unavailable(
            name,
            reason,
            "`cargo xtask setup libtorch` finds or makes a libtorch that fits",
        )),
    }
}

fn unavailable(name: DeviceName, reason: String, remedy: &'static str) -> DeviceError {
    DeviceError::Unavailable {
        name,
        reason,
        remedy,
    }
}

/// How many of NVIDIA's GPUs libtorch can use; none when it fails to ask.
pub(super) fn gpus() -> usize {
    let count = fault::catch(tch::Cuda::device_count).unwrap_or(0);
    usize::try_from(count).unwrap_or(0)
}

/// Whether libtorch can use Apple's GPU.
pub(super) fn has_mps() -> bool {
    fault::catch(tch::utils::has_mps).unwrap_or(false)
}

pub(super) fn describe() -> Description {
    let threads = usize::try_from(tch::get_num_threads()).unwrap_or(1);
    Description {
        name: host::processor(),
        driver: format!("{}, {}", library(), host::threads(threads)),
        memory: host::memory(),
        largest_buffer: None,
    }
}

pub(super) fn describe_cuda(index: usize) -> Description {
    let runtime = fault::catch(tch::utils::version_cudart).ok();
    let runtime = runtime.map(|version| format!("CUDA {}.{}", version / 1000, version % 1000 / 10));
    let library = [Some(library()), runtime].into_iter().flatten();
    host::nvidia(index, &library.collect::<Vec<_>>().join(", "))
}

pub(super) fn describe_mps() -> Description {
    Description {
        name: host::processor(),
        driver: format!("{}, Metal", library()),
        memory: host::memory(),
        largest_buffer: None,
    }
}

/// `libtorch 2.9.0`. The library does not tell its version, but the files beside it do; only
/// Linux tells where it was loaded from.
fn library() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loaded = maps.lines().find_map(|line| {
        let path = line.get(line.find('/')?..)?;
        path.contains("/libtorch_cpu.so").then_some(path)
    });
    let home = loaded.and_then(|path| Path::new(path).parent()?.parent());
    match home.and_then(version_in) {
        Some(version) => format!("libtorch {version}"),
        None => "libtorch".to_owned(),
    }
}

/// The version of the libtorch in `home`: an archive's `build-version`, a wheel's `version.py`.
fn version_in(home: &Path) -> Option<String> {
    let archive = fs::read_to_string(home.join("build-version")).ok();
    let version = archive.map(|version| version.trim().to_owned());
    version.or_else(|| wheel_version(&fs::read_to_string(home.join("version.py")).ok()?))
}

/// The version in a wheel's `version.py`.
fn wheel_version(python: &str) -> Option<String> {
    let mut lines = python.lines();
    let version = lines.find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(version.trim_matches('\'').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_tells_its_version() {
        let python = "from typing import Optional\n\n__version__ = '2.9.0+cu128'\ndebug = False\n";
        assert_eq!(wheel_version(python).unwrap(), "2.9.0+cu128");
        assert_eq!(wheel_version("version = 1"), None);
    }

    #[test]
    fn the_library_in_use_has_a_version() {
        let library = library();
        let versioned = library.starts_with("libtorch 2.");
        assert!(versioned || !cfg!(target_os = "linux"), "{library}");
    }
}

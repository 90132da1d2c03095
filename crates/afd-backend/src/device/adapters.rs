//! What wgpu calls adapters: GPUs, and programs that pretend to be one.
//!
//! Burn's devices come up at their first use, and panic when there is no adapter. So adapters are
//! counted before, and brought up here.

use std::sync::{Mutex, PoisonError};

use burn::backend::{DispatchDevice, read_sync};
use burn::tensor::{
    Device, DeviceKind,
    wgpu::{WgpuBackend, wgpu},
};
use wgpu::{AdapterInfo, Backend, DeviceType, Instance, InstanceDescriptor};

use super::{Description, DeviceError, DeviceName};

/// What was found so far. One lock for all of it: Vulkan's loader crashes when instances come
/// and go on several threads at once.
static GPUS: Mutex<Gpus> = Mutex::new(Gpus {
    asked: Vec::new(),
    opened: Vec::new(),
});

struct Gpus {
    /// The graphics interfaces asked; an instance lives as long as the process.
    asked: Vec<(Backend, Instance, Vec<AdapterInfo>)>,
    /// A device comes up once, whatever it is called.
    opened: Vec<(DeviceKind, Backend, Device)>,
}

/// An adapter that Burn can be told to use.
#[derive(Debug)]
struct Adapter {
    kind: DeviceKind,
    info: AdapterInfo,
}

/// How many adapters there are under this kind of name.
pub(super) fn count(kind: DeviceName) -> usize {
    gpus(|gpus| gpus.adapters(kind).len())
}

/// # Errors
/// When the machine has no adapter of this name, or it does not come up.
pub(super) fn open(name: DeviceName) -> Result<Device, DeviceError> {
    gpus(|gpus| gpus.open(name))
}

/// # Errors
/// As [`open`].
pub(super) fn describe(name: DeviceName) -> Result<Description, DeviceError> {
    gpus(|gpus| {
        let device = gpus.open(name)?;
        let info = gpus.adapter(name)?.info;
        let driver = format!("{} {}", info.driver, info.driver_info);
        let driver = format!("{}, {}", info.backend, driver.trim());
        let mut description = Description {
            name: info.name,
            driver: driver.trim_end_matches([',', ' ']).to_owned(),
            memory: None,
            largest_buffer: None,
        };
        if let DispatchDevice::Cube(device) = device.as_dispatch() {
            let memory = device.client().properties().memory.clone();
            description.memory = memory.max_memory();
            description.largest_buffer = Some(memory.max_page_size);
        }
        Ok(description)
    })
}

fn gpus<T>(work: impl FnOnce(&mut Gpus) -> T) -> T {
    work(&mut GPUS.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Gpus {
    fn open(&mut self, name: DeviceName) -> Result<Device, DeviceError> {
        let Adapter { kind, info } = self.adapter(name)?;
        let mut opened = self.opened.iter();
        if let Some((.., device)) =
            opened.find(|(known, backend, _)| *known == kind && *backend == info.backend)
        {
            return Ok(device.clone());
        }
        let device = Device::wgpu_options()
            .device_kind(kind.clone())
            .graphics_api(interface(info.backend))
            .init()
            .map_err(|error| unavailable(name, error.to_string()))?;
        self.opened.push((kind, info.backend, device.clone()));
        Ok(device)
    }

    fn adapter(&mut self, name: DeviceName) -> Result<Adapter, DeviceError> {
        let adapters = self.adapters(name);
        let count = adapters.len();
        let adapter = adapters.into_iter().nth(index(name));
        adapter.ok_or_else(|| match count {
            0 => unavailable(name, "no graphics driver offers an adapter".into()),
            count => DeviceError::NoSuchIndex { name, count },
        })
    }

    /// The adapters of the graphics interface that `name` means, best first.
    fn adapters(&mut self, name: DeviceName) -> Vec<Adapter> {
        let interfaces: &[Backend] = match name {
            DeviceName::Vulkan(_) => &[Backend::Vulkan],
            DeviceName::Metal => &[Backend::Metal],
            // The first with a GPU, or else the first with anything.
            _ if cfg!(target_os = "macos") => &[Backend::Metal],
            _ => &[Backend::Vulkan, Backend::Dx12, Backend::Gl],
        };
        let mut software = Vec::new();
        for backend in interfaces {
            let adapters = ranked(&self.ask(*backend));
            if adapters
                .iter()
                .any(|adapter| adapter.kind != DeviceKind::Cpu)
            {
                return adapters;
            }
            if software.is_empty() {
                software = adapters;
            }
        }
        software
    }

    fn ask(&mut self, backend: Backend) -> Vec<AdapterInfo> {
        if let Some((_, _, found)) = self.asked.iter().find(|(asked, ..)| *asked == backend) {
            return found.clone();
        }
        let instance = Instance::new(InstanceDescriptor {
            backends: backend.into(),
            ..InstanceDescriptor::new_without_display_handle()
        });
        let adapters = read_sync(instance.enumerate_adapters(backend.into()));
        let found: Vec<AdapterInfo> = adapters.iter().map(wgpu::Adapter::get_info).collect();
        self.asked.push((backend, instance, found.clone()));
        found
    }
}

/// Adapters in the order `:N` counts them: discrete, integrated and virtual GPUs, then programs.
/// Burn counts each kind for itself, and knows one program only.
fn ranked(found: &[AdapterInfo]) -> Vec<Adapter> {
    let of = |device_type: DeviceType| {
        let same = found
            .iter()
            .filter(move |info| info.device_type == device_type);
        same.cloned().enumerate()
    };
    let adapter = |kind, info| Adapter { kind, info };
    let discrete = of(DeviceType::DiscreteGpu).map(|(n, i)| adapter(DeviceKind::DiscreteGpu(n), i));
    let integrated =
        of(DeviceType::IntegratedGpu).map(|(n, i)| adapter(DeviceKind::IntegratedGpu(n), i));
    let virtual_ = of(DeviceType::VirtualGpu).map(|(n, i)| adapter(DeviceKind::VirtualGpu(n), i));
    let program = of(DeviceType::Cpu)
        .take(1)
        .map(|(_, i)| adapter(DeviceKind::Cpu, i));
    discrete
        .chain(integrated)
        .chain(virtual_)
        .chain(program)
        .collect()
}

/// Burn's word for the interface an adapter was found on, so that it looks nowhere else.
fn interface(backend: Backend) -> WgpuBackend {
    match backend {
        Backend::Vulkan => WgpuBackend::Vulkan,
        Backend::Metal => WgpuBackend::Metal,
        Backend::Dx12 => WgpuBackend::Dx12,
        Backend::Gl => WgpuBackend::Gl,
        _ => WgpuBackend::Auto,
    }
}

fn index(name: DeviceName) -> usize {
    match name {
        DeviceName::Wgpu(index) | DeviceName::Vulkan(index) => index,
        _ => 0,
    }
}

fn unavailable(name: DeviceName, reason: String) -> DeviceError {
    let remedy = match name {
        DeviceName::Metal => "it needs a Mac",
        _ if cfg!(target_os = "macos") => "it needs a GPU that Metal knows",
        _ => {
            "install the GPU's Vulkan driver, or run `cargo xtask setup vulkan`, which without a \
             GPU gets a program in its place"
        }
    };
    DeviceError::Unavailable {
        name,
        reason,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_counted_from_the_best_on() {
        let types = [
            DeviceType::Cpu,
            DeviceType::IntegratedGpu,
            DeviceType::Other,
            DeviceType::DiscreteGpu,
            DeviceType::Cpu,
            DeviceType::DiscreteGpu,
            DeviceType::VirtualGpu,
        ];
        let found = types.map(|device_type| AdapterInfo::new(device_type, Backend::Vulkan));
        let kinds: Vec<DeviceKind> = ranked(&found).into_iter().map(|a| a.kind).collect();
        let expected = [
            DeviceKind::DiscreteGpu(0),
            DeviceKind::DiscreteGpu(1),
            DeviceKind::IntegratedGpu(0),
            DeviceKind::VirtualGpu(0),
            DeviceKind::Cpu,
        ];
        assert_eq!(kinds, expected);
    }
}

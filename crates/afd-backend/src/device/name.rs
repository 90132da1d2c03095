//! Device names: one grammar for the flag, `AFD_DEVICE` and configurations.

use std::{fmt, str::FromStr};

use super::DeviceError;

/// What a device is called, whether or not it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceName {
    /// `flex`: the CPU, in Rust alone.
    Flex,
    /// `libtorch`: the CPU, through libtorch.
    Libtorch,
    /// `libtorch:cuda:N`: an NVIDIA GPU, through libtorch.
    LibtorchCuda(usize),
    /// `libtorch:mps`: Apple's GPU, through libtorch.
    LibtorchMps,
    /// `wgpu` or `wgpu:N`: a GPU, through whichever graphics interface the platform has.
    Wgpu(usize),
    /// `vulkan` or `vulkan:N`: a GPU, through Vulkan.
    Vulkan(usize),
    /// `cuda:N`: an NVIDIA GPU, through kernels compiled here.
    Cuda(usize),
    /// `metal`: Apple's GPU, through kernels compiled here.
    Metal,
}

/// All there is to say: `N` counts from 0, and a name that may leave it out means the first.
pub const GRAMMAR: &str = "flex, libtorch, libtorch:cuda:N, libtorch:mps, wgpu, wgpu:N, vulkan, \
                           vulkan:N, cuda:N, metal";

impl DeviceName {
    /// The first device of every kind.
    pub const KINDS: [Self; 8] = [
        Self::Flex,
        Self::Libtorch,
        Self::LibtorchCuda(0),
        Self::LibtorchMps,
        Self::Wgpu(0),
        Self::Vulkan(0),
        Self::Cuda(0),
        Self::Metal,
    ];

    /// The cargo feature that compiles it in.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Libtorch | Self::LibtorchCuda(_) | Self::LibtorchMps => "libtorch",
            Self::Wgpu(_) => "wgpu",
            Self::Vulkan(_) => "vulkan",
            Self::Cuda(_) => "cuda",
            Self::Metal => "metal",
        }
    }

    /// Whether this build has that feature.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::Libtorch | Self::LibtorchCuda(_) | Self::LibtorchMps => {
                cfg!(feature = "libtorch")
            }
            Self::Wgpu(_) => cfg!(feature = "wgpu"),
            Self::Vulkan(_) => cfg!(feature = "vulkan"),
            Self::Cuda(_) => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }
}

/// The features this build has, which are the first words of its names.
pub(super) fn compiled() -> String {
    let mut features: Vec<&str> = DeviceName::KINDS
        .into_iter()
        .filter(|name| name.is_compiled())
        .map(DeviceName::feature)
        .collect();
    features.dedup();
    features.join(", ")
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let parts: Vec<&str> = name.split(':').collect();
        let device = match parts.as_slice() {
            ["flex"] => Some(Self::Flex),
            ["libtorch"] => Some(Self::Libtorch),
            ["libtorch", "cuda", n] => index(n).map(Self::LibtorchCuda),
            ["libtorch", "mps"] => Some(Self::LibtorchMps),
            ["wgpu"] => Some(Self::Wgpu(0)),
            ["wgpu", n] => index(n).map(Self::Wgpu),
            ["vulkan"] => Some(Self::Vulkan(0)),
            ["vulkan", n] => index(n).map(Self::Vulkan),
            ["cuda", n] => index(n).map(Self::Cuda),
            ["metal"] => Some(Self::Metal),
            _ => None,
        };
        device.ok_or_else(|| DeviceError::Unknown { name: name.into() })
    }
}

/// A number as people count devices: digits, and no zero before another.
fn index(text: &str) -> Option<usize> {
    let number = text.parse().ok();
    number.filter(|number: &usize| number.to_string() == text)
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Flex => "flex".to_owned(),
            Self::Libtorch => "libtorch".to_owned(),
            Self::LibtorchCuda(n) => format!("libtorch:cuda:{n}"),
            Self::LibtorchMps => "libtorch:mps".to_owned(),
            Self::Wgpu(0) => "wgpu".to_owned(),
            Self::Wgpu(n) => format!("wgpu:{n}"),
            Self::Vulkan(0) => "vulkan".to_owned(),
            Self::Vulkan(n) => format!("vulkan:{n}"),
            Self::Cuda(n) => format!("cuda:{n}"),
            Self::Metal => "metal".to_owned(),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        let counted = [
            DeviceName::LibtorchCuda(3),
            DeviceName::Wgpu(1),
            DeviceName::Vulkan(12),
            DeviceName::Cuda(7),
        ];
        for name in DeviceName::KINDS.into_iter().chain(counted) {
            assert_eq!(name.to_string().parse::<DeviceName>().unwrap(), name);
        }
    }

    #[test]
    fn the_first_adapter_may_be_counted() {
        assert_eq!("wgpu:0".parse::<DeviceName>().unwrap(), DeviceName::Wgpu(0));
        let vulkan = "vulkan:0".parse::<DeviceName>().unwrap();
        assert_eq!(vulkan, DeviceName::Vulkan(0));
    }

    #[test]
    fn nothing_else_is_a_name() {
        let others = [
            "",
            "cpu",
            "gpu",
            "cuda",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "cuda:+1",
            "cuda:01",
            "cuda:0:0",
            "Flex",
            "flex:0",
            " flex",
            "libtorch:cuda",
            "libtorch:0",
            "libtorch:cuda:99999999999999999999",
            "libtorch:mps:0",
            "metal:0",
            "vulkan:",
            "wgpu:0:1",
        ];
        for name in others {
            assert!(name.parse::<DeviceName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_grammar_tells_every_kind() {
        for kind in DeviceName::KINDS {
            let name = kind.to_string().replace(":0", ":N");
            let told = GRAMMAR.split(", ").any(|told| told == name);
            assert!(told, "{name} is not in {GRAMMAR}");
        }
    }
}

//! Which of Burn's backends a device needs, and the cargo features that build them in.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Every device name; `afd-backend` opens them, this file only knows what to build for them.
pub(crate) const DEVICES: &str =
    "flex, libtorch, libtorch:cuda:N, libtorch:mps, wgpu, wgpu:N, vulkan, vulkan:N, cuda:N, metal";

/// A backend behind a cargo feature of the same name. Flex is in every build and not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    Cuda,
    Libtorch,
    Metal,
    Vulkan,
    Wgpu,
}

impl Backend {
    const ALL: [Backend; 5] = [
        Backend::Cuda,
        Backend::Libtorch,
        Backend::Metal,
        Backend::Vulkan,
        Backend::Wgpu,
    ];

    /// The backend a device needs; none for Flex.
    pub(crate) fn of_device(device: &str) -> Result<Option<Backend>, Error> {
        // As `afd` reads it: no sign, and no zero before another digit.
        let number = |text: &str| {
            let number = text.parse::<usize>();
            number.is_ok_and(|number| number.to_string() == text)
        };
        let parts: Vec<&str> = device.split(':').collect();
        Ok(match parts.as_slice() {
            ["flex"] => None,
            ["libtorch"] | ["libtorch", "mps"] => Some(Backend::Libtorch),
            ["libtorch", "cuda", n] if number(n) => Some(Backend::Libtorch),
            ["wgpu"] => Some(Backend::Wgpu),
            ["wgpu", n] if number(n) => Some(Backend::Wgpu),
            ["vulkan"] => Some(Backend::Vulkan),
            ["vulkan", n] if number(n) => Some(Backend::Vulkan),
            ["cuda", n] if number(n) => Some(Backend::Cuda),
            ["metal"] => Some(Backend::Metal),
            _ => {
                return Err(Error::Device {
                    name: device.to_owned(),
                });
            }
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Cuda => "cuda",
            Backend::Libtorch => "libtorch",
            Backend::Metal => "metal",
            Backend::Vulkan => "vulkan",
            Backend::Wgpu => "wgpu",
        })
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Backend, Error> {
        Backend::ALL
            .into_iter()
            .find(|backend| backend.to_string() == name)
            .ok_or_else(|| Error::Backend {
                name: name.to_owned(),
                known: Backend::ALL.map(|backend| backend.to_string()).join(", "),
            })
    }
}

/// The backends of one build, besides Flex.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backends(BTreeSet<Backend>);

impl Backends {
    pub(crate) fn contains(&self, backend: Backend) -> bool {
        self.0.contains(&backend)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `--features` for a build of `afd` alone; nothing when Flex is all there is.
    pub(crate) fn of_afd(&self, tuned: bool) -> Vec<String> {
        self.flag("", tuned)
    }

    /// `--features` for the whole workspace, where `afd-backend` alone has them.
    pub(crate) fn of_workspace(&self, tuned: bool) -> Vec<String> {
        self.flag("afd-backend/", tuned)
    }

    /// `tuned` adds what a real GPU is faster with: kernels chosen by trying them and fused, and
    /// for Vulkan kernels in SPIR-V.
    fn flag(&self, prefix: &str, tuned: bool) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let names = self.0.iter().map(Backend::to_string);
        let spirv = (tuned && self.contains(Backend::Vulkan)).then(|| "spirv".to_owned());
        let tuned = tuned.then(|| "tuned".to_owned());
        let features: Vec<String> = names
            .chain(spirv)
            .chain(tuned)
            .map(|name| format!("{prefix}{name}"))
            .collect();
        vec!["--features".to_owned(), features.join(",")]
    }
}

impl FromIterator<Backend> for Backends {
    fn from_iter<I: IntoIterator<Item = Backend>>(backends: I) -> Backends {
        Backends(backends.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_its_backend() {
        let backend = |device| Backend::of_device(device).unwrap();
        assert_eq!(backend("flex"), None);
        for device in [
            "libtorch",
            "libtorch:cuda:0",
            "libtorch:cuda:12",
            "libtorch:mps",
        ] {
            assert_eq!(backend(device), Some(Backend::Libtorch), "{device}");
        }
        assert_eq!(backend("wgpu"), Some(Backend::Wgpu));
        assert_eq!(backend("wgpu:1"), Some(Backend::Wgpu));
        assert_eq!(backend("vulkan"), Some(Backend::Vulkan));
        assert_eq!(backend("vulkan:1"), Some(Backend::Vulkan));
        assert_eq!(backend("cuda:0"), Some(Backend::Cuda));
        assert_eq!(backend("metal"), Some(Backend::Metal));
    }

    #[test]
    fn what_is_no_device_is_told_the_grammar() {
        for device in [
            "",
            "Flex",
            "flex:0",
            "gpu",
            "cuda",
            "cuda:",
            "cuda:x",
            "cuda:+1",
            "cuda:01",
            "libtorch:cuda",
            "libtorch:0",
            "wgpu:-1",
            "metal:0",
        ] {
            let error = Backend::of_device(device).unwrap_err().to_string();
            assert!(error.contains(DEVICES), "{device}: {error}");
        }
    }

    #[test]
    fn features_are_named_for_the_package_that_is_built() {
        let both: Backends = [Backend::Vulkan, Backend::Libtorch, Backend::Vulkan]
            .into_iter()
            .collect();
        assert_eq!(both.of_afd(false), ["--features", "libtorch,vulkan"]);
        assert_eq!(
            both.of_afd(true),
            ["--features", "libtorch,vulkan,spirv,tuned"]
        );
        let cuda: Backends = [Backend::Cuda].into_iter().collect();
        assert_eq!(cuda.of_afd(true), ["--features", "cuda,tuned"]);
        assert_eq!(
            both.of_workspace(false),
            ["--features", "afd-backend/libtorch,afd-backend/vulkan"]
        );
        assert!(Backends::default().of_workspace(false).is_empty());
    }

    #[test]
    fn a_backend_is_known_by_its_feature() {
        for backend in Backend::ALL {
            assert_eq!(backend.to_string().parse::<Backend>().unwrap(), backend);
        }
        let error = "torch".parse::<Backend>().unwrap_err().to_string();
        assert!(error.contains("libtorch"), "{error}");
    }
}

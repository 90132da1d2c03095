//! Which device a task is for: the flag, then `AFD_DEVICE`, then the configuration's line.

use std::env;
use std::fs;
use std::path::Path;

use crate::backend::{Backend, Backends};
use crate::error::Error;

/// What `afd` reads when nobody names a configuration.
const DEFAULT_CONFIG: &str = "configs/quickstart.toml";

/// The options that decide which backends are built in.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct DeviceArgs {
    /// Where to compute; comes before AFD_DEVICE and the configuration. Its backend is built in
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// Further backends to build in: libtorch, wgpu, vulkan, cuda, metal
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) features: Vec<Backend>,
}

impl DeviceArgs {
    /// The device named by the flag or by `AFD_DEVICE`.
    pub(crate) fn named(&self) -> Option<String> {
        let flag = self.device.clone();
        flag.or_else(|| env::var("AFD_DEVICE").ok())
    }

    /// The backends for [`DeviceArgs::named`], which everything without a configuration uses.
    pub(crate) fn backends(&self) -> Result<Backends, Error> {
        self.with(self.named().as_deref())
    }

    /// The same for a task that reads `config`, or the quickstart's where that is none.
    pub(crate) fn backends_for(&self, config: Option<&Path>) -> Result<Backends, Error> {
        let config = config.unwrap_or(Path::new(DEFAULT_CONFIG));
        let device = self.named().or_else(|| device_of(config));
        self.with(device.as_deref())
    }

    fn with(&self, device: Option<&str>) -> Result<Backends, Error> {
        let needed = match device {
            Some(device) => Backend::of_device(device)?,
            None => None,
        };
        Ok(self.features.iter().copied().chain(needed).collect())
    }
}

/// The top-level `device` of a configuration or of what it extends.
///
/// A file that cannot be read names no device: `afd` reads it again and says what is wrong.
fn device_of(config: &Path) -> Option<String> {
    // Deeper than anybody nests, so that files extending each other in a circle come to an end.
    const DEPTH: usize = 16;
    let mut path = config.to_owned();
    for _ in 0..DEPTH {
        let table: toml::Table = fs::read_to_string(&path).ok()?.parse().ok()?;
        if let Some(device) = table.get("device") {
            return device.as_str().map(str::to_owned);
        }
        let parent = table.get("extends")?.as_str()?;
        path = path.parent().unwrap_or(Path::new("")).join(parent);
    }
    None
}

/// The value of `--NAME VALUE` or `--NAME=VALUE` among arguments that are passed on unread.
pub(crate) fn option<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let mut args = args.iter().take_while(|arg| *arg != "--");
    while let Some(arg) = args.next() {
        if arg == name {
            return args.next().map(String::as_str);
        }
        if let Some(value) = arg
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
        {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_its_device_itself_or_by_what_it_extends() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let base = write(
            "base.toml",
            "device = \"vulkan\"\n[model]\ndevice = \"no\"\n",
        );
        let child = write("child.toml", "extends = \"base.toml\"\nseed = 1\n");
        let own = write("own.toml", "extends = \"base.toml\"\ndevice = \"flex\"\n");
        let circle = write("circle.toml", "extends = \"circle.toml\"\n");
        let none = write("none.toml", "[model]\ndevice = \"no\"\n");
        let broken = write("broken.toml", "device = ");
        assert_eq!(device_of(&base).as_deref(), Some("vulkan"));
        assert_eq!(device_of(&child).as_deref(), Some("vulkan"));
        assert_eq!(device_of(&own).as_deref(), Some("flex"));
        for path in [circle, none, broken, folder.path().join("absent.toml")] {
            assert_eq!(device_of(&path), None, "{path:?}");
        }
    }

    #[test]
    fn the_flag_comes_before_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("c.toml");
        fs::write(&config, "device = \"vulkan\"").unwrap();
        let args = DeviceArgs {
            device: Some("libtorch:cuda:1".into()),
            features: vec![Backend::Wgpu],
        };
        let expected: Backends = [Backend::Libtorch, Backend::Wgpu].into_iter().collect();
        assert_eq!(args.backends_for(Some(&config)).unwrap(), expected);
    }

    #[test]
    fn an_option_is_found_among_arguments_passed_on() {
        let args = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        assert_eq!(
            option(&args("sft --device wgpu:1 --force"), "--device"),
            Some("wgpu:1")
        );
        assert_eq!(option(&args("sft --device=flex"), "--device"), Some("flex"));
        assert_eq!(
            option(&args("sft --devices=flex --device"), "--device"),
            None
        );
        assert_eq!(option(&args("sft -- --device flex"), "--device"), None);
    }
}

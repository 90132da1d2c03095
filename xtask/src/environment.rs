//! The variables that cargo and `afd` need for a build's backends, as `setup` left them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backend::{Backend, Backends};
use crate::device::DeviceArgs;
use crate::error::Error;
use crate::setup::swiftshader::SwiftShader;
use crate::setup::{self, SetupError, libtorch, vulkan};
use crate::shell;

/// Where programs look for shared libraries before they look anywhere else.
const LIBRARY_PATH: &str = if cfg!(target_os = "macos") {
    "DYLD_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// Every variable that this file sets; a line to repeat says `cargo xtask env` in their place.
pub(crate) const VARIABLES: [&str; 4] = [
    LIBRARY_PATH,
    "LIBTORCH",
    "LIBTORCH_CXX11_ABI",
    "VK_DRIVER_FILES",
];

const ENV_EXAMPLES: &str = "\
Examples:
  eval \"$(cargo xtask env --device libtorch)\" && target/release/afd doctor
  eval \"$(cargo xtask env)\"                  for every backend that is set up";

/// What has to be set besides what is set already.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    variables: Vec<(&'static str, OsString)>,
    /// Folders to put in front of the library path.
    libraries: Vec<PathBuf>,
}

impl Environment {
    /// The environment for these backends.
    ///
    /// # Errors
    /// When one of them is not set up; the message names the command that does it.
    pub(crate) fn of(backends: &Backends) -> Result<Environment, Error> {
        let dir = setup::dir()?;
        let mut environment = Environment::default();
        if backends.contains(Backend::Libtorch) {
            let libtorch = libtorch::installed(&dir)?.ok_or(SetupError::NoLibtorch)?;
            environment.add_libtorch(&libtorch.path);
        }
        // Elsewhere wgpu speaks to what the system has.
        let vulkan = backends.contains(Backend::Vulkan) || backends.contains(Backend::Wgpu);
        if vulkan && cfg!(target_os = "linux") {
            let problem = vulkan::Found::here().problem();
            match (problem, SwiftShader::in_dir(&dir)) {
                (None, _) => {}
                (Some(problem), Some(swiftshader)) => {
                    // On standard error, because `env` prints for a shell to evaluate.
                    eprintln!("note: Vulkan is SwiftShader here, on the CPU, because {problem}");
                    environment.add_swiftshader(&swiftshader);
                }
                (Some(reason), None) => Err(SetupError::NoVulkan { reason })?,
            }
        }
        Ok(environment)
    }

    fn add_libtorch(&mut self, path: &Path) {
        // Always the same, because torch-sys and all above it are built anew when one changes.
        self.variables.push(("LIBTORCH", path.into()));
        self.variables.push(("LIBTORCH_CXX11_ABI", "1".into()));
        self.libraries.push(path.join("lib"));
    }

    fn add_swiftshader(&mut self, swiftshader: &SwiftShader) {
        let manifest = swiftshader.manifest().into_os_string();
        self.variables.push(("VK_DRIVER_FILES", manifest));
        self.libraries.push(swiftshader.folder.clone());
    }

    /// Sets the variables for one command.
    pub(crate) fn apply(&self, command: &mut Command) -> Result<(), Error> {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if !self.libraries.is_empty() {
            let present = env::var_os(LIBRARY_PATH).unwrap_or_default();
            let present = env::split_paths(&present).filter(|path| !path.as_os_str().is_empty());
            let paths = env::join_paths(self.libraries.iter().cloned().chain(present))?;
            command.env(LIBRARY_PATH, paths);
        }
        Ok(())
    }

    /// The same as lines of a shell.
    fn exports(&self) -> Vec<String> {
        let variables = self.variables.iter();
        let mut lines: Vec<String> = variables
            .map(|(name, value)| format!("export {name}={}", shell::quoted(value)))
            .collect();
        if !self.libraries.is_empty() {
            let folders = self
                .libraries
                .iter()
                .map(|path| shell::quoted(path.as_os_str()));
            let folders = folders.collect::<Vec<_>>().join(":");
            lines.push(format!(
                "export {LIBRARY_PATH}={folders}${{{LIBRARY_PATH}:+:${LIBRARY_PATH}}}"
            ));
        }
        lines
    }
}

/// Whether a build of these backends gets the features for a real GPU, with which SwiftShader
/// computes wrong numbers.
pub(crate) fn tuned(backends: &Backends) -> bool {
    let has = |backend| backends.contains(backend);
    if (has(Backend::Vulkan) || has(Backend::Wgpu)) && cfg!(target_os = "linux") {
        return vulkan::Found::here().is_gpu();
    }
    !backends.is_empty() && *backends != [Backend::Libtorch].into_iter().collect()
}

/// The backends that need something set up and have it.
pub(crate) fn set_up() -> Result<Backends, Error> {
    let mut found = Vec::new();
    for backend in [Backend::Libtorch, Backend::Vulkan] {
        match Environment::of(&[backend].into_iter().collect()) {
            Ok(_) => found.push(backend),
            Err(Error::Setup(SetupError::NoLibtorch | SetupError::NoVulkan { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found.into_iter().collect())
}

#[derive(clap::Args)]
#[command(after_help = ENV_EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    device: DeviceArgs,
}

/// `cargo xtask env`: prints what `cargo xtask …` sets, so that `afd` can be run by hand.
pub(crate) fn print(args: &Args) -> Result<(), Error> {
    let device = &args.device;
    let backends = if device.device.is_none() && device.features.is_empty() {
        set_up()?
    } else {
        device.backends()?
    };
    for line in Environment::of(&backends)?.exports() {
        println!("{line}");
    }
    if let Some(device) = &device.device {
        println!("export AFD_DEVICE={device}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_on_a_gpu_is_tuned() {
        let tuned = |backend| tuned(&[backend].into_iter().collect());
        assert!(tuned(Backend::Cuda));
        assert!(tuned(Backend::Metal));
        assert!(!tuned(Backend::Libtorch));
        assert!(!super::tuned(&Backends::default()));
    }

    fn both() -> Environment {
        let mut environment = Environment::default();
        environment.add_libtorch(Path::new("/opt/my torch"));
        environment.add_swiftshader(&SwiftShader {
            folder: "/opt/swiftshader".into(),
        });
        environment
    }

    #[test]
    fn flex_needs_nothing() {
        let environment = Environment::of(&Backends::default()).unwrap();
        assert_eq!(environment, Environment::default());
        let mut command = Command::new("afd");
        environment.apply(&mut command).unwrap();
        assert_eq!(command.get_envs().count(), 0);
        assert!(environment.exports().is_empty());
    }

    #[test]
    fn libraries_come_first_and_every_variable_is_listed() {
        let mut command = Command::new("afd");
        both().apply(&mut command).unwrap();
        let set: Vec<_> = command.get_envs().collect();
        for (name, value) in &set {
            assert!(VARIABLES.map(Some).contains(&name.to_str()), "{name:?}");
            assert!(value.is_some(), "{name:?}");
        }
        let paths = set.iter().find(|(name, _)| *name == LIBRARY_PATH).unwrap();
        let paths: Vec<PathBuf> = env::split_paths(paths.1.unwrap()).take(2).collect();
        assert_eq!(
            paths,
            [
                Path::new("/opt/my torch/lib"),
                Path::new("/opt/swiftshader")
            ]
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn exports_can_be_evaluated_by_a_shell() {
        let script = format!(
            "{}\necho \"$LIBTORCH|$LIBTORCH_CXX11_ABI|$VK_DRIVER_FILES|$LD_LIBRARY_PATH\"",
            both().exports().join("\n")
        );
        let evaluate = |before: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &script]).env("LD_LIBRARY_PATH", before);
            String::from_utf8(shell::capture(&mut command).unwrap()).unwrap()
        };
        let libtorch = "/opt/my torch|1|/opt/swiftshader/vk_swiftshader_icd.json|";
        let libraries = "/opt/my torch/lib:/opt/swiftshader";
        assert_eq!(evaluate(""), format!("{libtorch}{libraries}\n"));
        assert_eq!(
            evaluate("/usr/x"),
            format!("{libtorch}{libraries}:/usr/x\n")
        );
    }
}

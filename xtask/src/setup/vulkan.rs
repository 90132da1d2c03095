//! `cargo xtask setup vulkan`: a loader and a driver, found, or SwiftShader in their place.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SetupError;
use super::swiftshader::{self, SwiftShader};
use crate::error::Error;
use crate::shell;

const LOADER: &str = "libvulkan.so.1";

/// Where the loader looks for drivers' manifests, besides the user's own folder.
const MANIFEST_FOLDERS: [&str; 4] = [
    "/etc/vulkan/icd.d",
    "/usr/local/nvidia/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/usr/share/vulkan/icd.d",
];

const EXAMPLES: &str = "\
Looks for a Vulkan loader and a GPU's driver. Where there is none, takes SwiftShader, which computes
on the CPU, out of Debian's package chromium-common (25 MB, no root needed); from then on every
`cargo xtask …` for vulkan or wgpu uses it, as long as no driver is found. Linux; macOS and Windows
need nothing for wgpu.

Examples:
  cargo xtask setup vulkan
  cargo xtask setup vulkan --software        SwiftShader although there is a driver, to fall back on
  cargo xtask setup vulkan --software --from /opt/google/chrome";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Get SwiftShader although there is a driver
    #[arg(long)]
    software: bool,
    /// Take SwiftShader from this folder of Chromium or Chrome instead of a Debian package
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// What this machine has for Vulkan, SwiftShader of ours aside.
#[derive(Debug, Default)]
pub(crate) struct Found {
    loader: Option<PathBuf>,
    drivers: Vec<PathBuf>,
    passed_over: Vec<(PathBuf, PassedOver)>,
}

/// Why a driver's manifest does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassedOver {
    Lavapipe,
    NoNvidia,
    NoRenderNode,
}

/// The devices that drivers drive.
#[derive(Debug, Clone, Copy)]
struct Hardware {
    nvidia: bool,
    render_node: bool,
}

/// Says what was found, and fetches SwiftShader where it is wanted and not there.
pub(super) fn setup(args: &Args, dir: &Path) -> Result<(), Error> {
    if !cfg!(target_os = "linux") {
        Err(SetupError::NotLinux)?;
    }
    let found = Found::here();
    println!("{found}");
    let usable = found.problem().is_none();
    if usable && !args.software && args.from.is_none() {
        println!("the driver is used as it is; nothing to set up");
        return Ok(());
    }
    let there = SwiftShader::in_dir(dir).filter(|_| args.from.is_none());
    let swiftshader = match there {
        Some(swiftshader) => swiftshader,
        None => swiftshader::fetch(dir, args.from.as_deref())?,
    };
    println!("SwiftShader: {}", swiftshader.folder.display());
    if usable {
        println!(
            "the driver comes first; for SwiftShader all the same set\n  VK_DRIVER_FILES={}",
            shell::quoted(swiftshader.manifest().as_os_str())
        );
    } else {
        println!("every `cargo xtask …` uses it from now on for vulkan and wgpu");
    }
    Ok(())
}

impl Found {
    /// Looks around on this machine.
    pub(crate) fn here() -> Found {
        let mut found = Found {
            loader: loader(env::var_os("LD_LIBRARY_PATH"), &ldconfig()),
            ..Found::default()
        };
        // The user's choice replaces the search, as it does in the loader itself.
        let chosen = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
            .into_iter()
            .find_map(|name| env::var_os(name).filter(|value| !value.is_empty()));
        match chosen {
            Some(paths) => found.look_at(manifests(env::split_paths(&paths)), None),
            None => {
                let home = env::var_os("HOME").map(PathBuf::from);
                let own = home.map(|home| home.join(".local/share/vulkan/icd.d"));
                let folders = MANIFEST_FOLDERS.map(PathBuf::from).into_iter().chain(own);
                found.look_at(manifests(folders), Some(Hardware::here()));
            }
        }
        found
    }

    /// Sorts manifests into drivers and others; without `hardware` nothing is asked of it.
    fn look_at(&mut self, manifests: Vec<PathBuf>, hardware: Option<Hardware>) {
        for manifest in manifests {
            match passed_over(&manifest, hardware) {
                Some(why) => self.passed_over.push((manifest, why)),
                None => self.drivers.push(manifest),
            }
        }
    }

    /// Whether Vulkan works as it is, on a GPU: not on a SwiftShader that the user named.
    pub(crate) fn is_gpu(&self) -> bool {
        let software = |driver: &PathBuf| driver.ends_with(swiftshader::MANIFEST);
        self.problem().is_none() && !self.drivers.iter().any(software)
    }

    /// What is lacking; none where Vulkan works as it is.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.drivers.is_empty() {
            let others = self.passed_over.iter();
            let others: String = others
                .map(|(path, why)| format!("; {} does not count: {why}", path.display()))
                .collect();
            return Some(format!("no driver for a GPU was found{others}"));
        }
        self.loader.is_none().then(|| {
            format!(
                "there is a driver but no loader, {LOADER} (Debian: apt-get install libvulkan1)"
            )
        })
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.loader {
            Some(loader) => write!(f, "loader: {}", loader.display())?,
            None => write!(
                f,
                "loader: none ({LOADER}; Debian: apt-get install libvulkan1)"
            )?,
        }
        for driver in &self.drivers {
            write!(f, "\ndriver: {}", driver.display())?;
        }
        if self.drivers.is_empty() {
            f.write_str("\ndriver: none")?;
        }
        for (path, why) in &self.passed_over {
            write!(f, "\npassed over: {}, {why}", path.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PassedOver::Lavapipe => {
                "Mesa's driver for the CPU, which crashes on Burn's matrix kernels"
            }
            PassedOver::NoNvidia => "because there is no NVIDIA device (/dev/nvidiactl)",
            PassedOver::NoRenderNode => "because there is no GPU (/dev/dri/renderD*)",
        })
    }
}

impl Hardware {
    fn here() -> Hardware {
        let nvidia = ["/dev/nvidiactl", "/proc/driver/nvidia/version"];
        let nodes = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
        Hardware {
            nvidia: nvidia.iter().any(|path| Path::new(path).exists()),
            // Windows Subsystem for Linux has its own.
            render_node: Path::new("/dev/dxg").exists()
                || nodes
                    .into_iter()
                    .any(|node| node.file_name().to_string_lossy().starts_with("renderD")),
        }
    }
}

/// Distributions install every manifest they have, so one of them alone means no GPU.
fn passed_over(manifest: &Path, hardware: Option<Hardware>) -> Option<PassedOver> {
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("lvp_icd") {
        return Some(PassedOver::Lavapipe);
    }
    let hardware = hardware?;
    if name.contains("nvidia") {
        (!hardware.nvidia).then_some(PassedOver::NoNvidia)
    } else {
        (!hardware.render_node).then_some(PassedOver::NoRenderNode)
    }
}

/// The manifests among files and folders, sorted within a folder.
fn manifests(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_file() {
            found.push(path);
            continue;
        }
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|file| {
                file.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .collect();
        files.sort();
        found.extend(files);
    }
    found
}

/// The loader that a program started from here would load.
fn loader(library_path: Option<OsString>, ldconfig: &str) -> Option<PathBuf> {
    let named = library_path
        .iter()
        .flat_map(env::split_paths)
        .map(|folder| folder.join(LOADER))
        .find(|file| file.is_file());
    let cached = || {
        let line = ldconfig
            .lines()
            .find(|line| line.trim_start().starts_with(LOADER))?;
        let (_, path) = line.split_once("=> ")?;
        Some(PathBuf::from(path.trim()))
    };
    named.or_else(cached)
}

/// The linker's list of libraries; empty where it has none.
fn ldconfig() -> String {
    // Outside of root's search path on Debian.
    ["ldconfig", "/sbin/ldconfig"]
        .into_iter()
        .find_map(|program| {
            let mut command = Command::new(program);
            let output = command.arg("-p").stderr(Stdio::null()).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: Hardware = Hardware {
        nvidia: true,
        render_node: true,
    };
    const NONE: Hardware = Hardware {
        nvidia: false,
        render_node: false,
    };

    fn found(names: &[&str], hardware: Option<Hardware>) -> Found {
        let mut found = Found {
            loader: Some(LOADER.into()),
            ..Found::default()
        };
        found.look_at(names.iter().map(PathBuf::from).collect(), hardware);
        found
    }

    #[test]
    fn a_manifest_counts_with_its_hardware_and_lavapipe_never() {
        let names = [
            "lvp_icd.x86_64.json",
            "nvidia_icd.json",
            "radeon_icd.x86_64.json",
        ];
        let with = found(&names, Some(GPU));
        assert_eq!(with.drivers.len(), 2);
        assert_eq!(with.problem(), None);
        assert!(with.is_gpu());

        let without = found(&names, Some(NONE));
        assert_eq!(
            without
                .passed_over
                .iter()
                .map(|(_, why)| *why)
                .collect::<Vec<_>>(),
            [
                PassedOver::Lavapipe,
                PassedOver::NoNvidia,
                PassedOver::NoRenderNode
            ]
        );
        let problem = without.problem().unwrap();
        assert!(
            problem.contains("lvp_icd.x86_64.json does not count"),
            "{problem}"
        );
        assert!(without.to_string().contains("crashes"), "{without}");
    }

    #[test]
    fn what_the_user_names_counts_whatever_hardware_there_is() {
        let software = found(&["/opt/vk_swiftshader_icd.json"], None);
        assert_eq!(software.problem(), None);
        assert!(!software.is_gpu());
        assert!(found(&["lvp_icd.x86_64.json"], None).problem().is_some());
    }

    #[test]
    fn a_driver_without_a_loader_is_no_vulkan() {
        let mut found = found(&["nvidia_icd.json"], Some(GPU));
        found.loader = None;
        let problem = found.problem().unwrap();
        assert!(problem.contains("libvulkan1"), "{problem}");
    }

    #[test]
    fn manifests_are_files_or_lie_in_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "readme.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let paths = [
            folder.path().join("b.json"),
            folder.path().to_owned(),
            "/no/such/folder".into(),
        ];
        let names: Vec<String> = manifests(paths.into_iter())
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["b.json", "a.json", "b.json"]);
    }

    #[test]
    fn the_library_path_comes_before_the_linkers_list() {
        let listed = "2 libs found\n\tlibvulkan.so.1 (libc6,x86-64) => /lib/libvulkan.so.1\n";
        assert_eq!(loader(None, listed), Some("/lib/libvulkan.so.1".into()));
        assert_eq!(loader(None, "\tlibfoo.so => /lib/libfoo.so\n"), None);

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(LOADER);
        fs::write(&file, "").unwrap();
        let paths = env::join_paths(["/no/such/folder".as_ref(), folder.path()]).unwrap();
        assert_eq!(loader(Some(paths), listed), Some(file));
    }
}

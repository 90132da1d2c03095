//! `cargo xtask setup libtorch`: the C++ library under PyTorch, found or installed.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::{SetupError, venv};
use crate::error::Error;
use crate::product;

/// The only version that Burn's bindings compile against.
pub(crate) const VERSION: &str = "2.9.0";

const CPU_LIBRARY: &str = if cfg!(target_os = "macos") {
    "libtorch_cpu.dylib"
} else {
    "libtorch_cpu.so"
};

const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Where Python's torch lies and its version, without importing it, which takes seconds.
const FIND_TORCH: &str = "\
import importlib.metadata as m, importlib.util as u
print(u.find_spec('torch').submodule_search_locations[0])
print(m.version('torch'))";

const LOAD: &str = "import ctypes, sys; [ctypes.CDLL(path) for path in sys.argv[1:]]";

const EXAMPLES: &str = "\
Looks at LIBTORCH, at what this command made before, at python3's torch, and at what torch-sys
downloaded while compiling; where none is there, installs torch from PyPI into a virtual environment
of its own. From then on every `cargo xtask …` finds it. Linux and macOS.

Examples:
  cargo xtask setup libtorch                 with CUDA where there is an NVIDIA driver
  cargo xtask setup libtorch --cpu           without
  LIBTORCH=/opt/libtorch cargo xtask setup libtorch";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Install what the CPU needs, although there is an NVIDIA driver
    #[arg(long)]
    cpu: bool,
}

/// A libtorch to build against; also the content of the file that remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Libtorch {
    /// The folder that holds `include/` and `lib/`: the value of `LIBTORCH`.
    pub(crate) path: PathBuf,
    /// None where the folder does not tell.
    pub(crate) version: Option<String>,
    /// Whether it computes on NVIDIA GPUs too.
    cuda: bool,
}

impl Libtorch {
    /// The libtorch in a folder; none where it lacks the library.
    pub(super) fn at(path: &Path) -> Option<Libtorch> {
        let lib = path.join("lib");
        lib.join(CPU_LIBRARY).is_file().then(|| Libtorch {
            path: path.to_owned(),
            version: version_in(path),
            cuda: lib.join(CUDA_LIBRARY).is_file(),
        })
    }

    /// Whether Burn's bindings compile against it; a folder that does not tell may be tried.
    fn fits(&self) -> bool {
        self.version.as_deref().is_none_or(|found| found == VERSION)
    }

    /// The same, unless the user answers for another version; the variable is torch-sys's own, and
    /// only whether it is set counts.
    fn may_be_used(&self) -> bool {
        self.fits() || env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some()
    }

    /// Loads the libraries as a program would, so that a missing one is noticed here.
    pub(super) fn load(&self, python: &Path) -> Result<(), String> {
        let lib = self.path.join("lib");
        let mut command = Command::new(python);
        command.args(["-c", LOAD]).arg(lib.join(CPU_LIBRARY));
        if self.cuda {
            command.arg(lib.join(CUDA_LIBRARY));
        }
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().last().unwrap_or("python3 failed").to_owned())
    }

    pub(super) fn cpu_library(&self) -> PathBuf {
        self.path.join("lib").join(CPU_LIBRARY)
    }

    fn describe(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        let with = if self.cuda { "with" } else { "without" };
        format!("libtorch {version}, {with} CUDA: {}", self.path.display())
    }
}

/// Finds or installs a libtorch, and remembers it.
pub(super) fn setup(args: &Args, dir: &Path) -> Result<(), Error> {
    let driver = !args.cpu && has_nvidia_driver();
    // PyPI has it with CUDA for these machines only.
    let cuda = driver && cfg!(all(target_os = "linux", target_arch = "x86_64"));
    let (libtorch, origin) = match find(dir, cuda)? {
        Some(found) => found,
        None => {
            forget(dir)?;
            (venv::install(dir, cuda)?, "installed from PyPI")
        }
    };
    remember(&libtorch, dir)?;
    println!("{} ({origin})", libtorch.describe());
    if driver && !libtorch.cuda {
        println!(
            "note: there is an NVIDIA driver, and this libtorch cannot use it; set LIBTORCH to one \
             that can and repeat this command"
        );
    }
    println!("every `cargo xtask …` uses it from now on");
    Ok(())
}

/// The libtorch to build against: `LIBTORCH`, or what `setup` remembers in `dir`.
pub(crate) fn installed(dir: &Path) -> Result<Option<Libtorch>, Error> {
    match variable() {
        Some(path) => named(&path).map(Some),
        None => Ok(remembered(dir).filter(Libtorch::may_be_used)),
    }
}

/// What the user says by `LIBTORCH`; an empty value says nothing.
fn variable() -> Option<PathBuf> {
    let path = env::var_os("LIBTORCH").filter(|path| !path.is_empty())?;
    // torch-sys is compiled in another folder.
    Some(path::absolute(&path).unwrap_or_else(|_| path.into()))
}

/// What is there already and where it comes from; with `cuda`, only what computes on GPUs too,
/// unless the user named it.
fn find(dir: &Path, cuda: bool) -> Result<Option<(Libtorch, &'static str)>, Error> {
    if let Some(path) = variable() {
        return Ok(Some((named(&path)?, "LIBTORCH")));
    }
    let suits = |libtorch: &Libtorch| libtorch.may_be_used() && (libtorch.cuda || !cuda);
    if let Some(libtorch) = remembered(dir).filter(suits) {
        return Ok(Some((libtorch, "set up before")));
    }
    let python = Path::new("python3");
    let importable = of_python(python).filter(suits);
    if let Some(libtorch) = importable {
        match libtorch.load(python) {
            Ok(()) => return Ok(Some((libtorch, "python3's torch"))),
            Err(reason) => println!(
                "passing over {}, which does not load: {reason}",
                libtorch.path.display()
            ),
        }
    }
    let downloaded = downloaded(&product::target_directory()?).filter(suits);
    Ok(downloaded.map(|libtorch| (libtorch, "downloaded by torch-sys")))
}

/// What the user named by `LIBTORCH`; anything wrong with it is an error, not passed over.
fn named(path: &Path) -> Result<Libtorch, Error> {
    let libtorch = Libtorch::at(path).ok_or(SetupError::NotLibtorch {
        path: path.to_owned(),
        library: CPU_LIBRARY,
    })?;
    match &libtorch.version {
        Some(found) if !libtorch.may_be_used() => Err(SetupError::LibtorchVersion {
            path: path.to_owned(),
            found: found.clone(),
        })?,
        _ => Ok(libtorch),
    }
}

/// The torch that a Python would import, of whatever version.
pub(super) fn of_python(python: &Path) -> Option<Libtorch> {
    let mut command = Command::new(python);
    command.args(["-c", FIND_TORCH]).stderr(Stdio::null());
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let said = String::from_utf8(output.stdout).ok()?;
    let (path, version) = said.trim_end().split_once('\n')?;
    let mut libtorch = Libtorch::at(Path::new(path))?;
    libtorch.version = Some(without_build(version));
    Some(libtorch)
}

/// What torch-sys downloaded into its build folder, when it was built without `LIBTORCH`.
fn downloaded(target: &Path) -> Option<Libtorch> {
    let folders = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    folders(target.to_owned())
        .flat_map(|profile| folders(profile.path().join("build")))
        .filter(|build| {
            build
                .file_name()
                .to_string_lossy()
                .starts_with("torch-sys-")
        })
        .filter_map(|build| Libtorch::at(&build.path().join("out/libtorch/libtorch")))
        .find(Libtorch::fits)
}

/// `2.9.0` from a wheel's `torch/version.py` or an archive's `build-version`.
fn version_in(path: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(path.join("build-version")) {
        return Some(without_build(&text));
    }
    let text = fs::read_to_string(path.join("version.py")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(without_build(line.trim_matches(['\'', '"'])))
}

/// `2.9.0` from `2.9.0+cu128`.
fn without_build(version: &str) -> String {
    let number = version
        .split_once('+')
        .map_or(version, |(number, _)| number);
    number.trim().to_owned()
}

/// The file that is written last, so that what it names is complete.
fn marker(dir: &Path) -> PathBuf {
    dir.join("libtorch.json")
}

fn remember(libtorch: &Libtorch, dir: &Path) -> Result<(), Error> {
    let path = marker(dir);
    let text = format!("{:#}\n", serde_json::json!(libtorch));
    fs::write(&path, text).map_err(Error::io(&path))
}

/// Nothing may be remembered of a folder while it is filled anew.
fn forget(dir: &Path) -> Result<(), Error> {
    let path = marker(dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&path)(error)),
        _ => Ok(()),
    }
}

/// What was remembered and is still there.
fn remembered(dir: &Path) -> Option<Libtorch> {
    let text = fs::read_to_string(marker(dir)).ok()?;
    let libtorch: Libtorch = serde_json::from_str(&text).ok()?;
    Libtorch::at(&libtorch.path)
}

fn has_nvidia_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
        || Command::new("nvidia-smi")
            .arg("-L")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with an empty library, as far as this file looks.
    fn fake(folder: &Path, cuda: bool) -> PathBuf {
        let lib = folder.join("lib");
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join(CPU_LIBRARY), "").unwrap();
        if cuda {
            fs::write(lib.join(CUDA_LIBRARY), "").unwrap();
        }
        folder.to_owned()
    }

    #[test]
    fn a_folder_tells_its_version_and_cuda() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Libtorch::at(folder.path()), None);

        let wheel = fake(&folder.path().join("wheel"), true);
        let line = "from typing import Optional\n__version__ = '2.9.0+cu128'\ndebug = False\n";
        fs::write(wheel.join("version.py"), line).unwrap();
        let found = Libtorch::at(&wheel).unwrap();
        assert_eq!(
            (found.version.as_deref(), found.cuda),
            (Some("2.9.0"), true)
        );
        assert!(found.fits());

        let archive = fake(&folder.path().join("archive"), false);
        fs::write(archive.join("build-version"), "2.8.0+cpu\n").unwrap();
        let found = Libtorch::at(&archive).unwrap();
        assert_eq!(
            (found.version.as_deref(), found.cuda),
            (Some("2.8.0"), false)
        );
        assert!(!found.fits());

        let silent = Libtorch::at(&fake(&folder.path().join("silent"), false)).unwrap();
        assert_eq!(silent.version, None);
        assert!(silent.fits());
    }

    #[test]
    fn what_was_set_up_is_remembered_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remembered(dir.path()), None);
        let libtorch = Libtorch::at(&fake(&dir.path().join("libtorch"), false)).unwrap();
        remember(&libtorch, dir.path()).unwrap();
        assert_eq!(remembered(dir.path()), Some(libtorch.clone()));
        fs::remove_dir_all(&libtorch.path).unwrap();
        assert_eq!(remembered(dir.path()), None);

        fake(&libtorch.path, false);
        assert!(remembered(dir.path()).is_some());
        forget(dir.path()).unwrap();
        forget(dir.path()).unwrap();
        assert_eq!(remembered(dir.path()), None);
    }

    #[test]
    fn libtorch_must_name_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = named(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("LIBTORCH names"), "{error}");
        assert!(error.contains(CPU_LIBRARY), "{error}");
    }

    #[test]
    fn a_download_of_torch_sys_is_found_in_any_profile() {
        let target = tempfile::tempdir().unwrap();
        assert_eq!(downloaded(target.path()), None);
        let out = target
            .path()
            .join("release/build/torch-sys-0a1b/out/libtorch/libtorch");
        fake(&out, false);
        assert_eq!(downloaded(target.path()).unwrap().path, out);
        fs::write(out.join("build-version"), "2.8.0").unwrap();
        assert_eq!(downloaded(target.path()), None);
    }

    #[test]
    #[cfg(unix)]
    fn python_is_asked_where_its_torch_lies() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let torch = fake(&folder.path().join("torch"), false);
        let python = folder.path().join("python3");
        let script = format!("#!/bin/sh\necho '{}'\necho 2.9.0+cpu\n", torch.display());
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let found = of_python(&python).unwrap();
        assert_eq!(found.path, torch);
        assert!(found.fits());
        assert_eq!(of_python(Path::new("/no/such/python3")), None);
    }
}

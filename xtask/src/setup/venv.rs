//! A virtual environment that holds nothing but torch, for the libraries inside it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::libtorch::{Libtorch, VERSION, of_python};
use super::{SetupError, remove};
use crate::error::Error;
use crate::shell;

/// The CUDA wheel's CPU library links these two, without needing a driver for them.
const LINKED_BY_CPU: [&str; 2] = [
    "nvidia-cuda-runtime-cu12==12.8.90",
    "nvidia-cuda-cupti-cu12==12.8.90",
];

/// How the wheel's CUDA libraries begin. They take 1.1 GB and need further packages, and torch-sys
/// links them as soon as it sees them.
const CUDA_PREFIXES: [&str; 4] = [
    "libtorch_cuda",
    "libc10_cuda",
    "libtorch_nvshmem",
    "libcaffe2_nvrtc",
];

/// Installs torch into `dir/libtorch` and returns the library in it.
///
/// A virtual environment cannot be moved, so it is made in place: a folder that is there without
/// being remembered was interrupted, and is removed.
pub(super) fn install(dir: &Path, cuda: bool) -> Result<Libtorch, Error> {
    let folder = dir.join("libtorch");
    if !has_python() {
        Err(SetupError::NoPython)?;
    }
    remove(&folder)?;
    println!(
        "installing torch {VERSION} into {} (about {} to download)",
        folder.display(),
        if cuda { "3 GB" } else { "900 MB" }
    );
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&folder);
    shell::run(&mut venv).map_err(|_| SetupError::NoVenv {
        path: folder.clone(),
    })?;
    let python = folder.join("bin").join("python3");
    shell::run(&mut pip(&python, cuda)).map_err(|_| SetupError::Pip)?;

    let libtorch = of_python(&python).ok_or(SetupError::Pip)?;
    if !cuda {
        remove_cuda(&libtorch.path.join("lib"))?;
    }
    let libtorch = Libtorch::at(&libtorch.path).ok_or(SetupError::Pip)?;
    libtorch
        .load(&python)
        .map_err(|reason| SetupError::DoesNotLoad {
            library: libtorch.cpu_library(),
            reason,
            folder,
        })?;
    Ok(libtorch)
}

fn has_python() -> bool {
    Command::new("python3")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn pip(python: &Path, cuda: bool) -> Command {
    let mut command = Command::new(python);
    // Kept once, in the environment, and not in pip's cache too.
    command.args(["-m", "pip", "install", "--no-cache-dir"]);
    command.arg("--disable-pip-version-check");
    if !cuda {
        command.arg("--no-deps");
    }
    command.arg(format!("torch=={VERSION}"));
    // Elsewhere the wheel on PyPI has no CUDA in it.
    if !cuda && cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        command.args(LINKED_BY_CPU);
    }
    command
}

fn remove_cuda(lib: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(lib).map_err(Error::io(lib))? {
        let path = entry.map_err(Error::io(lib))?.path();
        if is_cuda(path.file_name().unwrap_or_default()) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

fn is_cuda(file: &OsStr) -> bool {
    let file = file.to_string_lossy();
    CUDA_PREFIXES.iter().any(|prefix| file.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_cuda_only_what_the_cpu_loads_is_kept() {
        let lib = tempfile::tempdir().unwrap();
        let kept = [
            "libc10.so",
            "libtorch.so",
            "libtorch_cpu.so",
            "libgomp.so.1",
        ];
        let gone = [
            "libc10_cuda.so",
            "libcaffe2_nvrtc.so",
            "libtorch_cuda.so",
            "libtorch_cuda_linalg.so",
            "libtorch_nvshmem.so",
        ];
        for name in kept.iter().chain(&gone) {
            fs::write(lib.path().join(name), "").unwrap();
        }
        remove_cuda(lib.path()).unwrap();
        for name in kept {
            assert!(lib.path().join(name).exists(), "{name}");
        }
        for name in gone {
            assert!(!lib.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn with_cuda_pip_may_install_every_dependency() {
        let with = shell::line(&pip(Path::new("python3"), true));
        let without = shell::line(&pip(Path::new("python3"), false));
        assert!(with.ends_with("torch==2.9.0"), "{with}");
        assert!(!with.contains("--no-deps"), "{with}");
        assert!(without.contains("--no-deps torch==2.9.0"), "{without}");
    }
}

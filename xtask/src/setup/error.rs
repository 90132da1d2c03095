//! What `setup` could not find or fetch, and what to do about it.

use std::path::PathBuf;

use super::libtorch::VERSION;

/// Why a backend is not set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("libtorch is not set up; run\n  cargo xtask setup libtorch")]
    NoLibtorch,
    #[error(
        "LIBTORCH names {}, which has no lib/{library}; give the folder of a libtorch {VERSION} \
         (the one that holds include/ and lib/), or unset it and run `cargo xtask setup libtorch`",
        path.display()
    )]
    NotLibtorch {
        path: PathBuf,
        library: &'static str,
    },
    #[error(
        "{} is libtorch {found}, and Burn wants {VERSION}; use that, or set \
         LIBTORCH_BYPASS_VERSION_CHECK=1 to try this one",
        path.display()
    )]
    LibtorchVersion { path: PathBuf, found: String },
    #[error(
        "there is no python3 to install libtorch with. Any one of these helps; then repeat this command:\n  \
         install Python 3.10 to 3.14 (Debian: apt-get install python3 python3-venv);\n  \
         unpack https://download.pytorch.org/libtorch/cpu/libtorch-shared-with-deps-{VERSION}%2Bcpu.zip \
         and set LIBTORCH to its folder;\n  \
         run `cargo build --features libtorch -p afd` with LIBTORCH unset, which downloads that file \
         while compiling and leaves it where this command looks"
    )]
    NoPython,
    #[error(
        "python3 cannot make a virtual environment in {}; on Debian and Ubuntu: \
         apt-get install python3-venv",
        path.display()
    )]
    NoVenv { path: PathBuf },
    #[error(
        "pip could not install torch {VERSION}; its own words stand above. It needs the network \
         (PyPI, or a mirror named by PIP_INDEX_URL) and Python 3.10 to 3.14. Without them set \
         LIBTORCH to a libtorch {VERSION} and repeat this command"
    )]
    Pip,
    #[error(
        "pip could not install {packages}; its own words stand above. It needs the network (PyPI, or \
         a mirror named by PIP_INDEX_URL)"
    )]
    Packages { packages: String },
    #[error(
        "{} is installed but does not load: {reason}\ndelete {} and repeat this command",
        library.display(), folder.display()
    )]
    DoesNotLoad {
        library: PathBuf,
        reason: String,
        folder: PathBuf,
    },
    #[error(
        "no Vulkan: {reason}. Install your GPU's driver, or run this to compute on the CPU\n  \
         cargo xtask setup vulkan"
    )]
    NoVulkan { reason: String },
    #[error(
        "SwiftShader comes from Debian's package chromium-common or chromium, and neither could be \
         fetched; the reason stands above. On Debian, as root run `apt-get update` and repeat this \
         command, or give the folder of any Chromium or Chrome, as in\n  \
         cargo xtask setup vulkan --software --from /opt/google/chrome"
    )]
    NoSwiftShader,
    #[error("{} has no {file}; give a folder of Chromium or Chrome that has {}", folder.display(), super::swiftshader::FILES.join(", "))]
    NotSwiftShader { folder: PathBuf, file: &'static str },
    #[error("SwiftShader is fetched on Linux only; on this system wgpu needs nothing set up")]
    NotLinux,
}

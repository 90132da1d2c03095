//! What the integration tests of this package share.

use std::path::{Path, PathBuf};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where the numbers of Hugging Face's libraries are: those kept with the sources, or those that
/// `cargo xtask parity` has just made.
#[must_use]
pub fn testdata() -> PathBuf {
    match std::env::var_os("AFD_PARITY") {
        Some(made) => made.into(),
        None => root().join("crates/afd-model/testdata"),
    }
}

/// Asserts that a difference is within its bound, and tells `cargo xtask parity` of it.
///
/// # Panics
/// When it is not, or is no number.
pub fn record(what: &str, difference: f64, bound: f64) {
    if std::env::var_os("AFD_PARITY").is_some() {
        let path = testdata().join("results.tsv");
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        let line = format!("{what}\t{difference:e}\t{bound:e}\n");
        let written =
            file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
        assert!(written.is_ok(), "{written:?}");
    }
    assert!(
        difference <= bound,
        "{what}: differs by {difference:e}, allowed {bound:e}"
    );
}

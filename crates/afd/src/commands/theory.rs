//! `afd theory`: what the method rests on, computed exactly.

use std::path::Path;

use afd_exact::theory;
use afd_stage::fs::write_atomic;

use super::print;
use crate::error::Error;

pub(crate) fn run(picture: Option<&Path>) -> Result<(), Error> {
    if let Some(path) = picture {
        write_atomic(path, theory::picture().as_bytes())?;
    }
    let sections = theory::sections();
    let sections: Vec<String> = sections.iter().map(ToString::to_string).collect();
    print(&format!("{}\n", sections.join("\n")))
}

//! What a language model said of policies, as its stage left it.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::{Error, summary::Judged};

/// Reads the summaries of judged policies.
pub(super) fn read(files: &[(String, PathBuf)]) -> Result<Vec<Judged>, Error> {
    let read = |(name, path): &(String, PathBuf)| {
        let json = |source| Error::Json {
            path: path.clone(),
            source,
        };
        let text = afd_stage::fs::read_to_string(path)?;
        let mut figures: Map<String, Value> = serde_json::from_str(&text).map_err(json)?;
        figures.insert("policy".to_owned(), name.clone().into());
        serde_json::from_value(Value::Object(figures)).map_err(json)
    };
    files.iter().map(read).collect()
}

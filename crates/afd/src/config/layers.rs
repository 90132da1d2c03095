//! Files, environment and flags laid over each other, remembering who said what.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf, absolute},
};

use toml::{Table, Value};

use super::{ConfigError, problem::Problem};

/// What stands above the file: environment variables, then flags.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    /// `(origin, dotted key, value as text)`, weakest first.
    entries: Vec<(String, String, String)>,
}

/// Environment variables with this prefix set keys: `AFD__SFT__LEARNING_RATE`.
const PREFIX: &str = "AFD__";

/// The one key with a short variable of its own.
const DEVICE: &str = "AFD_DEVICE";

impl Overrides {
    /// Takes `AFD__SECTION__KEY` and `AFD_DEVICE` variables and then `key=value` flags.
    ///
    /// # Errors
    /// A flag without `=`.
    pub(crate) fn new(
        env: impl Iterator<Item = (String, String)>,
        set: &[String],
    ) -> Result<Self, ConfigError> {
        let mut entries: Vec<_> = env
            .filter_map(|(name, value)| {
                let key = match name.strip_prefix(PREFIX) {
                    Some(key) => key.to_lowercase().replace("__", "."),
                    None if name == DEVICE => "device".to_owned(),
                    None => return None,
                };
                Some((name, key, value))
            })
            .collect();
        entries.sort();
        for flag in set {
            let Some((key, value)) = flag.split_once('=') else {
                let message = "is not of the form key=value".to_owned();
                return Err(ConfigError::file(
                    Path::new(&format!("--set {flag}")),
                    message,
                ));
            };
            entries.push((
                format!("--set {flag}"),
                key.trim().to_owned(),
                value.trim().to_owned(),
            ));
        }
        Ok(Self { entries })
    }
}

/// The merged configuration.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) table: Table,
    path: PathBuf,
    /// Dotted key to the place its value comes from.
    origins: BTreeMap<String, Origin>,
    /// Tables of files below in whose place `false` was put.
    taken_away: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Origin {
    place: String,
    /// Where a relative path starts.
    base: PathBuf,
}

impl Layers {
    /// Reads `path`, what it extends, and lays `overrides` over both.
    ///
    /// # Errors
    /// When a file cannot be read or is not TOML, or files extend each other in a circle.
    pub(crate) fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut layers = Self {
            table: Table::new(),
            path: path.into(),
            origins: BTreeMap::new(),
            taken_away: BTreeSet::new(),
        };
        layers.add_file(path, &mut Vec::new())?;
        for (origin, key, text) in &overrides.entries {
            layers.set(origin, key, parse(text));
        }
        for key in &layers.taken_away {
            remove(&mut layers.table, key);
        }
        Ok(layers)
    }

    fn add_file(&mut self, path: &Path, seen: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        if seen.contains(&canonical) {
            let chain: Vec<_> = seen.iter().map(|p| p.display().to_string()).collect();
            let message = format!(
                "extends itself, by way of {}; remove one `extends`",
                chain.join(", ")
            );
            return Err(ConfigError::file(path, message));
        }
        seen.push(canonical);
        let text = fs::read_to_string(path)
            .map_err(|error| ConfigError::file(path, format!("cannot be read: {error}")))?;
        let mut table: Table = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            let place = PathBuf::from(format!("{}:{line}", path.display()));
            ConfigError::file(&place, format!("not TOML: {}", error.message()))
        })?;
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        match table.remove("extends") {
            None => {}
            Some(Value::String(parent)) => self.add_file(&base.join(parent), seen)?,
            Some(_) => {
                return Err(ConfigError::file(
                    path,
                    "`extends` must be a file name".into(),
                ));
            }
        }
        let mut leaves = Vec::new();
        flatten("", Value::Table(table), &mut leaves);
        for (key, value) in leaves {
            let place = match line_of(&text, &key) {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            };
            let base = base.clone();
            self.put(&key, value, Origin { place, base });
        }
        Ok(())
    }

    fn set(&mut self, origin: &str, key: &str, value: Value) {
        let mut leaves = Vec::new();
        flatten(key, value, &mut leaves);
        for (key, value) in leaves {
            let place = origin.to_owned();
            let base = PathBuf::new();
            self.put(&key, value, Origin { place, base });
        }
    }

    fn put(&mut self, key: &str, value: Value, origin: Origin) {
        if !value.is_table() {
            // What stood below the key is gone with the table it was in.
            let below = format!("{key}.");
            self.origins.retain(|known, _| !known.starts_with(&below));
        }
        self.origins.insert(key.to_owned(), origin);
        if value == Value::Boolean(false) && at(&self.table, key).is_some_and(Value::is_table) {
            self.taken_away.insert(key.to_owned());
        }
        insert(&mut self.table, key, value);
    }

    /// Makes the paths under `keys` absolute, so that the resolved file means the same
    /// wherever it is put: those of a file start there, others at the working directory. What
    /// `keep` knows to be no path, given the text and where a path would start, stays as it is.
    pub(crate) fn resolve_paths(&mut self, keys: &[&str], keep: impl Fn(&str, &Path) -> bool) {
        for key in keys {
            let base = self.origins.get(*key).map(|origin| origin.base.clone());
            let value =
                key.split('.')
                    .try_fold(&mut self.table, |table, part| match table.get_mut(part) {
                        Some(Value::Table(inner)) => Ok(inner),
                        Some(Value::String(path)) => Err(Some(path)),
                        _ => Err(None),
                    });
            if let (Some(base), Err(Some(path))) = (base, value)
                && !path.is_empty()
                && !keep(path, &base)
            {
                let joined = base.join(&*path);
                *path = absolute(&joined).unwrap_or(joined).display().to_string();
            }
        }
    }

    /// The file that was asked for.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration as one TOML file.
    pub(crate) fn to_toml(&self) -> String {
        self.table.to_string()
    }

    /// A problem with `key`, placed where the key's value comes from.
    pub(crate) fn locate(&self, key: &str, message: String) -> Problem {
        let origin = self
            .origins
            .iter()
            .find(|(known, _)| *known == key || known.starts_with(&format!("{key}.")));
        Problem {
            place: origin.map_or_else(
                || self.path.display().to_string(),
                |(_, origin)| origin.place.clone(),
            ),
            key: key.into(),
            message,
        }
    }
}

/// A flag's value: TOML if it is any, otherwise a bare string.
fn parse(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Every value that is not a table or is an empty one, with its dotted key.
fn flatten(prefix: &str, value: Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Table(table) if !table.is_empty() || prefix.is_empty() => {
            for (key, value) in table {
                let key = match prefix {
                    "" => key,
                    _ => format!("{prefix}.{key}"),
                };
                flatten(&key, value, leaves);
            }
        }
        value => leaves.push((prefix.to_owned(), value)),
    }
}

/// Removes a dotted key whose value is `false`.
fn remove(table: &mut Table, key: &str) {
    match key.split_once('.') {
        None if table.get(key) == Some(&Value::Boolean(false)) => {
            table.remove(key);
        }
        None => {}
        Some((head, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(head) {
                remove(inner, rest);
            }
        }
    }
}

/// The value of a dotted key.
fn at<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((head, rest)) => at(table.get(head)?.as_table()?, rest),
    }
}

/// Puts `value` under a dotted key; a plain value in the way gives place to a table. An empty
/// table, such as a section without keys, takes nothing away.
fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None if value.is_table() && table.get(key).is_some_and(Value::is_table) => {}
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            let entry = table
                .entry(head.to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            if let Value::Table(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

/// The line in which a dotted key is given its value.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let mut section = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            section = name.trim().to_owned();
            if section == key {
                return Some(index + 1);
            }
            continue;
        }
        let Some((name, _)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim();
        let full = match section.as_str() {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        };
        if key == full || key.starts_with(&format!("{full}.")) {
            return Some(index + 1);
        }
    }
    None
}

//! Tables of the merged configuration read into structs, gathering what is wrong.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Value;

use super::{ConfigError, fields, layers::Layers, problem::Problem};

/// Reads sections and remembers which keys somebody knew.
pub(crate) struct Sections<'a> {
    layers: &'a Layers,
    known: BTreeMap<&'static str, Vec<&'static str>>,
    problems: Vec<Problem>,
}

impl<'a> Sections<'a> {
    pub(crate) fn new(layers: &'a Layers) -> Self {
        Self {
            layers,
            known: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Reads the table `section` (`""`: the keys outside all tables) into `T`. Keys that `T`
    /// does not know may belong to another struct of the same table.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, section: &'static str) -> Option<T> {
        let names = fields::names::<T>();
        self.known.entry(section).or_default().extend(names);
        let table = match (section, self.layers.table.get(section)) {
            ("", _) => Some(&self.layers.table),
            (_, None) => None,
            (_, Some(Value::Table(table))) => Some(table),
            (_, Some(other)) => {
                let message = format!("must be a table, but is {other}");
                let problem = self.layers.locate(section, message);
                // Several structs may share the table.
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                return None;
            }
        };
        let own: toml::Table = table
            .into_iter()
            .flatten()
            .filter(|(key, _)| names.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let error = match Value::Table(own.clone()).try_into::<T>() {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        // serde stops at the first mistake; a key on its own shows whether it is one.
        let mut mistyped = false;
        for entry in own {
            let alone = Value::Table(toml::Table::from_iter([entry]));
            if let Err(error) = alone.try_into::<T>()
                && missing(names, &error).is_none()
            {
                self.explain(section, names, &error);
                mistyped = true;
            }
        }
        if !mistyped {
            self.explain(section, names, &error);
        }
        None
    }

    /// Turns serde's complaint about a missing or mistyped key into a problem.
    fn explain(&mut self, section: &str, names: &[&str], error: &toml::de::Error) {
        let message = error.message();
        let text = error.to_string();
        // toml says the key of a mistyped value in a line of its own: "in `key`".
        let key = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("in `")?.strip_suffix('`'));
        let (key, message) = match (missing(names, error), key) {
            (Some(field), None) => (
                field.to_owned(),
                "is missing; every value that affects a result stands in the file".to_owned(),
            ),
            (_, Some(key)) => (key.to_owned(), message.to_owned()),
            (_, None) => (String::new(), message.to_owned()),
        };
        let key = join(section, &key);
        self.problems.push(self.layers.locate(&key, message));
    }

    /// # Errors
    /// [`ConfigError`] with everything found, keys nobody knew included.
    pub(crate) fn finish(mut self) -> Result<(), ConfigError> {
        let mut unknown = Vec::new();
        for (name, value) in &self.layers.table {
            match value {
                Value::Table(table) if self.known.contains_key(name.as_str()) => {
                    let known = &self.known[name.as_str()];
                    unknown.extend(
                        table
                            .keys()
                            .filter(|key| !known.contains(&key.as_str()))
                            .map(|key| (join(name, key), nearest(key, known.iter().copied()))),
                    );
                }
                _ => {
                    let known = self.known.get("").into_iter().flatten();
                    let names = known.chain(self.known.keys()).copied();
                    if !names.clone().any(|known| known == name) {
                        unknown.push((name.clone(), nearest(name, names)));
                    }
                }
            }
        }
        for (key, suggestion) in unknown {
            let message = match suggestion {
                Some(name) => format!("is not known; did you mean `{name}`?"),
                None => "is not known".to_owned(),
            };
            self.problems.push(self.layers.locate(&key, message));
        }
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(ConfigError::new(self.layers.path(), self.problems)),
        }
    }
}

/// The field of the struct itself that an error says is missing.
fn missing<'e>(names: &[&str], error: &'e toml::de::Error) -> Option<&'e str> {
    let rest = error.message().strip_prefix("missing field `")?;
    rest.split('`').next().filter(|name| names.contains(name))
}

fn join(section: &str, key: &str) -> String {
    match (section, key) {
        ("", key) => key.to_owned(),
        (section, "") => section.to_owned(),
        (section, key) => format!("{section}.{key}"),
    }
}

/// The known name most like `name`, if any is like it at all.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

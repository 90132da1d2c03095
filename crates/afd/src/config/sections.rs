//! Tables of the merged configuration read into structs, gathering what is wrong.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Value;

use super::{ConfigError, fields, layers::Layers, problem::Problem};

/// Reads sections and remembers which keys somebody knew.
pub(crate) struct Sections<'a> {
    layers: &'a Layers,
    /// Known keys by table, which may stand in another: `policies.NAME`.
    known: BTreeMap<String, Vec<&'static str>>,
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
        let table = match (section, self.layers.table.get(section)) {
            ("", _) => self.layers.table.clone(),
            (_, None) => toml::Table::new(),
            (_, Some(Value::Table(table))) => table.clone(),
            (_, Some(other)) => {
                let message = format!("must be a table, but is {other}");
                let problem = self.layers.locate(section, message);
                // Several structs may share the table.
                self.known.entry(section.to_owned()).or_default();
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                return None;
            }
        };
        self.read_from(section, &table)
    }

    /// The tables that stand in the table `group`, by name, each laid over the table `base`, if one holds
    /// what they have in common.
    pub(crate) fn named(
        &mut self,
        group: &'static str,
        base: Option<&str>,
    ) -> Vec<(String, toml::Table)> {
        for table in [Some(group), base].into_iter().flatten() {
            self.known.entry(table.to_owned()).or_default();
        }
        let mut table = |name: &str| match self.layers.table.get(name) {
            Some(Value::Table(table)) => table.clone(),
            None => toml::Table::new(),
            Some(other) => {
                let message = format!("must be a table, but is {other}");
                self.problems.push(self.layers.locate(name, message));
                toml::Table::new()
            }
        };
        let common = base.map(&mut table).unwrap_or_default();
        let each = table(group)
            .into_iter()
            .filter_map(|(name, own)| match own {
                Value::Table(own) => {
                    let mut whole = common.clone();
                    whole.extend(own);
                    Some((name, whole))
                }
                // Told as unknown.
                _ => None,
            });
        each.collect()
    }

    /// Lets `T`'s keys stand in the table `section`, which is read elsewhere.
    pub(crate) fn know<T: DeserializeOwned>(&mut self, section: &str) {
        let known = self.known.entry(section.to_owned()).or_default();
        known.extend(fields::names::<T>());
    }

    /// Reads `table` into `T`; `section` is what it is called.
    pub(crate) fn read_from<T: DeserializeOwned>(
        &mut self,
        section: &str,
        table: &toml::Table,
    ) -> Option<T> {
        self.know::<T>(section);
        let names = fields::names::<T>();
        let own: toml::Table = table
            .iter()
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

    /// Keys of a table, and of the tables in it that were read, that nobody knows.
    fn unknown_in(&self, name: &str, table: &toml::Table) -> Vec<Unknown> {
        let known = &self.known[name];
        let unknown = table.iter().flat_map(|(key, value)| {
            let whole = join(name, key);
            match value {
                Value::Table(inner) if self.known.contains_key(&whole) => {
                    self.unknown_in(&whole, inner)
                }
                _ if known.contains(&key.as_str()) => Vec::new(),
                _ => vec![(whole, nearest(key, known.iter().copied()))],
            }
        });
        unknown.collect()
    }

    /// # Errors
    /// [`ConfigError`] with everything found, keys nobody knew included.
    pub(crate) fn finish(mut self) -> Result<(), ConfigError> {
        let mut unknown = Vec::new();
        for (name, value) in &self.layers.table {
            match value {
                Value::Table(table) if self.known.contains_key(name) => {
                    unknown.extend(self.unknown_in(name, table));
                }
                _ => {
                    let known = self.known.get("").into_iter().flatten().copied();
                    let names = known.chain(self.known.keys().map(String::as_str));
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

/// A key nobody knows, and the known one most like it.
type Unknown = (String, Option<String>);

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
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned())
}

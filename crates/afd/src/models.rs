//! The models of a configuration: which there are, where they are, and at which commit a run has
//! them.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use afd_hub::{Model, Options, Repository, Snapshot};
use afd_stage::{Artifact, source_artifact, source_files};
use serde::{Deserialize, Serialize};

use crate::{config::Config, error::Error, observer};

/// The key of the initial policy.
pub(crate) const INITIAL: &str = "model.path";

/// The key of the classifier that measures.
pub(crate) const GOLDEN: &str = "eval.golden_path";

/// Where the models are.
#[derive(Debug)]
pub(crate) struct Models {
    pub(crate) initial: Located,
    /// The classifiers that measure, by their keys.
    pub(crate) classifiers: BTreeMap<String, Located>,
}

/// A model that is here.
#[derive(Debug)]
pub(crate) enum Located {
    Directory(PathBuf),
    Snapshot {
        repository: Repository,
        snapshot: Snapshot,
    },
}

/// The commit of a model that was given by name, as `run.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// What the configuration said: `org/name` or `org/name@revision`.
    pub(crate) repository: String,
    /// What that was when the run began.
    pub(crate) commit: String,
}

/// Pins by their key in the configuration.
pub(crate) type Pins = BTreeMap<String, Pin>;

impl Models {
    /// Finds all models, fetching what is not here. A name that `pins` knows keeps its commit.
    ///
    /// # Errors
    /// When one cannot be had.
    pub(crate) fn locate(config: &Config, pins: &Pins) -> Result<Self, Error> {
        let initial = Located::find(INITIAL, &config.model.path, pins)?;
        let find = |(key, path): (String, &Path)| {
            let found = Located::find(&key, path, pins)?;
            Ok((key, found))
        };
        Ok(Self {
            initial,
            classifiers: config
                .classifiers()
                .map(find)
                .collect::<Result<_, Error>>()?,
        })
    }

    /// The classifier of a key, as stages take it.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub(crate) fn classifier(&self, key: &str) -> Result<Option<Artifact>, Error> {
        self.classifiers.get(key).map(Located::artifact).transpose()
    }

    /// What `run.json` is to remember.
    pub(crate) fn pins(&self) -> Pins {
        let classifiers = self.classifiers.iter();
        let all = classifiers.map(|(key, model)| (key.as_str(), model));
        let pin = |(key, model): (&str, &Located)| Some((key.to_owned(), model.pin()?));
        all.chain([(INITIAL, &self.initial)])
            .filter_map(pin)
            .collect()
    }
}

impl Located {
    fn find(key: &str, path: &Path, pins: &Pins) -> Result<Self, Error> {
        let repository = match named(path) {
            Model::Directory(dir) => return Ok(Self::Directory(dir)),
            Model::Repository(repository) => repository,
        };
        let pin = pins.get(key);
        let pin = pin.filter(|pin| pin.repository == repository.to_string());
        let wanted = match pin {
            Some(pin) => repository.at_commit(&pin.commit)?,
            None => repository.clone(),
        };
        let downloads = observer::Downloads::default();
        let snapshot = afd_hub::resolve(&wanted, &options()?, &|file, done, total| {
            downloads.tell(file, done, total);
        })?;
        Ok(Self::Snapshot {
            repository,
            snapshot,
        })
    }

    /// The directory with its files.
    pub(crate) fn dir(&self) -> &Path {
        match self {
            Self::Directory(dir) => dir,
            Self::Snapshot { snapshot, .. } => &snapshot.dir,
        }
    }

    /// The input that stages take; manifests call it by its commit if it was given by name.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub(crate) fn artifact(&self) -> Result<Artifact, Error> {
        Ok(match self {
            Self::Directory(dir) => source_artifact(dir)?,
            Self::Snapshot { snapshot, .. } => {
                let name = format!("{}@{}", snapshot.id, snapshot.commit);
                source_files(&name, &snapshot.dir, &snapshot.files)?
            }
        })
    }

    fn pin(&self) -> Option<Pin> {
        match self {
            Self::Directory(_) => None,
            Self::Snapshot {
                repository,
                snapshot,
            } => Some(Pin {
                repository: repository.to_string(),
                commit: snapshot.commit.clone(),
            }),
        }
    }
}

/// What a resolved configuration names: its directories are absolute, its repositories are not.
pub(crate) fn named(path: &Path) -> Model {
    let repository = path
        .to_str()
        .filter(|_| !path.is_absolute())
        .and_then(|text| Repository::parse(text).ok());
    repository.map_or_else(|| Model::Directory(path.to_path_buf()), Model::Repository)
}

/// Where a model is that a command was given: what is there as a directory, or what the cache has of
/// a repository of that name.
pub(crate) fn given(path: &Path) -> Option<PathBuf> {
    match path.exists() {
        true => Some(path.to_owned()),
        false => here(path).filter(|dir| dir.exists()),
    }
}

/// Where the model is if it is here: a directory, or what the cache holds of a repository.
pub(crate) fn here(path: &Path) -> Option<PathBuf> {
    match named(path) {
        Model::Directory(dir) => Some(dir),
        Model::Repository(repository) => {
            let snapshot = afd_hub::cached(&repository, &options().ok()?)?;
            Some(snapshot.dir)
        }
    }
}

/// A line for each model that is given by name: where it is, or that it would be fetched.
///
/// # Errors
/// When it would have to be fetched and must not be, or the environment cannot be used.
pub(crate) fn outlook(config: &Config) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for (key, path) in [(INITIAL.to_owned(), config.model.path.as_path())]
        .into_iter()
        .chain(config.classifiers())
    {
        let Model::Repository(repository) = named(path) else {
            continue;
        };
        let options = options()?;
        let snapshot = match afd_hub::cached(&repository, &options) {
            // Offline this fetches nothing: it says why not.
            None if options.offline => {
                Some(afd_hub::resolve(&repository, &options, &|_, _, _| {})?)
            }
            found => found,
        };
        lines.push(match snapshot {
            Some(Snapshot { commit, .. }) => {
                format!("{key}: {repository} is in the cache, at commit {commit}")
            }
            None => format!(
                "{key}: {repository} would be fetched from {}",
                options.endpoint
            ),
        });
    }
    Ok(lines)
}

/// What the environment says about the Hub.
fn options() -> Result<Options, Error> {
    Ok(Options::from_env(|name| env::var(name).ok())?)
}

/// What an earlier attempt at a run remembered; nothing if there was none.
///
/// # Errors
/// When its `run.json` cannot be read or understood.
pub(crate) fn remembered(run_dir: &Path) -> Result<Pins, Error> {
    #[derive(Deserialize)]
    struct About {
        #[serde(default)]
        models: Pins,
    }
    let path = run_dir.join("run.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Pins::new()),
        Err(source) => {
            return Err(Error::Io {
                action: "read",
                path,
                source,
            });
        }
    };
    let about: About = serde_json::from_str(&text).map_err(|error| {
        Error::Usage(format!(
            "{} cannot be understood ({error}); remove it, and models given by name are looked up anew",
            path.display()
        ))
    })?;
    Ok(about.models)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn relative_names_are_repositories_and_absolute_paths_never() {
        let repository = Repository::parse("org/name@v1").unwrap();
        assert_eq!(
            named(Path::new("org/name@v1")),
            Model::Repository(repository)
        );
        for path in ["/org/name", "/a", "gpt2", ""] {
            assert_eq!(named(Path::new(path)), Model::Directory(path.into()));
        }
    }

    #[test]
    fn a_run_remembers_what_its_names_were() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remembered(dir.path()).unwrap(), Pins::new());
        let path = dir.path().join("run.json");
        std::fs::write(&path, r#"{"format": 1, "seed": 0}"#).unwrap();
        assert_eq!(remembered(dir.path()).unwrap(), Pins::new());
        let text = format!(
            r#"{{"models": {{"model.path": {{"repository": "org/name", "commit": "{COMMIT}"}}}}}}"#
        );
        std::fs::write(&path, text).unwrap();
        let pins = remembered(dir.path()).unwrap();
        assert_eq!(pins[INITIAL].repository, "org/name");
        assert_eq!(pins[INITIAL].commit, COMMIT);
        std::fs::write(&path, "{").unwrap();
        let error = remembered(dir.path()).unwrap_err().to_string();
        assert!(error.contains("remove it"), "{error}");
    }
}

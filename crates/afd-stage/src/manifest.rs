//! `manifest.json`: what went into a stage, what came out and what it took.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::environment::ENVIRONMENT;
use crate::{Artifact, Cost, Error, artifact, fs};

/// Part of every key. To be raised when this crate changes what a key or a fingerprint means, so
/// that neither a result nor a scratch directory of an older version is taken for a current one.
const FORMAT: u32 = 1;

/// Written last; a directory without it is no result.
pub(crate) const MANIFEST: &str = "manifest.json";

/// The record of a finished stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The stage's name.
    pub stage: String,
    /// The stage's format number.
    pub format: u32,
    /// Hash of everything that decides the result; a stage with the same key is skipped.
    pub key: String,
    /// The stage's configuration.
    pub config: Value,
    /// What the stage read, in its order.
    pub inputs: Vec<InputRecord>,
    /// The result's files, sorted by path. Metrics and checkpoints are not among them.
    pub files: Vec<FileRecord>,
    /// Hash of `files`.
    pub fingerprint: String,
    /// The run's seed.
    pub seed: u64,
    /// What wrote it.
    pub versions: Versions,
    /// Where it was computed, in one line, if the run [said so](crate::RunDir::record_environment);
    /// recorded, not compared. A stage that was resumed elsewhere names all places in turn.
    pub environment: Option<String>,
    /// What it took.
    pub cost: Cost,
    /// When it was finished, in seconds since 1970-01-01 UTC.
    pub created_unix_seconds: u64,
}

/// An input of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRecord {
    /// [`Artifact::name`].
    pub name: String,
    /// [`Artifact::fingerprint`].
    pub fingerprint: String,
}

/// A file of a stage's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Where it is in the stage's directory, with `/` between parts.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its BLAKE3 hash in hexadecimal.
    pub blake3: String,
}

/// Versions of what wrote a result; recorded, not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The version of this workspace.
    pub afd: String,
}

impl Manifest {
    /// Reads the manifest of the finished stage in `dir`, an [`Artifact::path`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`] or [`Error::Manifest`], naming the file.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(MANIFEST);
        let text = fs::read_to_string(&path)?;
        serde_json::from_str(&text).map_err(|source| Error::Manifest { path, source })
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(MANIFEST);
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::io("write", &path)(error.into()))?;
        text.push(b'\n');
        fs::write_atomic(&path, &text)
    }

    /// Checks that every file is in `dir` and has its size. Not the content: a run would spend
    /// its time on reading weights that nobody touched.
    pub(crate) fn verify(&self, dir: &Path) -> Result<(), Error> {
        for file in &self.files {
            let path = dir.join(&file.path);
            let got = match std::fs::metadata(&path) {
                Ok(metadata) => Some(metadata.len()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Error::io("read", &path)(error)),
            };
            if got != Some(file.bytes) {
                return Err(Error::Damaged {
                    stage: self.stage.clone(),
                    path,
                    expected: file.bytes,
                    got,
                });
            }
        }
        Ok(())
    }
}

/// Everything about a stage that is known before it runs; its hash is the stage's key.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    stage: &'a str,
    format: u32,
    config: Value,
    inputs: Vec<InputRecord>,
    seed: u64,
}

impl<'a> Recipe<'a> {
    pub(crate) fn new<C: Serialize>(
        stage: &'a str,
        format: u32,
        config: &C,
        inputs: &[&Artifact],
        seed: u64,
    ) -> Result<Self, Error> {
        let config = serde_json::to_value(config).map_err(|source| Error::Config {
            stage: stage.to_owned(),
            source,
        })?;
        let record = |input: &&Artifact| InputRecord {
            name: input.name().to_owned(),
            fingerprint: input.fingerprint().to_owned(),
        };
        Ok(Self {
            stage,
            format,
            config,
            inputs: inputs.iter().map(record).collect(),
            seed,
        })
    }

    /// Inputs count by content: a checkpoint may move, and then nothing has to run again.
    pub(crate) fn key(&self) -> String {
        let fingerprints: Vec<&str> = self.inputs.iter().map(|i| i.fingerprint.as_str()).collect();
        let mut identity = json!({
            "afd_stage": FORMAT,
            "stage": self.stage,
            "format": self.format,
            "config": self.config,
            "inputs": fingerprints,
            "seed": self.seed,
        });
        // The order of fields, or of a hash map, says nothing.
        identity.sort_all_objects();
        blake3::hash(identity.to_string().as_bytes())
            .to_hex()
            .to_string()
    }

    /// The manifest of the result in `dir`, whose files it brings to disk.
    pub(crate) fn manifest(
        self,
        dir: &Path,
        environment: Option<&str>,
        cost: Cost,
    ) -> Result<Manifest, Error> {
        let files = artifact::hash_files(dir, &|name, depth| depth == 0 && is_no_result(name))?;
        for file in &files {
            fs::sync_file(&dir.join(&file.path))?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Manifest {
            key: self.key(),
            stage: self.stage.to_owned(),
            format: self.format,
            config: self.config,
            inputs: self.inputs,
            fingerprint: artifact::fingerprint(&files),
            files,
            seed: self.seed,
            versions: Versions {
                afd: env!("CARGO_PKG_VERSION").to_owned(),
            },
            environment: environment.map(str::to_owned),
            cost,
            created_unix_seconds: now.map_or(0, |elapsed| elapsed.as_secs()),
        })
    }
}

/// What a stage's directory holds beside its result: records with times in them, and states to
/// resume from, which may be deleted once it is finished.
fn is_no_result(name: &str) -> bool {
    matches!(
        name,
        MANIFEST
            | "metrics.jsonl"
            | "tb"
            | crate::scratch::KEY
            | crate::scratch::COST
            | ENVIRONMENT
    ) || name.starts_with("checkpoint-")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn key<C: Serialize>(stage: &str, format: u32, config: &C, seed: u64) -> String {
        Recipe::new(stage, format, config, &[], seed).unwrap().key()
    }

    /// Keys outlive a build: a change here reruns everybody's stages and needs a new [`FORMAT`].
    #[test]
    fn the_key_is_the_hash_of_sorted_json() {
        let text = r#"{"afd_stage":1,"config":{"a":[1.5,null],"b":{"c":"x","d":true}},"format":3,"inputs":[],"seed":7,"stage":"sft"}"#;
        let config = json!({"b": {"d": true, "c": "x"}, "a": [1.5, null]});
        assert_eq!(
            key("sft", 3, &config, 7),
            blake3::hash(text.as_bytes()).to_hex().to_string()
        );
    }

    #[test]
    fn the_order_of_a_hash_map_does_not_count() {
        let names = || (0..50).map(|i| (format!("k{i}"), i));
        let forward: HashMap<_, _> = names().collect();
        let backward: HashMap<_, _> = names().rev().collect();
        assert_eq!(key("a", 1, &forward, 0), key("a", 1, &backward, 0));
    }

    #[test]
    fn a_config_without_json_form_names_its_stage() {
        let config = HashMap::from([((1, 2), 3)]);
        let error = Recipe::new("sft", 1, &config, &[], 0).unwrap_err();
        assert!(error.to_string().contains("stage `sft`"), "{error}");
    }

    #[test]
    fn a_manifest_survives_writing_and_its_files_are_the_result() {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "model.safetensors",
            "sub/metrics.jsonl",
            "metrics.jsonl",
            "key",
            "cost.json",
            "environment",
            "tb/events",
            "checkpoint-20/model.safetensors",
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "12345").unwrap();
        }
        let recipe = Recipe::new("sft", 1, &json!({"z": 1, "a": 2}), &[], u64::MAX).unwrap();
        let manifest = recipe
            .manifest(dir.path(), Some("a laptop"), Cost::default())
            .unwrap();
        manifest.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), manifest);

        let paths: Vec<&str> = manifest.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["model.safetensors", "sub/metrics.jsonl"]);
        assert_eq!(manifest.files[0].bytes, 5);
        assert!(manifest.created_unix_seconds > 1_700_000_000);
    }
}

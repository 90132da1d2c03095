//! What is here already is not fetched again, and offline nothing is.

use std::fs;

use afd_hub::{Repository, cached};

use crate::server::{COMMIT, World};

const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";

#[test]
fn a_branch_is_looked_up_and_no_file_fetched_twice() {
    let world = World::small_model();
    let first = world.resolve("org/name").unwrap();
    let second = world.resolve("org/name").unwrap();
    assert_eq!(first, second);
    let asked = world.hub_asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].path, "/api/models/org/name/revision/main");
    assert!(world.cdn_asked().is_empty());
}

#[test]
fn a_commit_that_is_here_needs_no_network() {
    let world = World::small_model();
    let first = world.resolve("org/name").unwrap();
    let pinned = world.resolve(&format!("org/name@{COMMIT}")).unwrap();
    assert!(world.hub_asked().is_empty());
    assert_eq!(pinned.dir, first.dir);
    assert_eq!(pinned.files, first.files);
    assert_eq!(pinned.revision, COMMIT);
}

#[test]
fn a_commit_that_is_not_here_is_fetched_as_such() {
    let world = World::small_model();
    let pinned = world.resolve(&format!("org/name@{COMMIT}")).unwrap();
    assert_eq!(pinned.commit, COMMIT);
    let refs = world.options().cache.join("models--org--name/refs");
    assert!(!refs.exists(), "a commit is no branch");
}

#[test]
fn a_branch_that_moved_brings_only_what_changed() {
    let world = World::small_model();
    let old = world.resolve("org/name").unwrap();
    world.repo().commit = OTHER.to_owned();
    world.put("tokenizer.json", "[1, 2]");
    let new = world.resolve("org/name").unwrap();
    assert_eq!(new.commit, OTHER);
    assert!(world.cdn_asked().is_empty(), "the weights are the same");
    let read = |name: &str| fs::read_to_string(new.dir.join(name)).unwrap();
    assert_eq!(read("tokenizer.json"), "[1, 2]");
    assert_eq!(read("model.safetensors"), "the weights of this model");
    // The old one is as it was.
    let kept = fs::read_to_string(old.dir.join("tokenizer.json"));
    assert_eq!(kept.unwrap(), "[1]");
    let again = world.resolve(&format!("org/name@{COMMIT}")).unwrap();
    assert_eq!(again.dir, old.dir);
}

#[test]
fn offline_takes_what_is_here_and_says_what_is_not() {
    let world = World::small_model();
    let offline = world.offline();
    let error = world.resolve_with("org/name", &offline).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("`org/name` is not in the cache"),
        "{message}"
    );
    assert!(message.contains("unset HF_HUB_OFFLINE"), "{message}");
    assert!(world.hub_asked().is_empty());

    let fetched = world.resolve("org/name").unwrap();
    assert_eq!(world.resolve_with("org/name", &offline).unwrap(), fetched);
    assert!(world.hub_asked().is_empty());
    assert!(world.resolve_with("org/name@v1", &offline).is_err());
    let repository = Repository::parse("org/name").unwrap();
    assert_eq!(cached(&repository, &world.options()), Some(fetched));
}

#[test]
fn what_lacks_a_file_of_weights_is_not_here() {
    let world = World::sharded("model-2.safetensors");
    let snapshot = world.resolve("org/name").unwrap();
    fs::remove_file(snapshot.dir.join("model-2.safetensors")).unwrap();
    let error = world.resolve_with("org/name", &world.offline());
    let message = error.unwrap_err().to_string();
    assert!(message.contains("or only a part of it"), "{message}");
    // Online, the commit is looked at again; the content is still there and only linked.
    let again = world.resolve(&format!("org/name@{COMMIT}")).unwrap();
    assert_eq!(again.files, snapshot.files);
    assert!(world.cdn_asked().is_empty());
    assert!(snapshot.dir.join("model-2.safetensors").is_file());
}

#[test]
fn a_snapshot_of_python_with_more_in_it_has_the_same_files() {
    let world = World::small_model();
    let snapshot = world.resolve("org/name").unwrap();
    fs::write(snapshot.dir.join("pytorch_model.bin"), "a pickle").unwrap();
    fs::write(snapshot.dir.join("README.md"), "# A model").unwrap();
    let again = world.resolve_with("org/name", &world.offline()).unwrap();
    assert_eq!(again.files, snapshot.files);
}

//! What a name brings, and where it is put.

use std::fs;
use std::sync::Mutex;

use afd_hub::{Repository, resolve};

use crate::server::{COMMIT, World, sha256};

#[test]
fn a_model_is_fetched_into_the_layout_of_python() {
    let world = World::small_model();
    let snapshot = world.resolve("org/name").unwrap();
    assert_eq!(snapshot.id, "org/name");
    assert_eq!(snapshot.revision, "main");
    assert_eq!(snapshot.commit, COMMIT);
    let files = ["config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(snapshot.files, files);

    let repository = world.options().cache.join("models--org--name");
    assert_eq!(snapshot.dir, repository.join("snapshots").join(COMMIT));
    let mut found: Vec<_> = fs::read_dir(&snapshot.dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, files, "no pickle, no code");
    for name in files {
        let bytes = fs::read(snapshot.dir.join(name)).unwrap();
        assert_eq!(bytes, world.repo().files[name]);
    }
    assert_eq!(
        fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    let blob = sha256(b"the weights of this model");
    assert!(repository.join("blobs").join(&blob).is_file());
    #[cfg(unix)]
    {
        let link = fs::read_link(snapshot.dir.join("model.safetensors")).unwrap();
        assert_eq!(link, std::path::Path::new("../../blobs").join(blob));
    }
}

#[test]
fn a_model_in_several_files_comes_whole() {
    let world = World::sharded("model-2.safetensors");
    let snapshot = world.resolve("org/name@refs/pr/1").unwrap();
    assert_eq!(snapshot.revision, "refs/pr/1");
    assert_eq!(snapshot.files.len(), 4);
    let read = |name: &str| fs::read_to_string(snapshot.dir.join(name)).unwrap();
    assert_eq!(read("model-1.safetensors"), "one");
    assert_eq!(read("model-2.safetensors"), "two");
}

#[test]
fn progress_counts_the_bytes_of_each_file() {
    let world = World::small_model();
    let heard: Mutex<Vec<(String, u64, u64)>> = Mutex::default();
    let progress = |file: &str, done, total| {
        heard.lock().unwrap().push((file.to_owned(), done, total));
    };
    let repository = Repository::parse("org/name").unwrap();
    resolve(&repository, &world.options(), &progress).unwrap();
    let heard = heard.into_inner().unwrap();
    let first = ("model.safetensors".to_owned(), 0, 25);
    let last = ("model.safetensors".to_owned(), 25, 25);
    assert!(heard.contains(&first), "{heard:?}");
    assert_eq!(heard.last(), Some(&last));
}

#[test]
fn two_at_once_fetch_each_file_once() {
    let world = World::small_model();
    let repository = Repository::parse("org/name").unwrap();
    let options = world.options();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| resolve(&repository, &options, &|_, _, _| {}).unwrap());
        }
    });
    assert_eq!(world.cdn_asked().len(), 1);
}

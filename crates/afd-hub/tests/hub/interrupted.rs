//! Connections that end too soon, and parts that are not what they should be.

use std::fs;
use std::path::PathBuf;

use afd_hub::Error;

use crate::server::{World, sha256};

const WEIGHTS: &str = "the weights of this model";

fn part(world: &World) -> PathBuf {
    let blobs = world.options().cache.join("models--org--name/blobs");
    blobs.join(format!("{}.afd-incomplete", sha256(WEIGHTS.as_bytes())))
}

/// A world in which the weights stopped after 10 bytes.
fn interrupted() -> World {
    let world = World::small_model();
    world.repo().cut = Some(10);
    let error = world.resolve("org/name").unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Interrupted {
                got: 10,
                expected: 25,
                ..
            }
        ),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(message.contains("run the same command again"), "{message}");
    assert_eq!(fs::read_to_string(part(&world)).unwrap(), &WEIGHTS[..10]);
    world.repo().cut = None;
    world
}

#[track_caller]
fn arrives(world: &World) {
    let snapshot = world.resolve("org/name").unwrap();
    let weights = fs::read_to_string(snapshot.dir.join("model.safetensors"));
    assert_eq!(weights.unwrap(), WEIGHTS);
    assert!(!part(world).exists());
}

#[test]
fn a_download_goes_on_where_it_stopped() {
    let world = interrupted();
    let offline = world.resolve_with("org/name", &world.offline());
    assert!(offline.is_err(), "half a model is none");
    arrives(&world);
    let asked = world.cdn_asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].headers["range"], "bytes=10-");
}

#[test]
fn a_host_that_knows_no_parts_sends_the_whole() {
    let world = interrupted();
    world.repo().ignores_ranges = true;
    arrives(&world);
    assert_eq!(world.cdn_asked().len(), 1);
}

#[test]
fn a_damaged_part_is_fetched_anew() {
    let world = interrupted();
    fs::write(part(&world), "the wrongs").unwrap();
    arrives(&world);
    assert_eq!(world.cdn_asked().len(), 2);
}

#[test]
fn a_part_that_is_too_long_is_fetched_anew() {
    let world = interrupted();
    fs::write(part(&world), format!("{WEIGHTS} and more")).unwrap();
    arrives(&world);
}

#[test]
fn a_part_that_was_whole_is_only_put_in_place() {
    let world = interrupted();
    fs::write(part(&world), WEIGHTS).unwrap();
    arrives(&world);
    assert!(world.cdn_asked().is_empty());
}

#[test]
fn other_bytes_than_announced_are_refused_and_not_kept() {
    for instead in [
        "The weights of this model",
        "more than the weights of this model",
    ] {
        let world = World::small_model();
        world.repo().instead = Some(instead.into());
        let error = world.resolve("org/name").unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
        assert!(world.resolve_with("org/name", &world.offline()).is_err());
        world.repo().instead = None;
        arrives(&world);
    }
}

#[test]
fn an_interrupted_branch_is_not_remembered() {
    let world = interrupted();
    let refs = world.options().cache.join("models--org--name/refs/main");
    assert!(!refs.exists());
}

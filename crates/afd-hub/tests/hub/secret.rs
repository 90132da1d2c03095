//! The token goes to the Hub and nowhere else: to no other host, no file and no message.

use std::fs;
use std::path::Path;

use crate::server::World;

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let world = World::small_model();
    world.repo().token = Some("Bearer hf_secret");
    world.resolve_with("org/name", &world.with_token()).unwrap();
    for asked in world.hub_asked() {
        assert_eq!(asked.headers["authorization"], "Bearer hf_secret");
    }
    let elsewhere = world.cdn_asked();
    assert_eq!(elsewhere.len(), 1);
    for asked in elsewhere {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
    nowhere_in(&world.options().cache);
}

#[test]
fn without_a_token_none_is_sent() {
    let world = World::small_model();
    world.resolve("org/name").unwrap();
    for asked in world.hub_asked().iter().chain(&world.cdn_asked()) {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
        assert_eq!(asked.headers["accept-encoding"], "identity");
    }
}

#[test]
fn no_message_holds_the_token_or_a_signed_address() {
    let world = World::small_model();
    let shown = |world: &World| {
        let error = world
            .resolve_with("org/name", &world.with_token())
            .unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("hf_secret") && !text.contains("s3cret"),
            "{text}"
        );
    };
    world.repo().cut = Some(3);
    shown(&world);
    for refuse in [
        ("/api/", 401, ""),
        ("/api/", 404, ""),
        ("/resolve/", 403, "GatedRepo"),
        ("/resolve/", 500, ""),
    ] {
        world.repo().refuse = Some(refuse);
        shown(&world);
    }
}

fn nowhere_in(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.to_string_lossy().contains("hf_secret"));
        match path.is_dir() {
            true => nowhere_in(&path),
            false => {
                let bytes = fs::read(&path).unwrap();
                assert!(!String::from_utf8_lossy(&bytes).contains("hf_secret"));
            }
        }
    }
}

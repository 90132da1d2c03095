//! What cannot be had, and what must not be believed; each message says what to do.

use std::net::TcpListener;

use afd_hub::Options;

use crate::server::World;

#[track_caller]
fn fails(world: &World, name: &str, options: &Options, parts: &[&str]) {
    let message = world.resolve_with(name, options).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

#[test]
fn a_repository_that_is_not_there() {
    let world = World::small_model();
    let parts = [
        "no repository `org/other`",
        "nor a directory of that name",
        "HF_TOKEN",
    ];
    fails(&world, "org/other", &world.options(), &parts);
    // The Hub tells strangers 401 and no more.
    world.repo().refuse = Some(("", 401, ""));
    fails(&world, "org/name", &world.options(), &parts[1..]);
    world.repo().refuse = Some(("", 401, "RepoNotFound"));
    let parts = ["no repository `org/name`", "the account of your token"];
    fails(&world, "org/name", &world.with_token(), &parts);
}

#[test]
fn a_revision_that_is_not_there() {
    let world = World::small_model();
    let parts = ["`org/name` has no branch, tag or commit `v9`", "tree/main"];
    fails(&world, "org/name@v9", &world.options(), &parts);
}

#[test]
fn a_repository_behind_a_gate() {
    let world = World::small_model();
    world.repo().refuse = Some(("/resolve/", 401, "GatedRepo"));
    let parts = ["ask for access at", "/org/name, then set HF_TOKEN"];
    fails(&world, "org/name", &world.options(), &parts);
    world.repo().refuse = Some(("/resolve/", 403, "GatedRepo"));
    let parts = ["ask for access at", "with the account of your token"];
    fails(&world, "org/name", &world.with_token(), &parts);
    world.repo().refuse = Some(("/resolve/", 403, ""));
    fails(&world, "org/name", &world.with_token(), &parts);
}

#[test]
fn a_token_that_is_not_known() {
    let world = World::small_model();
    world.repo().token = Some("Bearer another");
    let parts = ["refuses the token", "settings/tokens", "unset HF_TOKEN"];
    fails(&world, "org/name", &world.with_token(), &parts);
}

#[test]
fn a_hub_in_trouble() {
    let world = World::small_model();
    world.repo().refuse = Some(("", 503, ""));
    fails(&world, "org/name", &world.options(), &["503", "wait"]);
    world.repo().refuse = Some(("/resolve/", 429, ""));
    let parts = ["429", "`config.json`", "fewer requests"];
    fails(&world, "org/name", &world.options(), &parts);
}

#[test]
fn no_network() {
    let world = World::small_model();
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let options = Options {
        endpoint: format!("http://{}", free.unwrap()),
        ..world.options()
    };
    let parts = ["cannot reach 127.0.0.1", "HF_HUB_OFFLINE=1", "HTTPS_PROXY"];
    fails(&world, "org/name", &options, &parts);
}

#[test]
fn weights_that_are_only_pickles() {
    let world = World::new(&[("config.json", "{}"), ("pytorch_model.bin", "a pickle")]);
    let parts = ["only as pickles", "from_pretrained(\"org/name\")"];
    fails(&world, "org/name", &world.options(), &parts);
    assert_eq!(world.hub_asked().len(), 1, "nothing is fetched");
}

#[test]
fn an_index_that_leads_elsewhere() {
    for shard in [
        "../../../../escaped.safetensors",
        "/tmp/escaped.safetensors",
        "x/y.safetensors",
    ] {
        let world = World::sharded(shard);
        world.put(shard, "escaped");
        let parts = ["index.json names", "no safetensors file beside it"];
        fails(&world, "org/name", &world.options(), &parts);
        assert!(world.cdn_asked().is_empty());
    }
    let world = World::sharded("model-3.safetensors");
    let parts = ["`model-3.safetensors`, which the repository does not have"];
    fails(&world, "org/name", &world.options(), &parts);
    assert!(world.cdn_asked().is_empty(), "told before the first shard");
}

#[test]
fn an_etag_that_leads_elsewhere() {
    for etag in ["../../../escaped", "/tmp/escaped", "", "a b"] {
        let world = World::small_model();
        world.repo().etag = Some(etag);
        let parts = ["does not answer as the Hub does"];
        fails(&world, "org/name", &world.options(), &parts);
    }
}

#[test]
fn a_commit_that_is_none() {
    for commit in ["../../../escaped", "", "main", "0123"] {
        let world = World::small_model();
        world.repo().commit = commit.to_owned();
        fails(&world, "org/name", &world.options(), &["a commit is none"]);
        assert!(!world.options().cache.exists(), "nothing was written");
    }
}

#[test]
fn redirects_without_end() {
    let world = World::small_model();
    let commit = world.repo().commit.clone();
    let circle = format!("/org/name/resolve/{commit}/config.json");
    world.repo().elsewhere = Some(circle.leak());
    fails(&world, "org/name", &world.options(), &["in circles"]);
    world.repo().elsewhere = Some("file:///etc/passwd");
    fails(&world, "org/name", &world.options(), &["leads nowhere"]);
}

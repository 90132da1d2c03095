//! Tests of what a run says about where its stages were computed.

use super::*;

fn open_on(root: &Path, environment: &str) -> RunDir {
    let mut run = open(root);
    run.record_environment(environment);
    run
}

/// What the manifest of the finished stage `sft` says.
fn recorded(root: &Path) -> Option<String> {
    Manifest::read(&root.join("sft")).unwrap().environment
}

/// An attempt at the stage `sft` that fails after it wrote `file`.
fn fail(run: &RunDir, file: &str) {
    let failed = run.stage("sft", 1, &"x", &[], |ctx| {
        ctx.metrics().log(1, &[]).map_err(io::Error::other)?;
        ctx.write(file, b"half").map_err(io::Error::other)?;
        Err::<(), _>(io::Error::other("no"))
    });
    assert!(failed.is_err());
}

#[test]
fn a_manifest_says_where_and_nothing_else_depends_on_it() {
    let [somewhere, here] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let unsaid = write(&open(somewhere.path()), "sft", "x").unwrap();
    assert_eq!(
        (unsaid.environment(), recorded(somewhere.path())),
        (None, None)
    );

    let run = open_on(here.path(), "here");
    let said = run.stage("sft", 1, &"x", &[], |ctx| {
        assert_eq!(ctx.environment(), Some("here"));
        ctx.write("out", b"x")
    });
    let said = said.unwrap();
    assert_eq!(said.environment(), Some("here"));
    assert_eq!(run.read("sft").unwrap().environment(), Some("here"));
    assert_eq!(recorded(here.path()).as_deref(), Some("here"));
    assert_eq!(list(said.path()), ["manifest.json", "out"]);

    let [unsaid, said] = [unsaid, said].map(|made| Manifest::read(made.path()).unwrap());
    assert_eq!(unsaid.key, said.key);
    assert_eq!(unsaid.fingerprint, said.fingerprint);
}

#[test]
fn a_skipped_stage_keeps_the_place_that_computed_it() {
    let root = tempfile::tempdir().unwrap();
    write(&open_on(root.path(), "here"), "sft", "x").unwrap();

    let mut run = open_on(root.path(), "there");
    assert!(is_skipped(&run, "sft", "x"));
    let skipped = write(&run, "sft", "x").unwrap();
    assert_eq!(skipped.environment(), Some("here"));
    assert_eq!(recorded(root.path()).as_deref(), Some("here"));

    run.force("sft");
    assert!(!is_skipped(&run, "sft", "x"));
    assert_eq!(recorded(root.path()).as_deref(), Some("there"));
}

#[test]
fn a_manifest_that_does_not_say_where_is_still_one() {
    let root = tempfile::tempdir().unwrap();
    let made = write(&open_on(root.path(), "here"), "sft", "x").unwrap();
    let path = made.file("manifest.json");
    let text = read_to_string(&path).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest.as_object_mut().unwrap().remove("environment");
    std::fs::write(&path, manifest.to_string()).unwrap();

    let run = open_on(root.path(), "here");
    assert!(is_skipped(&run, "sft", "x"));
    assert_eq!(run.read("sft").unwrap().environment(), None);
}

#[test]
fn a_stage_that_was_resumed_elsewhere_names_both_places() {
    let root = tempfile::tempdir().unwrap();
    for place in ["here", "here", "there", "there", "here"] {
        fail(&open_on(root.path(), place), "checkpoint-1/state");
    }
    assert!(resumes(&open_on(root.path(), "here"), "sft", "x"));
    let line = "here; resumed on there; resumed on here";
    assert_eq!(recorded(root.path()).as_deref(), Some(line));
    assert!(!list(&root.path().join("sft")).contains(&"environment".to_owned()));
}

#[test]
fn an_attempt_that_left_no_work_does_not_count() {
    let root = tempfile::tempdir().unwrap();
    fail(&open_on(root.path(), "too small"), "tb/events");
    assert!(resumes(&open_on(root.path(), "here"), "sft", "x"));
    assert_eq!(recorded(root.path()).as_deref(), Some("here"));
}

#[test]
fn work_of_an_unknown_place_is_not_claimed() {
    let root = tempfile::tempdir().unwrap();
    fail(&open(root.path()), "checkpoint-1/state");
    assert!(resumes(&open_on(root.path(), "here"), "sft", "x"));
    let line = "not recorded; resumed on here";
    assert_eq!(recorded(root.path()).as_deref(), Some(line));
}

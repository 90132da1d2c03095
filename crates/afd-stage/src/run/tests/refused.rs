//! Tests of what is an error, and that it says what to do.

use super::*;

#[test]
fn damage_is_an_error_that_force_mends() {
    let root = tempfile::tempdir().unwrap();
    let mut run = open(root.path());
    let made = write(&run, "sft", "12345").unwrap();

    std::fs::write(made.file("out"), "123").unwrap();
    let error = write(&run, "sft", "12345").unwrap_err().to_string();
    assert!(
        error.contains("out` should have 5 bytes but has 3"),
        "{error}"
    );
    assert!(error.contains("`--force sft`"), "{error}");
    std::fs::remove_file(made.file("out")).unwrap();
    let error = run.read("sft").unwrap_err().to_string();
    assert!(
        error.contains("out` should have 5 bytes but is missing"),
        "{error}"
    );
    std::fs::write(made.file("manifest.json"), "{}").unwrap();
    let error = write(&run, "sft", "12345").unwrap_err().to_string();
    assert!(
        error.contains("sft/manifest.json` cannot be understood"),
        "{error}"
    );

    run.force("sft");
    write(&run, "sft", "12345").unwrap();
    assert_eq!(read_to_string(&made.file("out")).unwrap(), "12345");
}

#[test]
fn a_run_is_locked_until_it_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let error = RunDir::open(root.path(), 1, Arc::new(Quiet)).err().unwrap();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains(root.path().to_str().unwrap()));
    drop(run);
    open(root.path());
}

#[test]
fn a_run_is_locked_against_other_processes() {
    if let Some(root) = std::env::var_os(CHILD) {
        let code = match RunDir::open(Path::new(&root), 1, Arc::new(Quiet)) {
            Ok(_) => 20,
            Err(Error::Locked { .. }) => 21,
            Err(_) => 22,
        };
        std::process::exit(code);
    }
    let root = tempfile::tempdir().unwrap();
    let name = "refused::a_run_is_locked_against_other_processes";
    let run = open(root.path());
    assert_eq!(rerun_in_child(name, root.path()), Some(21));
    drop(run);
    assert_eq!(rerun_in_child(name, root.path()), Some(20));
}

#[test]
fn nothing_that_no_stage_wrote_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let refused = |name: &str| {
        let never = |_: &StageContext| -> Result<(), Error> { panic!("it was called") };
        let error = run.stage(name, 1, &(), &[], never).unwrap_err();
        assert!(
            matches!(error, StageError::Run(Error::InTheWay { .. })),
            "{error}"
        );
    };
    std::fs::create_dir(root.path().join("notes")).unwrap();
    std::fs::write(root.path().join("notes/a.txt"), "mine").unwrap();
    refused("notes");
    refused("notes/a.txt");
    refused("notes/a.txt/b");

    // One stage in another would go when the outer one is replaced.
    write(&run, "reward/init-sft", "x").unwrap();
    refused("reward");
    refused("reward/init-sft/more");

    std::fs::create_dir(root.path().join("empty")).unwrap();
    write(&run, "empty", "x").unwrap();
}

#[test]
fn names_are_checked() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let error = write(&run, "../x", "x").unwrap_err();
    assert!(
        matches!(error, StageError::Run(Error::StageName { .. })),
        "{error}"
    );
    assert!(matches!(run.read("../x"), Err(Error::StageName { .. })));
    for name in ["", "../x", "/x", "a/b", ".lock"] {
        let result = run.write_file(name, b"");
        assert!(matches!(result, Err(Error::FileName { .. })), "{name}");
    }
    run.write_file("config.toml", b"a = 1").unwrap();
    assert_eq!(
        read_to_string(&root.path().join("config.toml")).unwrap(),
        "a = 1"
    );
}

#[test]
fn a_result_that_is_not_there_is_named() {
    let root = tempfile::tempdir().unwrap();
    let error = open(root.path()).read("eval").unwrap_err().to_string();
    assert!(
        error.starts_with("stage `eval` is not finished in"),
        "{error}"
    );
}

/// Linux lets nobody, not even root, create a directory there.
#[cfg(target_os = "linux")]
#[test]
fn a_place_that_cannot_be_written_is_named_with_a_remedy() {
    let root = Path::new("/sys/afd-stage-test");
    let error = RunDir::open(root, 1, Arc::new(Quiet)).err().unwrap();
    let message = error.to_string();
    assert!(message.contains("`/sys/afd-stage-test`"), "{message}");
    assert!(message.contains("choose a"), "{message}");
}

/// A child process that is just being started holds a copy of every open file.
#[test]
fn a_copy_of_the_lock_does_not_outlive_the_run() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let _copy = run.lock.try_clone().unwrap();
    drop(run);
    open(root.path());
}

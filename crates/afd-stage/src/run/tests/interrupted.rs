//! Tests of stages that failed, panicked or were killed.

use super::*;

#[test]
fn a_failure_keeps_the_scratch_directory_and_the_old_result() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let fail = |config: &str| {
        run.stage("sft", 1, &config, &[], |ctx| {
            std::fs::write(ctx.dir().join("half"), "half")?;
            ctx.metrics().log(1, &[]).map_err(io::Error::other)?;
            std::fs::write(ctx.dir().join("metrics.jsonl"), "{\"step\":1}\n{\"st")?;
            Err(io::Error::other("out of luck"))
        })
        .unwrap_err()
    };
    let error = fail("new");
    assert!(
        error.to_string().starts_with("stage `sft` failed"),
        "{error}"
    );
    assert!(
        matches!(error, StageError::Body { source, .. } if source.to_string() == "out of luck")
    );
    assert!(matches!(run.read("sft"), Err(Error::NotFinished { .. })));

    write(&run, "sft", "old").unwrap();
    fail("new");
    assert_eq!(
        read_to_string(&run.read("sft").unwrap().file("out")).unwrap(),
        "old"
    );

    let finished = run.stage("sft", 1, &"new", &[], |ctx| {
        assert!(ctx.resumed());
        assert_eq!(read_to_string(&ctx.dir().join("half"))?, "half");
        ctx.metrics().log(2, &[])
    });
    let metrics = read_to_string(&finished.unwrap().file("metrics.jsonl")).unwrap();
    assert_eq!(metrics, "{\"step\":1}\n{\"step\":2}\n");
}

#[test]
fn a_panic_passes_through_and_leaves_work_to_resume() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let run = RunDir::open(root.path(), 1, recorder.clone()).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run.stage("sft", 1, &"x", &[], |ctx| -> Result<(), Error> {
            ctx.add_tokens(3);
            panic!("on purpose")
        })
    }));
    let payload = panicked.unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(
        *recorder.0.lock().unwrap(),
        ["sft started false", "sft failed"]
    );
    assert!(run.read("sft").is_err());
    assert!(resumes(&run, "sft", "x"));
    assert_eq!(
        Manifest::read(&root.path().join("sft"))
            .unwrap()
            .cost
            .tokens,
        3
    );
}

#[test]
fn a_killed_process_leaves_work_to_resume_with_its_cost() {
    let stage = |root: &Path, killed: bool| {
        open(root).stage("sft", 1, &"x", &[], |ctx| {
            assert_eq!(ctx.resumed(), !killed);
            ctx.add_tokens(7);
            if killed {
                std::mem::forget(crate::fs::AtomicFile::create(&ctx.dir().join("torn"))?);
                ctx.write("checkpoint-1/state", b"1")?;
                std::thread::sleep(std::time::Duration::from_millis(20));
                ctx.progress(1, 2, "steps", "");
                // Runs no destructor, as a kill would not.
                std::process::exit(9);
            }
            ctx.write("out", b"done")
        })
    };
    if let Some(root) = std::env::var_os(CHILD) {
        stage(Path::new(&root), true).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let name = "interrupted::a_killed_process_leaves_work_to_resume_with_its_cost";
    assert_eq!(rerun_in_child(name, root.path()), Some(9));

    let made = stage(root.path(), false).unwrap();
    assert_eq!(list(made.path()), ["checkpoint-1", "manifest.json", "out"]);
    let cost = Manifest::read(made.path()).unwrap().cost;
    assert_eq!(cost.tokens, 14);
    assert!(cost.seconds >= 0.02, "{cost:?}");
}

#[test]
fn another_key_starts_afresh() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let failed = run.stage("sft", 1, &"old", &[], |ctx| {
        std::fs::write(ctx.dir().join("half"), "half")?;
        Err(io::Error::other("no"))
    });
    assert!(failed.is_err());
    assert!(!resumes(&run, "sft", "new"));
    assert_eq!(list(&root.path().join("sft")), ["manifest.json", "out"]);
}

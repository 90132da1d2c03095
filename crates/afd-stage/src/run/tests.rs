//! Tests of whole stages: what runs and what is skipped, and helpers for the files below.

mod environment;
mod interrupted;
mod refused;

use std::cell::{Cell, RefCell};
use std::io;
use std::process::Command;
use std::sync::Mutex;

use super::*;
use crate::{Quiet, fs::read_to_string, source_artifact};

fn open(root: &Path) -> RunDir {
    RunDir::open(root, 1, Arc::new(Quiet)).unwrap()
}

/// A stage that takes no input and writes `text`.
fn write(run: &RunDir, name: &str, text: &str) -> Result<Artifact, StageError<Error>> {
    run.stage(name, 1, &text, &[], |ctx| ctx.write("out", text.as_bytes()))
}

/// Asserts that a stage runs, and returns whether it resumed.
fn resumes(run: &RunDir, name: &str, config: &str) -> bool {
    let resumed = Cell::new(None);
    run.stage(name, 1, &config, &[], |ctx| {
        resumed.set(Some(ctx.resumed()));
        ctx.write("out", config.as_bytes())
    })
    .unwrap();
    resumed.get().expect("the stage was skipped")
}

fn is_skipped(run: &RunDir, name: &str, config: &str) -> bool {
    let called = Cell::new(false);
    run.stage(name, 1, &config, &[], |ctx| {
        called.set(true);
        ctx.write("out", config.as_bytes())
    })
    .unwrap();
    !called.get()
}

#[test]
fn a_stage_is_found_by_its_recipe_and_not_made() {
    let root = tempfile::tempdir().unwrap();
    let mut run = open(root.path());
    let find = |run: &RunDir, config: &str| run.find("a", 1, &config, &[]).unwrap();
    assert!(find(&run, "x").is_none());
    let made = write(&run, "a", "x").unwrap();
    let found = find(&run, "x").unwrap();
    assert_eq!(found.fingerprint(), made.fingerprint());
    assert!(find(&run, "y").is_none());
    std::fs::remove_file(made.file("out")).unwrap();
    let lost = run.find("a", 1, &"x", &[]).unwrap_err();
    assert!(matches!(lost, Error::Damaged { .. }), "{lost}");
    run.force("a");
    assert!(find(&run, "x").is_none());
}

#[test]
fn the_seed_of_a_stage_is_known_outside_it() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let inside = Cell::new(0);
    run.stage("a", 1, &(), &[], |ctx| {
        inside.set(ctx.seed());
        ctx.write("out", b"")
    })
    .unwrap();
    assert_eq!(run.stage_seed("a"), inside.get());
}

/// Runs this test again in another process, with `value` in the variable [`CHILD`].
fn rerun_in_child(test: &str, value: impl AsRef<std::ffi::OsStr>) -> Option<i32> {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(this);
    command.args([&format!("run::tests::{test}"), "--exact"]);
    command.env(CHILD, value).output().unwrap().status.code()
}
const CHILD: &str = "AFD_STAGE_TEST_CHILD";

fn list(dir: &Path) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    crate::fs::entries(dir).unwrap().iter().map(name).collect()
}

/// What decides the results of [`pipeline`].
#[derive(Clone, Copy)]
struct Settings {
    seed: u64,
    first: (&'static str, &'static str),
    second: (&'static str, u32),
    source: &'static str,
}

const SETTINGS: Settings = Settings {
    seed: 1,
    first: ("first config", "first output"),
    second: ("second config", 1),
    source: "source",
};

/// `second` reads `first`, `third` reads a source. Returns which of them ran.
fn pipeline(root: &Path, settings: Settings) -> Vec<&'static str> {
    let source = root.join("source.txt");
    std::fs::write(&source, settings.source).unwrap();
    let ran = RefCell::new(Vec::new());
    let run = RunDir::open(root, settings.seed, Arc::new(Quiet)).unwrap();
    let body = |name, text: &'static str| {
        let ran = &ran;
        move |ctx: &StageContext| {
            ran.borrow_mut().push(name);
            ctx.write("out", text.as_bytes())
        }
    };

    let (config, output) = settings.first;
    let first = run.stage("first", 1, &config, &[], body("first", output));
    let (config, format) = settings.second;
    let inputs = [&first.unwrap()];
    run.stage("second", format, &config, &inputs, body("second", "2"))
        .unwrap();
    let inputs = [&source_artifact(&source).unwrap()];
    run.stage("third", 1, &(), &inputs, body("third", "3"))
        .unwrap();
    ran.into_inner()
}

#[test]
fn a_change_reruns_what_depends_on_it_and_nothing_else() {
    let all = ["first", "second", "third"];
    let base = SETTINGS;
    let cases: [(Settings, &[&str]); 7] = [
        (base, &[]),
        (
            Settings {
                second: ("second config", 2),
                ..base
            },
            &["second"],
        ),
        (
            Settings {
                second: ("changed", 1),
                ..base
            },
            &["second"],
        ),
        // The output is the same, so whoever reads it has nothing to do.
        (
            Settings {
                first: ("changed", "first output"),
                ..base
            },
            &["first"],
        ),
        (
            Settings {
                first: ("changed", "changed"),
                ..base
            },
            &["first", "second"],
        ),
        (
            Settings {
                source: "changed",
                ..base
            },
            &["third"],
        ),
        (Settings { seed: 2, ..base }, &all),
    ];
    for (number, (changed, expected)) in cases.into_iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(pipeline(root.path(), base), all);
        assert_eq!(pipeline(root.path(), changed), expected, "case {number}");
        assert!(pipeline(root.path(), changed).is_empty(), "case {number}");
    }
}

#[test]
fn a_finished_stage_is_its_files_and_a_manifest() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let input = write(&run, "data", "x").unwrap();
    let config = serde_json::json!({"learning_rate": 0.1});
    let made = run
        .stage("reward/init-sft", 3, &config, &[&input], |ctx| {
            ctx.add_tokens(12);
            ctx.metrics().log(1, &[("loss", 0.5)])?;
            ctx.write("out", b"12345")
        })
        .unwrap();

    assert_eq!(made.path(), root.path().join("reward/init-sft"));
    assert_eq!(made.name(), "reward/init-sft");
    assert_eq!(
        list(made.path()),
        ["manifest.json", "metrics.jsonl", "out", "tb"]
    );
    assert!(list(&root.path().join(".scratch")).is_empty());

    let manifest = Manifest::read(made.path()).unwrap();
    assert_eq!(manifest.stage, "reward/init-sft");
    assert_eq!((manifest.format, manifest.seed), (3, 1));
    assert_eq!(manifest.config, config);
    assert_eq!(manifest.inputs.len(), 1);
    assert_eq!(manifest.inputs[0].name, "data");
    assert_eq!(manifest.inputs[0].fingerprint, input.fingerprint());
    assert_eq!(manifest.files.len(), 1);
    assert_eq!(manifest.fingerprint, made.fingerprint());
    assert_eq!(manifest.cost.tokens, 12);

    let read = run.read("reward/init-sft").unwrap();
    assert_eq!(read.fingerprint(), made.fingerprint());
    assert_eq!(read.path(), made.path());
}

/// Remembers events as text.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Observer for Recorder {
    fn event(&self, event: &Event<'_>) {
        let text = match event {
            Event::Skipped { stage } => format!("{stage} skipped"),
            Event::Started { stage, resumed } => format!("{stage} started {resumed}"),
            Event::Progress {
                stage,
                done,
                total,
                unit,
                note,
            } => {
                format!("{stage} {done}/{total} {unit} {note}")
            }
            Event::Finished { stage, cost } => format!("{stage} finished {}", cost.tokens),
            Event::Failed { stage } => format!("{stage} failed"),
        };
        self.0.lock().unwrap().push(text);
    }
}

#[test]
fn the_observer_hears_everything() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let run = RunDir::open(root.path(), 1, recorder.clone()).unwrap();
    let stage = |fails| {
        run.stage("sft", 1, &(), &[], |ctx| {
            ctx.add_tokens(5);
            for step in 1..=2 {
                ctx.progress(step, 2, "steps", "loss 1");
            }
            if fails {
                Err(io::Error::other("no"))
            } else {
                Ok(())
            }
        })
    };
    assert!(stage(true).is_err());
    stage(false).unwrap();
    stage(false).unwrap();
    assert_eq!(
        *recorder.0.lock().unwrap(),
        [
            "sft started false",
            "sft 1/2 steps loss 1",
            "sft 2/2 steps loss 1",
            "sft failed",
            "sft started true",
            "sft 1/2 steps loss 1",
            "sft 2/2 steps loss 1",
            "sft finished 10",
            "sft skipped",
        ]
    );
}

#[test]
fn force_runs_a_stage_or_all_below_a_name_from_the_start() {
    let root = tempfile::tempdir().unwrap();
    let names = ["reward/init-sft", "reward/closed", "rewards", "sft"];
    let mut run = open(root.path());
    for name in names {
        write(&run, name, "x").unwrap();
    }
    run.force("reward");
    run.force("sft");
    let skipped = names.map(|name| is_skipped(&run, name, "x"));
    assert_eq!(skipped, [false, false, true, false]);

    let failed = run.stage("sft", 1, &"x", &[], |_| Err(io::Error::other("no")));
    assert!(failed.is_err());
    assert!(!resumes(&run, "sft", "x"));
}

#[test]
fn checkpoints_and_metrics_of_a_finished_stage_may_go() {
    let root = tempfile::tempdir().unwrap();
    let run = open(root.path());
    let stage = |fails_if_called: bool| {
        run.stage("sft", 1, &(), &[], |ctx| {
            assert!(!fails_if_called);
            ctx.metrics().log(1, &[])?;
            ctx.write("checkpoint-1/state", b"1")
        })
    };
    let made = stage(false).unwrap();
    std::fs::remove_file(made.file("metrics.jsonl")).unwrap();
    std::fs::remove_dir_all(made.file("checkpoint-1")).unwrap();
    stage(true).unwrap();
}

#[test]
fn who_looks_on_sees_whether_a_run_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    assert!(!RunDir::is_open(&root).unwrap());
    let run = RunDir::open(&root, 1, Arc::new(Quiet)).unwrap();
    assert!(RunDir::is_open(&root).unwrap());
    drop(run);
    assert!(!RunDir::is_open(&root).unwrap());
    RunDir::open(&root, 1, Arc::new(Quiet)).unwrap();
}

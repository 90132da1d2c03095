//! Runs that fail on their way: divergence, places that cannot be written, full disks.

use std::{fs, path::Path};

use crate::util::{Ends, Outcome, Run, afd, base, finished, manifests};

#[test]
fn a_training_that_diverges_names_stage_step_and_remedy() {
    let run = Run::new("[sft]\nlearning_rate = 1e30\nmax_grad_norm = 0.0\n");
    let error = run.pipeline(&[]).fails(
        1,
        &[
            "stage sft failed",
            "of step ",
            "is not finite",
            "lower learning_rate",
            "max_grad_norm",
        ],
    );
    assert!(error.contains("sft                    failed"), "{error}");
    let stages: Vec<String> = manifests(&run.root())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(stages, ["data"]);
    // Mended, it runs; nothing of the failed attempt is used.
    run.write("config.toml", "extends = \"tiny.toml\"\n");
    run.pipeline(&[]).succeeds();
    let expected = fs::read_to_string(finished().join("eval/summary.json")).unwrap();
    assert_eq!(run.summary(), expected);

    let parts = ["stage reward/init-sft failed", "is not finite"];
    let diverge = [
        "--set",
        "reward.learning_rate=1e30",
        "--set",
        "reward.max_grad_norm=0.0",
    ];
    run.pipeline(&diverge).fails(1, &parts);
    // An older result stays, also when a newer one failed.
    assert_eq!(run.summary(), expected);
}

#[test]
fn a_run_directory_that_cannot_be_made_is_named() {
    let run = Run::new("");
    let file = run.write("occupied", "a file");
    for place in [
        file.as_path(),
        &file.join("run"),
        Path::new("/proc/afd-run"),
    ] {
        let place = place.to_str().unwrap();
        run.afd("pipeline", &["--run-dir", place])
            .fails(1, &["cannot create the directory", place]);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "a file");
}

#[test]
fn what_no_stage_wrote_is_not_overwritten() {
    let run = Run::new("");
    fs::create_dir_all(run.file("sft")).unwrap();
    fs::write(run.file("sft/thesis.txt"), "years of work").unwrap();
    let parts = ["stage `sft`", "is in the way", "move it elsewhere"];
    run.pipeline(&[]).fails(1, &parts);
    let kept = fs::read_to_string(run.file("sft/thesis.txt")).unwrap();
    assert_eq!(kept, "years of work");
}

/// `afd generate` to `output`.
fn generate(run: &Run, output: &Path) -> std::process::Command {
    let prompts = run.write(
        "prompts.jsonl",
        "{\"prompt\": \"\\n\\nHuman: Hi\\n\\nAssistant:\"}\n",
    );
    let mut call = afd(["generate", "--max-new-tokens", "4", "--model"]);
    call.arg(base())
        .arg("--prompts")
        .arg(prompts)
        .arg("--output")
        .arg(output);
    call
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let run = Run::new("");
    generate(&run, &run.path("no/such/out.jsonl"))
        .fails(1, &["cannot write", "no/such/out.jsonl", "does not exist"]);
    assert!(!run.path("no").exists());
    generate(&run, &run.path("")).fails(1, &["cannot write"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    use std::os::unix::fs::FileTypeExt;

    let run = Run::new("");
    let full = Path::new("/dev/full");
    generate(&run, full).fails(1, &["cannot write /dev/full", "No space left"]);
    // It is still the device: an atomic write would have put a file in its place.
    assert!(fs::metadata(full).unwrap().file_type().is_char_device());

    let root = finished().to_str().unwrap();
    for args in [vec!["report", root], vec!["doctor"]] {
        let full = fs::File::options().write(true).open(full).unwrap();
        let mut call = afd(args);
        let output = call.stdout(full).output().unwrap();
        let outcome = Outcome::from(output);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("cannot write standard output"),
            "{}",
            outcome.stderr
        );
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::process::Stdio;

    let run = Run::new("");
    let mut child = run
        .afd("check", &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let outcome = Outcome::from(child.wait_with_output().unwrap());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
}

/// A file system of 1 MiB, where one may be mounted.
#[cfg(target_os = "linux")]
#[test]
fn a_run_on_a_disk_that_is_full_stops_and_goes_on_once_there_is_room() {
    use std::process::Command;

    let run = Run::new("");
    fs::create_dir(run.root()).unwrap();
    let mount = |options: &str| {
        let mut call = Command::new("mount");
        call.args(["-t", "tmpfs", "-o", options, "afd-test"])
            .arg(run.root());
        call.output().is_ok_and(|output| output.status.success())
    };
    if !mount("size=3m") {
        // Only some may mount; the test above covers the message.
        return;
    }
    let full = run.pipeline(&[]).outcome();
    let grown = mount("remount,size=256m");
    let stages = manifests(&run.root());
    let after = run.pipeline(&[]).outcome();
    let summary = fs::read_to_string(run.file("eval/summary.json"));
    let unmounted = Command::new("umount").arg(run.root()).status();

    assert_eq!(full.code, Some(1), "{}", full.stderr);
    assert!(
        full.stderr.contains("No space left on device"),
        "{}",
        full.stderr
    );
    assert!(full.stderr.contains("stage sft failed"), "{}", full.stderr);
    assert!(
        stages.iter().all(|(stage, _)| stage == "data"),
        "{stages:?}"
    );
    assert!(grown && unmounted.unwrap().success());
    assert_eq!(after.code, Some(0), "{}", after.stderr);
    let expected = fs::read_to_string(finished().join("eval/summary.json")).unwrap();
    assert_eq!(summary.unwrap(), expected);
}

#[test]
fn a_place_for_the_base_model_is_made_before_its_training() {
    let run = Run::new("");
    let recipe = crate::util::root().join("configs/base-model.toml");
    let mut call = afd(["base-model", "--output", "/proc/afd-model", "--config"]);
    call.arg(recipe).arg("--run-dir").arg(run.root());
    call.fails(1, &["cannot write /proc/afd-model"]);
    assert!(!run.root().exists());
}

//! Device names on the command line, and `afd doctor`.

use std::{fs, process::Command};

use afd_backend::device::DeviceName;
use serde_json::Value;

use crate::util::{Ends, Run, afd, finished};

/// One device of each backend; which of them this build has is up to `afd-backend`'s features.
fn names() -> impl Iterator<Item = (&'static str, DeviceName)> {
    let names = [
        "libtorch",
        "libtorch:cuda:1",
        "wgpu",
        "vulkan:1",
        "cuda:0",
        "metal",
    ];
    names.into_iter().map(|name| (name, name.parse().unwrap()))
}

#[test]
fn a_backend_left_out_is_answered_with_the_commands_that_add_it() {
    let run = Run::new("");
    for (device, name) in names().filter(|(_, name)| !name.is_compiled()) {
        let parts = [
            format!("this build has no `{device}`"),
            format!("`cargo xtask pipeline --device {device}`"),
            format!(
                "`cargo build --release -p afd --features {}`",
                name.feature()
            ),
        ];
        let parts = parts.each_ref().map(String::as_str);
        run.pipeline(&["--device", device]).fails(2, &parts);
        let mut generate = afd(["generate", "--model", "m", "--prompts", "p"]);
        generate.env("AFD_DEVICE", device).fails(2, &parts);
    }
    assert!(!run.root().exists());
}

#[test]
fn an_unknown_device_is_answered_with_the_names_there_are() {
    let run = Run::new("");
    for name in ["cpu", "cuda", "vulkan:first", "libtorch:0"] {
        let unknown = format!("unknown device `{name}`; this build has: flex");
        let parts = [&unknown, "libtorch:cuda:N", "vulkan:N", "counts from 0"];
        run.pipeline(&["--device", name]).fails(2, &parts);
    }
}

#[test]
fn an_index_beyond_the_last_is_refused() {
    let run = Run::new("");
    for name in [
        "libtorch:cuda:4242",
        "wgpu:4242",
        "vulkan:4242",
        "cuda:4242",
    ] {
        run.pipeline(&["--device", name]).fails(2, &[name]);
    }
    assert!(!run.root().exists());
}

#[test]
fn a_type_the_device_lacks_is_refused_before_anything_is_there() {
    let run = Run::new("[precision]\ncompute = \"f16\"\n");
    let parts = [
        "`flex` does not compute in f16",
        "only stores it",
        "another device",
    ];
    run.pipeline(&[])
        .fails(2, &["`precision.compute`", "for a run that trains"]);
    run.pipeline(&[
        "--set",
        "precision.compute=f32",
        "--set",
        "precision.params=f16",
    ])
    .fails(
        2,
        &["`precision.params` must be \"f32\" or what precision.compute is"],
    );
    assert!(!run.root().exists());
    let generate = [
        "generate",
        "--model",
        "m",
        "--prompts",
        "p",
        "--dtype",
        "f16",
    ];
    afd(generate).fails(2, &parts);
}

#[test]
fn report_and_manifests_name_device_and_precision() {
    for file in ["report.md", "report.html"] {
        let report = fs::read_to_string(finished().join("eval").join(file)).unwrap();
        assert!(report.contains("flex: "), "{file}");
        assert!(report.contains("params f32, compute f32"), "{file}");
    }
    for stage in ["sft", "eval"] {
        let manifest = fs::read(finished().join(stage).join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let environment = manifest["environment"].as_str().unwrap();
        assert!(environment.starts_with("flex: "), "{environment}");
        assert!(
            environment.contains("(flex 0.") && environment.ends_with("compute f32"),
            "{environment}"
        );
    }
}

/// The same call with at most four gigabytes of address space.
#[cfg(target_os = "linux")]
fn confined(call: &Command) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\""])
        .arg(call.get_program())
        .args(call.get_args());
    for (name, value) in call.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
#[cfg(target_os = "linux")]
fn a_machine_without_memory_names_the_stage_and_what_to_lower() {
    // The cache of so many answers to one prompt takes some thirty gigabytes.
    let at_once = "reward_num_generations = 200000\ngeneration_batch_size = 200000\n";
    let run = Run::new(&format!("[sample]\n{at_once}"));
    let outcome = confined(&run.pipeline(&[])).outcome();
    assert!(!matches!(outcome.code, Some(0 | 2)), "{}", outcome.stderr);
    for part in [
        "error: stage samples/init-reward on `flex` ran out of memory: lower ",
        "sample.generation_batch_size (now ",
    ] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    // What was finished stays, and with less to do the run goes on.
    assert!(run.root().join("sft/manifest.json").is_file());
}

#[test]
fn bench_shows_its_variants_side_by_side() {
    let line = "bench --gradient-checkpointing false,true --batch-size 1 --length 8 --steps 1 \
                --repeats 1";
    let table = afd(line.split_whitespace()).succeeds().stdout;
    let of = |variant: &str| {
        let row = table.lines().find(|line| line.starts_with(variant));
        row.unwrap_or_else(|| panic!("no {variant} in:\n{table}"))
            .to_owned()
    };
    assert!(of("flex f32  ").contains(" 1.00 "), "{table}");
    assert!(of("flex f32 recomputed").contains(" % "), "{table}");
}

#[test]
fn doctor_tells_what_works_and_how_to_get_the_rest() {
    let outcome = afd(["doctor", "--device", "flex"]).succeeds().stdout;
    let lines: Vec<&str> = outcome.lines().collect();
    let [device, f32, bf16, f16] = lines.as_slice() else {
        panic!("{outcome}");
    };
    assert!(
        device.starts_with("flex ") && device.contains("(flex 0."),
        "{device}"
    );
    for (line, dtype) in [(f32, "  f32 "), (bf16, "  bf16 ")] {
        assert!(line.starts_with(dtype), "{line}");
        assert!(
            line.contains("works, ") && line.contains(" GFLOP/s"),
            "{line}"
        );
    }
    assert!(f16.contains("no: flex only stores it"), "{f16}");
}

#[test]
fn doctor_lists_every_backend() {
    let mut doctor = afd(["doctor"]);
    // Programs that stand in for a GPU would take minutes.
    doctor.env("VK_DRIVER_FILES", "/nonexistent.json");
    let outcome = doctor.succeeds().stdout;
    let version = concat!("afd ", env!("CARGO_PKG_VERSION"), " on ");
    assert!(outcome.starts_with(version), "{outcome}");
    assert!(outcome.contains("\nflex "), "{outcome}");
    assert!(outcome.contains("\n  f32 "), "{outcome}");
    for kind in DeviceName::KINDS {
        let (there, not) = (format!("\n{kind} "), format!("\n  {kind} "));
        assert!(
            outcome.contains(&there) != outcome.contains(&not),
            "{outcome}"
        );
        if !kind.is_compiled() {
            let remedy = format!("--features {}\n", kind.feature());
            assert!(outcome.contains(&remedy), "no {remedy} in:\n{outcome}");
        }
    }
}

#[test]
fn doctor_refuses_names_it_does_not_know() {
    afd(["doctor", "--device", "gpu9"]).fails(2, &["unknown device `gpu9`"]);
}

//! No crate but `afd-backend` names a backend of Burn: not in a manifest and not in a source.
//! Cargo cannot enforce this, because features of one crate are united over the workspace.

use crate::assert_none;
use crate::workspace::{Crate, TextFile, crates, made_up, rust_sources};

/// The crate that may.
const OWNER: &str = "afd-backend";

/// The crates whose features switch the owner's: the binary and the tests.
const SWITCHING: &[&str] = &["afd", "afd-tests"];

/// Features of `burn` that choose no backend.
const NEUTRAL_FEATURES: &[&str] = &["std", "autodiff", "extension", "optim"];

/// Associated functions of `Device` that choose a backend.
const CONSTRUCTORS: &[&str] = &[
    "new",
    "default",
    "enumerate",
    "enumerate_physical",
    "capture",
    "flex",
    "ndarray",
    "cpu",
    "cuda",
    "rocm",
    "libtorch",
    "libtorch_cuda",
    "libtorch_mps",
    "libtorch_vulkan",
    "wgpu",
    "wgpu_options",
    "vulkan",
    "metal",
    "webgpu",
    "remote",
    "remote_options",
];

const REMEDY: &str = "take a device from afd-backend, or add to afd-backend what is missing there";

fn named_in_manifest(from: &Crate) -> Vec<String> {
    if from.name == OWNER {
        return Vec::new();
    }
    let below_burn = |name: &str| {
        ["burn-", "cubecl", "torch-sys"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || ["tch", "wgpu"].contains(&name)
    };
    let dependencies = from.dependencies.iter();
    let crates = dependencies
        .clone()
        .filter(|dependency| below_burn(&dependency.name))
        .map(|dependency| format!("the dependency {}", dependency.name));
    let of_burn = dependencies
        .filter(|dependency| dependency.name == "burn")
        .flat_map(|dependency| dependency.features.iter().map(String::as_str));
    let switched_on = from.enabled.iter().filter_map(|value| {
        value
            .strip_prefix("burn/")
            .or_else(|| value.strip_prefix("burn?/"))
    });
    let features = of_burn
        .chain(switched_on)
        .filter(|feature| !NEUTRAL_FEATURES.contains(feature))
        .map(|feature| format!("burn's feature {feature}"));
    let of_owner = from.enabled.iter().filter(|value| {
        let owner = value.strip_prefix(OWNER);
        owner.is_some_and(|feature| feature.starts_with(['/', '?']))
            && !SWITCHING.contains(&from.name.as_str())
    });
    let switches = of_owner.map(|feature| format!("the feature {feature}"));
    crates
        .chain(features)
        .chain(switches)
        .map(|what| {
            format!(
                "{} names {what}: {REMEDY} (a feature that chooses no backend goes into \
                 NEUTRAL_FEATURES)",
                from.name
            )
        })
        .collect()
}

fn named_in_source(file: &TextFile) -> Vec<String> {
    if file.path.starts_with("crates/afd-backend/") {
        return Vec::new();
    }
    let code: String = file
        .text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    if names_backend_module(&code) {
        found.push("the module burn::".to_owned() + "backend");
    }
    for constructor in CONSTRUCTORS {
        let call = format!("Device::{constructor}");
        if contains_path(&code, &call) {
            found.push(call);
        }
    }
    found
        .into_iter()
        .map(|what| format!("{} names {what}: {REMEDY}", file.path))
        .collect()
}

/// Whether the path occurs as a whole: `Device::cpu` is not in `MyDevice::cpu_count`.
fn contains_path(code: &str, path: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(path).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        let after = code[start + path.len()..].chars().next();
        !before.is_some_and(in_word) && !after.is_some_and(in_word)
    })
}

/// Whether code names Burn's module of backends, by path or at the top of a `use burn::{…}` group.
fn names_backend_module(code: &str) -> bool {
    let dense: String = code.split_whitespace().collect();
    // Whitespace is gone, and with it the border between `use` and `burn`. The needle is in two
    // parts, because this file is searched as well.
    let module = ["burn::", "backend"].concat();
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    if dense
        .split(&module)
        .skip(1)
        .any(|rest| !rest.starts_with(in_word))
    {
        return true;
    }
    dense.match_indices("burn::{").any(|(start, group)| {
        let mut depth = 0;
        let mut item = String::new();
        for c in dense[start + group.len()..].chars() {
            match c {
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                '{' => depth += 1,
                ',' if depth == 0 => {
                    if item == "backend" {
                        return true;
                    }
                    item.clear();
                }
                ':' if item == "backend" => return true,
                _ if depth == 0 => item.push(c),
                _ => {}
            }
        }
        item == "backend"
    })
}

#[test]
fn no_other_manifest_names_a_backend() {
    let crates = crates();
    assert!(crates.iter().any(|found| found.name == OWNER));
    let violations: Vec<String> = crates.iter().flat_map(named_in_manifest).collect();
    assert_none(&violations);
}

/// xtask knows no crate of ours, and has to know the names of devices.
#[test]
fn xtask_tells_the_device_names_of_afd_backend() {
    let sources = rust_sources();
    let file = sources
        .iter()
        .find(|file| file.path == "xtask/src/backend.rs");
    let text = file.map_or("", |file| file.text.as_str());
    let told = format!("\"{}\"", afd_backend::device::GRAMMAR);
    assert!(text.contains(&told), "DEVICES is not {told}");
}

#[test]
fn no_other_source_names_a_backend() {
    let violations: Vec<String> = rust_sources().iter().flat_map(named_in_source).collect();
    assert_none(&violations);
}

#[test]
fn the_manifest_rule_sees_every_way_to_name_one() {
    let count = |dependency: &str, features: &[&str], enabled: &[&str]| {
        named_in_manifest(&made_up("afd-model", &[(dependency, features)], enabled)).len()
    };
    assert_eq!(count("burn", &["std", "flex"], &[]), 1);
    assert_eq!(count("burn", &["std"], &["burn/wgpu", "burn?/cuda"]), 2);
    assert_eq!(count("burn-tch", &[], &[]), 1);
    assert_eq!(count("tch", &[], &[]), 1);
    assert_eq!(count("cubecl-runtime", &[], &[]), 1);
    assert_eq!(count("wgpu", &[], &[]), 1);
    assert_eq!(count("burn", &["std"], &["afd-backend/flex"]), 1);
    assert_eq!(count("burn", &["std", "autodiff"], &[]), 0);
    let binary = made_up("afd", &[], &["afd-backend/flex"]);
    assert!(named_in_manifest(&binary).is_empty());
    let owner = made_up(OWNER, &[("burn-tch", &[])], &["burn/flex"]);
    assert!(named_in_manifest(&owner).is_empty());
}

#[test]
fn the_source_rule_sees_every_way_to_name_one() {
    let count_in = |path: &str, text: &str| {
        let file = TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        named_in_source(&file).len()
    };
    let count = |text: &str| count_in("crates/afd-model/src/lib.rs", text);
    let module = ["burn::", "backend"].concat();
    let group = |items: &str| format!("use {}{{{items}}};", "burn::");
    assert_eq!(count(&format!("use {module}::Flex;")), 1);
    assert_eq!(count(&group("\n    tensor::Tensor,\n    backend::Flex")), 1);
    assert_eq!(count(&group("module::{A, B}, backend")), 1);
    for constructor in CONSTRUCTORS {
        assert_eq!(count(&format!("let d = Device::{constructor}();")), 1);
    }
    assert_eq!(
        count(&["x.unwrap_or_else(Device::", "default)"].concat()),
        1
    );

    assert_eq!(count(&group("tensor::{Tensor, backend::Backend}")), 0);
    assert_eq!(count(&format!("// never {module}")), 0);
    assert_eq!(count("Device::cpu_count() + MyDevice::cpu()"), 0);
    let owner = "crates/afd-backend/src/device.rs";
    assert_eq!(count_in(owner, &format!("use {module}::Flex;")), 0);
}

//! Who may depend on whom. The table here is the one of `ARCHITECTURE.md`.

use crate::assert_none;
use crate::workspace::{Crate, crates, made_up};

const LIBRARIES: &[&str] = &[
    "afd-stage",
    "afd-stats",
    "afd-data",
    "afd-backend",
    "afd-model",
    "afd-train",
];

const EVERYTHING: &[&str] = &[
    "afd-stage",
    "afd-stats",
    "afd-data",
    "afd-backend",
    "afd-model",
    "afd-train",
    "afd-sft",
    "afd-reward",
    "afd-policy",
    "afd-eval",
    "afd-exact",
    "afd-hub",
    "afd-judge",
    "afd",
];

/// Crates that must compile, and be understood, without Burn.
const WITHOUT_BURN: &[&str] = &[
    "afd-stage",
    "afd-stats",
    "afd-data",
    "afd-exact",
    "afd-hub",
    "afd-judge",
    "xtask",
];

/// The crates that open network connections, and what opens them.
const NETWORK: (&[&str], &[&str]) = (
    &["afd-hub", "afd-judge"],
    &["ureq", "reqwest", "hyper", "hf-hub", "curl"],
);

/// The crates of ours that a crate may use; none for a crate that is not in the table.
fn may_use(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "afd-stage" | "afd-backend" | "afd-exact" | "afd-hub" | "xtask" => Some(&[]),
        "afd-stats" | "afd-data" => Some(&["afd-stage"]),
        "afd-model" | "afd-train" => Some(&["afd-backend"]),
        "afd-sft" | "afd-reward" | "afd-policy" | "afd-eval" | "afd-judge" => Some(LIBRARIES),
        "afd" | "afd-tests" => Some(EVERYTHING),
        _ => None,
    }
}

fn is_ours(name: &str) -> bool {
    name == "xtask" || name == "afd" || name.starts_with("afd-")
}

fn forbidden_edges(from: &Crate) -> Vec<String> {
    let Some(allowed) = may_use(&from.name) else {
        return vec![format!(
            "{} is not in the table: say what it may use in {} and in ARCHITECTURE.md",
            from.name,
            file!()
        )];
    };
    let ours = from.dependencies.iter().filter(|to| is_ours(&to.name));
    ours.filter(|to| !allowed.contains(&to.name.as_str()))
        .map(|to| {
            format!(
                "{} may not use {}: stages meet through artefacts on disk, and what two of them \
                 need belongs in a library below both",
                from.name, to.name
            )
        })
        .collect()
}

fn forbidden_burn(from: &Crate) -> Vec<String> {
    if !WITHOUT_BURN.contains(&from.name.as_str()) {
        return Vec::new();
    }
    let burn = |name: &str| name == "burn" || name.starts_with("burn-");
    let found = from.dependencies.iter().filter(|to| burn(&to.name));
    found
        .map(|to| {
            format!(
                "{} may not use {}: move what needs tensors to afd-model or afd-train",
                from.name, to.name
            )
        })
        .collect()
}

fn forbidden_network(from: &Crate) -> Vec<String> {
    let (owners, clients) = NETWORK;
    let found = from.dependencies.iter();
    found
        .filter(|to| !owners.contains(&from.name.as_str()) && clients.contains(&to.name.as_str()))
        .map(|to| {
            format!(
                "{} may not use {}: only {} open network connections",
                from.name,
                to.name,
                owners.join(" and ")
            )
        })
        .collect()
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let violations: Vec<String> = crates().iter().flat_map(forbidden_edges).collect();
    assert_none(&violations);
}

#[test]
fn two_crates_open_network_connections() {
    let violations: Vec<String> = crates().iter().flat_map(forbidden_network).collect();
    assert_none(&violations);
}

#[test]
fn what_is_to_build_quickly_knows_no_burn() {
    let crates = crates();
    for name in WITHOUT_BURN {
        assert!(crates.iter().any(|found| found.name == *name), "no {name}");
    }
    let violations: Vec<String> = crates.iter().flat_map(forbidden_burn).collect();
    assert_none(&violations);
}

#[test]
fn the_rules_see_bad_edges() {
    let uses = |from: &str, to: &str| forbidden_edges(&made_up(from, &[(to, &[])], &[])).len();
    assert_eq!(uses("afd-policy", "afd-reward"), 1);
    assert_eq!(uses("afd-model", "afd-train"), 1);
    assert_eq!(uses("afd-stage", "afd-data"), 1);
    assert_eq!(uses("afd-stats", "afd-data"), 1);
    assert_eq!(uses("afd-data", "afd-stats"), 1);
    assert_eq!(uses("afd-eval", "afd-stats"), 0);
    assert_eq!(uses("afd-eval", "afd"), 1);
    assert_eq!(uses("xtask", "afd-stage"), 1);
    assert_eq!(uses("afd-unheard-of", "serde"), 1);
    assert_eq!(uses("afd-policy", "afd-model"), 0);
    assert_eq!(uses("afd", "afd-eval"), 0);
    assert_eq!(uses("afd-stage", "serde"), 0);
    assert_eq!(uses("afd-hub", "afd-stage"), 1);
    assert_eq!(uses("afd-exact", "afd-stage"), 1);
    assert_eq!(uses("afd-sft", "afd-hub"), 1);
    assert_eq!(uses("afd", "afd-hub"), 0);

    let burn = |from: &str, to: &str| forbidden_burn(&made_up(from, &[(to, &[])], &[])).len();
    assert_eq!(burn("afd-data", "burn"), 1);
    assert_eq!(burn("afd-stats", "burn"), 1);
    assert_eq!(burn("xtask", "burn-core"), 1);
    assert_eq!(burn("afd-model", "burn"), 0);

    let net = |from: &str, to: &str| forbidden_network(&made_up(from, &[(to, &[])], &[])).len();
    assert_eq!(net("afd-data", "ureq"), 1);
    assert_eq!(net("afd-hub", "ureq"), 0);
    assert_eq!(net("afd-data", "serde"), 0);
}

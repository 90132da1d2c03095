//! What of a run's stages was spent on a policy alone.

use std::collections::BTreeSet;

use afd_stage::Manifest;

/// Tokens and seconds of the stages that make a policy, and of those of the policies it goes on from. What others
/// use too, rewards and stored answers, is nobody's own.
pub(crate) fn of_policy(name: &str, manifests: &[Manifest]) -> (u64, f64) {
    let mut stages = BTreeSet::new();
    behind(&format!("policy/{name}"), manifests, &mut stages);
    let own = manifests
        .iter()
        .filter(|manifest| stages.contains(&manifest.stage));
    own.fold((0, 0.0), |(tokens, seconds), manifest| {
        let cost = &manifest.cost;
        (tokens + cost.tokens, seconds + cost.seconds)
    })
}

fn behind(stage: &str, manifests: &[Manifest], stages: &mut BTreeSet<String>) {
    let own = stage.starts_with("policy/") || stage.starts_with("rounds/");
    if !own || !stages.insert(stage.to_owned()) {
        return;
    }
    let found = manifests.iter().find(|manifest| manifest.stage == stage);
    for input in found.into_iter().flat_map(|manifest| &manifest.inputs) {
        behind(&input.name, manifests, stages);
    }
}

//! One batch of fine-tuning and one of reward modelling against Hugging Face TRL's trainers.
//!
//! `crates/afd-model/testdata/trl/make.py` made the numbers; it says with which versions.

use std::{collections::BTreeMap, fs, path::PathBuf};

use afd_backend::device::test_device;
use afd_data::TokenRow;
use afd_model::{CausalLm, SequenceClassifier, parameter_names};
use afd_reward::{
    ObjectiveKind, PairLoss,
    objective::{Pair, PairObjective},
};
use afd_sft::NegativeLogLikelihood;
use afd_tests::{record, testdata};
use afd_train::Objective;
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::Gradients,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    sequences: Vec<Row>,
    sft: Step,
    reward: Step,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    prompt_len: usize,
}

#[derive(Deserialize)]
struct Step {
    base: String,
    loss: f64,
    gradients: BTreeMap<String, f64>,
}

fn expected() -> Expected {
    let text = fs::read_to_string(testdata().join("trl/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn model(name: &str) -> PathBuf {
    testdata().join("families").join(name)
}

impl Expected {
    fn rows(&self) -> Vec<TokenRow> {
        let row = |row: &Row| TokenRow {
            ids: row.ids.clone(),
            prompt_len: row.prompt_len,
            ..TokenRow::default()
        };
        self.sequences.iter().map(row).collect()
    }
}

/// The Euclidean norm of the gradient of each parameter, by name.
fn norms<M: Module>(model: &M, gradients: &Gradients) -> BTreeMap<String, f64> {
    struct Norms<'a>(&'a Gradients, Vec<f64>);
    impl ModuleVisitor for Norms<'_> {
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            let gradient = param.base().grad(self.0).unwrap();
            let norm = gradient.square().sum().sqrt().into_scalar::<f32>();
            self.1.push(f64::from(norm));
        }
    }
    let mut norms = Norms(gradients, Vec::new());
    model.visit(&mut norms);
    parameter_names(model).into_iter().zip(norms.1).collect()
}

/// Compares the mean loss of all examples and its gradients with a step of TRL's.
fn compare<M: Module>(
    what: &str,
    model: &M,
    objective: &impl Objective<M>,
    count: usize,
    step: &Step,
) {
    let examples: Vec<usize> = (0..count).collect();
    let weight: f64 = examples.iter().map(|&i| objective.weight(i)).sum();
    let loss = objective
        .loss_on(model, &examples, Some(0))
        .sum
        .div_scalar(weight);
    let value = f64::from(loss.clone().into_scalar::<f32>());
    record(&format!("{what}: loss"), (value - step.loss).abs(), 1e-4);
    let ours = norms(model, &loss.backward());
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        step.gradients.keys().collect::<Vec<_>>()
    );
    let difference = ours.iter().map(|(name, norm)| {
        let theirs = step.gradients[name];
        (norm - theirs).abs() / theirs.max(1.0)
    });
    record(
        &format!("{what}: gradients"),
        difference.fold(0.0, f64::max),
        1e-4,
    );
}

#[test]
fn a_batch_of_demonstrations_costs_what_it_does_in_trl() {
    let expected = expected();
    let placement = test_device().into();
    let model = CausalLm::load(&model(&expected.sft.base), &placement)
        .unwrap()
        .train();
    let objective = NegativeLogLikelihood {
        rows: expected.rows(),
        seed: 0,
    };
    compare("SFT in TRL", &model, &objective, 3, &expected.sft);
}

#[test]
fn a_batch_of_pairs_costs_what_it_does_in_trl() {
    let expected = expected();
    let placement = test_device().into();
    let dir = model(&expected.reward.base);
    let model = SequenceClassifier::load(&dir, 0, &placement)
        .unwrap()
        .train();
    let rows = expected.rows();
    let pair = |i: usize| Pair {
        chosen: rows[i].clone(),
        rejected: rows[(i + 1) % rows.len()].clone(),
    };
    let objective = PairObjective {
        pairs: (0..rows.len()).map(pair).collect(),
        loss: PairLoss::plain(ObjectiveKind::BradleyTerry),
        seed: 0,
    };
    compare(
        "reward model in TRL",
        &model,
        &objective,
        3,
        &expected.reward,
    );
}

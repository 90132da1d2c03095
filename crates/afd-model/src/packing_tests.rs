//! Several sequences in one row of a micro-batch: the numbers and gradients of each by itself.

use afd_backend::device::{repeats_bits, test_device};
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::Gradients,
};

use crate::{
    CausalLm, Head, Padded, Sequence, Side,
    families_tests::{dir, names},
    tests::{assert_close, host, model},
};

/// Largest difference between numbers computed twice on one device, by other batches.
const SAME: f32 = 1e-5;

/// Largest difference of a parameter's gradient from that of unpacked sequences, as a share of its
/// largest number; of one that is nothing but rounding, as the bias of keys is, of [`FLOOR`].
const GRADIENT: f32 = 1e-4;
const FLOOR: f32 = 0.1;

/// Lengths of sequences of which four fill two rows of 20, longer than any window, and one a third.
const LENGTHS: [usize; 5] = [13, 20, 9, 6, 8];

fn texts() -> Vec<Vec<u32>> {
    let text = |(k, length): (usize, usize)| {
        let ids = (0..length).map(|i| ((7 * i + 5 * k + 3) % 23 + 1) as u32);
        ids.collect()
    };
    LENGTHS.into_iter().enumerate().map(text).collect()
}

fn sequences(texts: &[Vec<u32>]) -> Vec<Sequence<'_>> {
    let sequence = |(k, ids)| Sequence { ids, prompt_len: k };
    texts
        .iter()
        .map(Vec::as_slice)
        .enumerate()
        .map(sequence)
        .collect()
}

/// Log-probabilities of each sequence in a forward pass of its own.
fn unpacked(model: &CausalLm, sequences: &[Sequence<'_>]) -> Tensor<1> {
    let each = sequences.iter();
    let each = each.map(|sequence| model.log_probs(&[*sequence], Side::Right));
    Tensor::cat(each.collect(), 0)
}

/// The gradient of every parameter for a sum of these log-probabilities that weighs each otherwise.
fn gradients(model: &CausalLm, log_probs: Tensor<1>) -> Vec<Vec<f32>> {
    struct Collect<'a>(&'a Gradients, Vec<Vec<f32>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            self.1.push(host(param.base().grad(self.0).unwrap()));
        }
    }
    let weights: Vec<f32> = (0..log_probs.dims()[0])
        .map(|i| 1.0 + (i % 5) as f32)
        .collect();
    let weights = Tensor::<1>::from_data(weights.as_slice(), &log_probs.device().inner());
    let gradients = (log_probs * weights).sum().backward();
    let mut collect = Collect(&gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}

#[test]
fn packed_sequences_have_the_log_probs_and_gradients_of_each_alone() {
    let texts = texts();
    let sequences = sequences(&texts);
    let rows: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for name in names(Head::LanguageModel) {
        let model = CausalLm::load(&dir(&name), &test_device().into()).unwrap();
        let kept = model.config().kept_by_a_layer();
        let packed = Padded::packed(&rows, kept);
        assert_eq!(packed.shape, [3, 20], "{name}");
        let model = model.train();
        let together = model.log_probs(&sequences, Side::Right);
        let alone = unpacked(&model, &sequences);
        assert_close(&host(together.clone()), &host(alone.clone()), SAME);
        let (together, alone) = (gradients(&model, together), gradients(&model, alone));
        for (ours, expected) in together.iter().zip(&alone) {
            let size = expected
                .iter()
                .fold(FLOOR, |size: f32, g| size.max(g.abs()));
            assert_close(ours, expected, GRADIENT * size);
        }
    }
}

#[test]
fn a_sequence_does_not_hear_of_its_neighbours_in_a_row() {
    for name in names(Head::LanguageModel) {
        let model = CausalLm::load(&dir(&name), &test_device().into()).unwrap();
        let mut texts = texts();
        let before = model.log_probs(&sequences(&texts), Side::Right);
        // The one that shares its row with the fourth, which stands behind it.
        texts[0].iter_mut().for_each(|id| *id = *id % 23 + 1);
        let after = model.log_probs(&sequences(&texts), Side::Right);
        let (before, after) = (host(before), host(after));
        let own = sequences(&texts)[0].targets();
        assert_ne!(before[..own], after[..own], "{name}");
        assert_close(&before[own..], &after[own..], 1e-6);
    }
}

#[test]
fn what_scores_by_micro_batches_packs_as_training_does() {
    let texts = texts();
    let sequences = sequences(&texts);
    let model = model();
    // 13 and 6 fit into a row beside 20.
    let batches = [vec![1, 0, 3], vec![2, 4]];
    let of = |batch: &[usize]| -> Vec<&[u32]> { batch.iter().map(|&i| &texts[i][..]).collect() };
    let packed = Padded::packed(&of(&batches[0]), 1000);
    assert_eq!(packed.shape, [2, 20]);
    let scored = model.score_log_probs_in(&sequences, &batches).unwrap();
    let model = model.train();
    for batch in &batches {
        let rows: Vec<Sequence<'_>> = batch.iter().map(|&i| sequences[i]).collect();
        let trained = host(model.log_probs(&rows, Side::Right));
        let scored: Vec<f32> = batch.iter().flat_map(|&i| scored[i].clone()).collect();
        match repeats_bits(&test_device()) {
            true => assert_eq!(trained, scored),
            false => assert_close(&trained, &scored, SAME),
        }
    }
}

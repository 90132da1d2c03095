//! Models that compute in half precision against themselves in f32, where the device can.

use afd_backend::{
    DeviceError, Dtype, Placement, Precision,
    device::{supports, test_device, test_name},
};
use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::{FloatDType, Gradients},
};

use crate::{
    CausalLm, GenerationRequest, Pretrained, SamplingParams, SaveOptions, Sequence,
    SequenceClassifier, Side, Stop, generate, never,
    tests::{assert_close, config, host, sequences},
};

/// Largest difference of a log-probability from that in f32, in nats. A product in bf16 is off
/// by up to 1/256 of its size, logits here are up to 10 in size.
const BOUND: f32 = 0.15;

/// Largest difference in nats between log-probabilities of the same answer, decoded with a cache
/// and read at once: the same numbers, rounded in the same places, but added in another order,
/// which moves some of them to the next number that 16 bits hold.
const SAME: f32 = 0.05;

/// Placements in the types of half precision this device computes in: over f32 weights, and pure.
fn placements() -> Vec<Placement> {
    let dtypes = [Dtype::Bf16, Dtype::F16].into_iter();
    let supported = dtypes.filter(|dtype| supports(&test_device(), (*dtype).into()).is_ok());
    supported
        .flat_map(|compute| [Dtype::F32, compute].map(|params| Precision { params, compute }))
        .map(|precision| Placement::open(&test_name(), precision).unwrap())
        .collect()
}

fn language_model(placement: &Placement) -> CausalLm {
    CausalLm::init(config(false), 11, placement).unwrap()
}

/// One whose head is its embedding.
fn tied_model(placement: &Placement) -> CausalLm {
    CausalLm::init(config(true), 11, placement).unwrap()
}

#[test]
fn a_type_the_device_does_not_compute_in_is_refused_with_the_reason() {
    for dtype in [Dtype::Bf16, Dtype::F16] {
        let precision = Precision {
            params: Dtype::F32,
            compute: dtype,
        };
        let supported = supports(&test_device(), dtype.into());
        match (Placement::open(&test_name(), precision), supported) {
            (Ok(placement), Ok(())) => assert_eq!(placement.compute(), dtype.into()),
            (Err(DeviceError::Dtype { reason, .. }), Err(why)) => assert_eq!(reason, why),
            (placement, supported) => panic!("{placement:?}, but {supported:?}"),
        }
    }
}

#[test]
fn log_probs_and_their_mean_are_close_to_those_in_f32() {
    let exact = language_model(&test_device().into());
    let exact = host(exact.log_probs(&sequences(), Side::Right));
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    for placement in placements() {
        for placement in [placement.for_training(), placement] {
            let model = language_model(&placement);
            for side in [Side::Right, Side::Left] {
                let found = model.log_probs(&sequences(), side);
                assert_eq!(found.dtype(), FloatDType::F32.into());
                let found = host(found);
                assert_close(&found, &exact, BOUND);
                let share = mean(&found) / mean(&exact);
                assert!((share - 1.0).abs() < 0.02, "{placement:?}: {share}");
                assert_ne!(found, exact, "{placement:?} made no difference");
            }
        }
    }
}

#[test]
fn decoding_gives_the_log_probs_of_scoring() {
    for placement in placements() {
        let model = language_model(&placement);
        let request = GenerationRequest {
            prompt_ids: vec![3, 9, 4],
            seeds: vec![1, 2, 3, 4],
        };
        let stop = Stop {
            ids: &[],
            text: &never,
        };
        let params = SamplingParams::unmodified(12);
        let answers = generate(&model, &[&request], 64, &params, &stop).unwrap();
        for answer in &answers[0] {
            let ids = [request.prompt_ids.as_slice(), &answer.ids].concat();
            let sequence = Sequence {
                ids: &ids,
                prompt_len: 3,
            };
            let scored = host(model.log_probs(&[sequence], Side::Right));
            assert_close(&answer.log_probs, &scored, SAME);
        }
    }
}

#[test]
fn gradients_are_f32_and_point_where_those_in_f32_do() {
    let size = |numbers: &[f32]| numbers.iter().map(|n| n * n).sum::<f32>().sqrt();
    for (placement, init) in placements().into_iter().flat_map(|placement| {
        let models: [fn(&Placement) -> CausalLm; 2] = [language_model, tied_model];
        models.map(|init| (placement.clone(), init))
    }) {
        let exact = gradients(&init(&test_device().into()));
        let model = init(&placement.for_training());
        let found = gradients(&model);
        let weighted = weighted_gradients(&model);
        let off = found
            .iter()
            .zip(&weighted)
            .map(|(a, b)| a - b)
            .collect::<Vec<_>>();
        assert!(size(&off) < 0.02 * size(&found), "{placement:?}, weighted");
        let difference: Vec<f32> = found.iter().zip(&exact).map(|(a, b)| a - b).collect();
        let share = size(&difference) / size(&exact);
        assert!(
            share < 0.05,
            "{placement:?}: off by {share} of the gradient"
        );
    }
}

/// The gradients of all parameters, one after the other.
fn gradients(model: &CausalLm) -> Vec<f32> {
    let model = model.clone().train();
    collect(
        &model,
        model.log_probs(&sequences(), Side::Right).sum().neg(),
    )
}

/// The same by the loss whose gradient comes with its value.
fn weighted_gradients(model: &CausalLm) -> Vec<f32> {
    let model = model.clone().train();
    let count = sequences().iter().map(|row| row.targets()).sum();
    let weights = vec![-1.0; count];
    let collator = model.config().collator();
    let batch = collator.predictors(&sequences(), Side::Right);
    collect(&model, model.weighted_log_probs(batch, &weights))
}

fn collect(model: &CausalLm, loss: Tensor<1>) -> Vec<f32> {
    struct Collect<'a>(&'a Gradients, Vec<f32>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
            let gradient = param.base().grad(self.0).unwrap();
            assert_eq!(gradient.dtype(), FloatDType::F32.into());
            self.1.extend(host(gradient));
        }
    }
    let gradients = loss.backward();
    let mut collect = Collect(&gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}

#[test]
fn answers_that_share_their_prompt_have_the_log_probs_of_each_alone() {
    let texts: Vec<Vec<u32>> = (0..12u32)
        .map(|answer| {
            (0..20)
                .chain((0..5).map(|i| (3 * answer + i) % 23 + 1))
                .collect()
        })
        .collect();
    let rows: Vec<Sequence<'_>> = texts
        .iter()
        .map(|ids| Sequence {
            ids,
            prompt_len: 20,
        })
        .collect();
    for placement in placements() {
        for placement in [placement.for_training(), placement] {
            let model = language_model(&placement);
            let found = model.score_log_probs(&rows, 16).unwrap().concat();
            assert_close(&found, &host(model.log_probs(&rows, Side::Right)), SAME);
            let tracked = model.train().score_log_probs(&rows, 16).unwrap();
            assert_close(&found, &tracked.concat(), SAME);
        }
    }
}

#[test]
fn what_is_trained_gives_the_log_probs_of_what_is_read() {
    for placement in placements() {
        let read = language_model(&placement);
        let trained = language_model(&placement.for_training()).train();
        let found = host(trained.log_probs(&sequences(), Side::Right).inner());
        // Embeddings and norms in 16 bits are other weights.
        let bound = match placement.precision().params {
            Dtype::F32 => SAME,
            _ => BOUND,
        };
        assert_close(
            &found,
            &host(read.log_probs(&sequences(), Side::Right)),
            bound,
        );
    }
}

#[test]
fn a_model_in_half_precision_is_saved_and_read_again() {
    for placement in placements() {
        let dir = tempfile::tempdir().unwrap();
        let model = language_model(&placement);
        model.save(dir.path(), SaveOptions::default()).unwrap();
        let again = CausalLm::load(dir.path(), &placement).unwrap();
        let log_probs = |model: &CausalLm| host(model.log_probs(&sequences(), Side::Right));
        assert_eq!(log_probs(&again), log_probs(&model));
    }
}

#[test]
fn rewards_are_f32_and_close_to_those_in_f32() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Placement::from(test_device());
    language_model(&plain)
        .save(dir.path(), SaveOptions::default())
        .unwrap();
    let scores = |placement: &Placement| {
        let model = SequenceClassifier::load(dir.path(), 5, placement).unwrap();
        model.scores(&sequences())
    };
    let exact = host(scores(&plain));
    for placement in placements() {
        let found = scores(&placement);
        assert_eq!(found.dtype(), FloatDType::F32.into());
        assert_close(&host(found), &exact, BOUND);
    }
}

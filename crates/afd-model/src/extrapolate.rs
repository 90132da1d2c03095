//! One model's weights, taken further along the way they came from another's.

use std::collections::HashMap;

use afd_backend::Dtype;
use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::FloatDType,
};
use serde_json::Value;

use crate::{CausalLm, Error, Head, Pretrained};

/// The policy whose weights lie beyond those of `policy` as seen from `initial`.
///
/// Formula: `theta + a (theta − theta_0)` for each parameter, computed in f32, with `a` the
/// `strength`: 0 is `policy` itself to the bit, −1 is `initial`, between them lie averages of the two.
///
/// Source: Zheng et al., *Weak-to-Strong Extrapolation Expedites Alignment* (ExPO), arXiv 2404.16792.
///
/// Departures: none; all parameters are extrapolated, embeddings and norms among them. Adapters are
/// merged first.
///
/// # Errors
/// [`Error::Shapes`] when the two do not have the parameters of one shape, [`Error::Sampling`] on a
/// strength that is no number.
pub fn extrapolate_weights(
    policy: CausalLm,
    initial: CausalLm,
    strength: f64,
) -> Result<CausalLm, Error> {
    if !strength.is_finite() {
        return Err(Error::Sampling {
            key: "strength",
            found: strength.to_string(),
            expected: "a finite number",
        });
    }
    check_shapes(&policy, &initial)?;
    let [policy, initial] = [policy, initial].map(merged);
    let mut origin = Origin(HashMap::new());
    initial.visit(&mut origin);
    Ok(policy.map(&mut Beyond {
        origin: origin.0,
        strength,
    }))
}

fn merged(model: CausalLm) -> CausalLm {
    match model.model.adapters() {
        Some(_) => model.merge_and_unload(),
        None => model,
    }
}

/// What two models of one shape may differ in: nothing that numbers flow through.
const FREE: [&str; 6] = [
    "architectures",
    "bos_token_id",
    "eos_token_id",
    "initializer_range",
    "pad_token_id",
    "use_cache",
];

fn check_shapes(policy: &CausalLm, initial: &CausalLm) -> Result<(), Error> {
    let [own, other] = [policy, initial].map(|model| {
        let json = model.config().to_json(Head::LanguageModel, Dtype::F32);
        json.as_object().cloned().unwrap_or_default()
    });
    let shaping = |key: &&String| !FREE.contains(&key.as_str());
    let mut keys = own.keys().chain(other.keys()).filter(shaping);
    match keys.find(|key| own.get(*key) != other.get(*key)) {
        None => Ok(()),
        Some(key) => {
            let told = |value: Option<&Value>| value.unwrap_or(&Value::Null).to_string();
            Err(Error::Shapes {
                own: told(own.get(key)),
                other: told(other.get(key)),
                key: key.clone(),
            })
        }
    }
}

/// The parameters the way begins at, flat.
struct Origin(HashMap<ParamId, Tensor<1>>);

impl ModuleVisitor for Origin {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        let value = param.base().inner();
        let count = value.dims().iter().product::<usize>();
        self.0.insert(param.id, value.reshape([count]));
    }
}

/// Moves each parameter `strength` times its way from the origin.
struct Beyond {
    origin: HashMap<ParamId, Tensor<1>>,
    strength: f64,
}

impl ModuleMapper for Beyond {
    fn map_float<const R: usize>(&mut self, param: Param<Tensor<R>>) -> Param<Tensor<R>> {
        // Models of one shape have the same parameters.
        let Some(origin) = self.origin.remove(&param.id) else {
            return param;
        };
        let strength = self.strength;
        param.map(|tensor| {
            let held = tensor.dtype();
            let value = tensor.cast(FloatDType::F32);
            let origin = origin.reshape(value.dims()).cast(FloatDType::F32);
            let way = (value.clone() - origin).mul_scalar(strength);
            (value + way).cast(held)
        })
    }
}

#[cfg(test)]
mod tests {
    use afd_backend::device::test_device;

    use super::*;
    use crate::{
        DecoderConfig,
        tests::{assert_close, config, host, model},
    };

    fn init(config: DecoderConfig, seed: u64) -> CausalLm {
        CausalLm::init(config, seed, &test_device().into()).unwrap()
    }

    /// All parameters, one after the other.
    fn parameters(model: &CausalLm) -> Vec<f32> {
        struct All(Vec<f32>);
        impl ModuleVisitor for All {
            fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
                self.0.extend(host(param.base()));
            }
        }
        let mut all = All(Vec::new());
        model.visit(&mut all);
        all.0
    }

    #[test]
    fn every_parameter_goes_on_by_its_own_difference() {
        for tied in [true, false] {
            let (policy, initial) = (init(config(tied), 11), init(config(tied), 12));
            let (p, i) = (parameters(&policy), parameters(&initial));
            for strength in [0.5, 2.0, -0.25] {
                let beyond =
                    extrapolate_weights(policy.clone(), initial.clone(), strength).unwrap();
                let pairs = p.iter().zip(&i).map(|(p, i)| p + strength as f32 * (p - i));
                let expected: Vec<f32> = pairs.collect();
                assert_close(&parameters(&beyond), &expected, 1e-6);
            }
        }
    }

    #[test]
    fn the_ends_of_the_way_are_the_two_models() {
        let (policy, initial) = (model(), init(config(true), 12));
        let at = |strength| {
            parameters(&extrapolate_weights(policy.clone(), initial.clone(), strength).unwrap())
        };
        assert_eq!(at(0.0), parameters(&policy));
        assert_close(&at(-1.0), &parameters(&initial), 1e-6);
        // A way of no length leads nowhere.
        let nowhere = extrapolate_weights(policy.clone(), policy.clone(), 3.0).unwrap();
        assert_eq!(parameters(&nowhere), parameters(&policy));
    }

    #[test]
    fn adapters_count_as_what_they_make_of_the_weights() {
        let lora = crate::lora_tests::lora(&["q_proj", "down_proj"]);
        let adapted = init(config(true), 12).with_lora(&lora, "base", 7).unwrap();
        let beyond = extrapolate_weights(model(), adapted, 1.0).unwrap();
        let plain = extrapolate_weights(model(), init(config(true), 12), 1.0).unwrap();
        assert!(beyond.model.adapters().is_none());
        // Fresh adapters change nothing.
        assert_close(&parameters(&beyond), &parameters(&plain), 1e-6);
    }

    #[test]
    fn other_shapes_are_refused_by_their_key_and_other_end_tokens_are_not() {
        let wider = DecoderConfig {
            intermediate_size: 21,
            ..config(true)
        };
        let refused = extrapolate_weights(model(), init(wider, 1), 1.0).unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains("`intermediate_size` 20") && message.contains("21"),
            "{message}"
        );
        let ends = DecoderConfig {
            eos_token_ids: vec![0, 5],
            pad_token_id: None,
            ..config(true)
        };
        let beyond = extrapolate_weights(model(), init(ends, 1), 1.0).unwrap();
        assert_eq!(beyond.config().eos_token_ids, [0]);
        assert!(matches!(
            extrapolate_weights(model(), model(), f64::INFINITY),
            Err(Error::Sampling { .. })
        ));
    }
}

//! Whole stages on the base checkpoint: shards, guided and sharpened answers, and what is refused.

mod blocks;

use std::{path::PathBuf, sync::Arc};

use afd_backend::device::test_device;
use afd_data::records::Example;
use afd_model::{Pretrained, SaveOptions};
use afd_stage::{Quiet, RunDir};

use super::*;
use crate::ExtrapolateConfig;

const PROMPTS: [&str; 8] = [
    "a",
    "b",
    "How are you?",
    "c",
    "d",
    "Who is?",
    "e",
    "And where were you then?",
];

const SHORT: SampleConfig = SampleConfig {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    max_completion_length: 3,
    stop_strings: Vec::new(),
    generation_batch_size: 4,
};

fn base() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/base")
}

/// A temporary directory with prompts and a second policy, of the base's shape, near it.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Self { dir };
        fixture.prompts("prompts.jsonl", &PROMPTS);
        let host = test_device().into();
        let near = CausalLm::load(&base(), &host).unwrap();
        let far = CausalLm::init(near.config().clone(), 5, &host).unwrap();
        let near = afd_model::extrapolate_weights(near, far, -0.1).unwrap();
        std::fs::create_dir(fixture.near()).unwrap();
        near.save(&fixture.near(), SaveOptions::default()).unwrap();
        let tokenizer = Tokenizer::open(&base(), DialogueForm::Hh).unwrap();
        tokenizer.save(&fixture.near()).unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn near(&self) -> PathBuf {
        self.path("near")
    }

    fn prompts(&self, name: &str, prompts: &[&str]) -> PathBuf {
        let mut writer = JsonlWriter::create(&self.path(name)).unwrap();
        for prompt in prompts {
            let example = Example {
                prompt: format!("\n\nHuman: {prompt}\n\nAssistant:"),
                completion: None,
                chosen: None,
                rejected: None,
                messages: Vec::new(),
                source: "test".into(),
            };
            writer.write(&example).unwrap();
        }
        writer.finish().unwrap();
        self.path(name)
    }

    /// Answers of the base, led away from the other by `strength` if there is one.
    fn drawn(&self, config: &SampleConfig, strength: Option<f64>) -> String {
        let (model, near, prompts) = (base(), self.near(), self.path("prompts.jsonl"));
        let inputs = SampleInputs {
            away_from: strength.map(|strength| (near.as_path(), strength)),
            ..inputs(&model, &prompts)
        };
        self.stage(|ctx| {
            run(
                config,
                &inputs,
                Part::Whole(&[]),
                &test_device().into(),
                ctx,
            )
        })
        .unwrap()
    }

    /// What a stage leaves in its file of answers, or what it failed with.
    fn stage(
        &self,
        body: impl FnOnce(&StageContext) -> Result<(), Error>,
    ) -> Result<String, String> {
        let mut run = RunDir::open(&self.path("run"), 3, Arc::new(Quiet)).unwrap();
        run.force("samples");
        let artifact = run
            .stage("samples", 1, &(), &[], body)
            .map_err(|error| std::error::Error::source(&error).unwrap().to_string())?;
        let read = |name: &str| std::fs::read_to_string(artifact.file(name)).ok();
        Ok(read(SAMPLES).or_else(|| read(BATCHES)).unwrap_or_default())
    }

    /// The file of a shard of the base's answers.
    fn shard(&self, shard: &str, prompts: &Path) -> PathBuf {
        let (model, placement) = (base(), test_device().into());
        let inputs = inputs(&model, prompts);
        self.shard_by(shard, |part, ctx| {
            run(&SHORT, &inputs, part, &placement, ctx)
        })
    }

    /// The file of a shard of what `draw` draws.
    fn shard_by(
        &self,
        shard: &str,
        draw: impl FnOnce(Part<'_>, &StageContext) -> Result<(), Error>,
    ) -> PathBuf {
        let shard: Shard = shard.parse().unwrap();
        let run = RunDir::open(&self.path("run"), 3, Arc::new(Quiet)).unwrap();
        let seed = run.stage_seed("samples");
        drop(run);
        let batches = self
            .stage(|ctx| draw(Part::Shard(shard, seed), ctx))
            .unwrap();
        let path = self.path(&format!("{shard}.jsonl"));
        std::fs::write(&path, batches).unwrap();
        path
    }
}

fn inputs<'a>(model: &'a Path, prompts: &'a Path) -> SampleInputs<'a> {
    SampleInputs {
        model,
        away_from: None,
        prompts,
        num_generations: 2,
        form: DialogueForm::Hh,
    }
}

fn rows(text: &str) -> Vec<Sample> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The mean over answers of `log sampler − log policy`.
fn kl(samples: &[Sample]) -> f64 {
    let of = |sample: &Sample| -> f64 {
        let pairs = sample.sampler_logprobs().iter().zip(&sample.logprobs);
        pairs.map(|(s, p)| f64::from(*s) - f64::from(*p)).sum()
    };
    samples.iter().map(of).sum::<f64>() / samples.len() as f64
}

#[test]
fn merged_shards_are_the_unsharded_file_byte_by_byte() {
    let fixture = Fixture::new();
    let whole = fixture.drawn(&SHORT, None);
    let (model, prompts) = (base(), fixture.path("prompts.jsonl"));
    let shards: Vec<PathBuf> = ["1/3", "2/3", "3/3"]
        .map(|shard| fixture.shard(shard, &prompts))
        .into();
    let batches: usize = shards
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap().lines().count())
        .sum();
    assert!(batches >= 3, "{batches} batches are hardly worth sharding");
    // All of them; one that never came back; shards of two plans that overlap.
    let others: Vec<PathBuf> = ["1/2", "2/2"]
        .map(|shard| fixture.shard(shard, &prompts))
        .into();
    let overlapping = [&shards[1..], &others[..1]].concat();
    for shards in [&shards[..], &shards[..2], &overlapping] {
        let inputs = inputs(&model, &prompts);
        let merged = fixture
            .stage(|ctx| {
                run(
                    &SHORT,
                    &inputs,
                    Part::Whole(shards),
                    &test_device().into(),
                    ctx,
                )
            })
            .unwrap();
        assert!(merged == whole);
    }
}

#[test]
fn answers_to_a_prompt_that_are_drawn_apart_come_together_in_order() {
    let fixture = Fixture::new();
    let apart = SampleConfig {
        generation_batch_size: 1,
        ..SHORT
    };
    let known = |text: String| -> Vec<_> {
        let row = |row: Sample| (row.prompt, row.index, row.completion_ids);
        rows(&text).into_iter().map(row).collect()
    };
    let whole = known(fixture.drawn(&SHORT, None));
    assert_eq!(whole.len(), 2 * PROMPTS.len());
    assert_eq!(known(fixture.drawn(&apart, None)), whole);
}

#[test]
fn a_shard_of_other_prompts_is_refused() {
    let fixture = Fixture::new();
    let other = fixture.prompts("other.jsonl", &["x", "y", "z"]);
    let shard = [fixture.shard("1/1", &other)];
    let (model, prompts) = (base(), fixture.path("prompts.jsonl"));
    let inputs = inputs(&model, &prompts);
    let refused = fixture.stage(|ctx| {
        run(
            &SHORT,
            &inputs,
            Part::Whole(&shard),
            &test_device().into(),
            ctx,
        )
    });
    let message = refused.unwrap_err();
    assert!(message.contains("1-of-1.jsonl is no part"), "{message}");
}

#[test]
fn answers_led_away_from_a_policy_by_nothing_are_its_own() {
    let fixture = Fixture::new();
    let own = fixture.drawn(&SHORT, None);
    assert!(own == fixture.drawn(&SHORT, Some(0.0)));
    assert!(!own.contains("sampler_logprobs"));
    let guided = rows(&fixture.drawn(&SHORT, Some(4.0)));
    // Both log-probs are stored: those of the policy, and those of what drew.
    assert!(guided.iter().any(|row| row.sampler_logprobs.is_some()));
    let tokens = |row: &Sample| row.sampler_logprobs().len() == row.completion_ids.len();
    assert!(guided.iter().all(tokens));
    assert!(kl(&guided).is_finite() && kl(&guided) != 0.0);
}

#[test]
fn sharpened_answers_say_how_far_they_are_from_the_policy() {
    let fixture = Fixture::new();
    let sharp = |temperature| SampleConfig {
        temperature,
        ..SHORT
    };
    let [warm, cold] = [0.8, 0.3].map(|t| rows(&fixture.drawn(&sharp(t), None)));
    assert!(kl(&cold) > kl(&warm), "{} {}", kl(&cold), kl(&warm));
    // At temperature 0 it is the surprise of the policy itself.
    let best = rows(&fixture.drawn(&sharp(0.0), None));
    for row in &best {
        assert!(row.sampler_logprobs().iter().all(|log| *log == 0.0));
    }
}

#[test]
fn policies_of_two_vocabularies_are_refused_by_name() {
    let fixture = Fixture::new();
    let path = fixture.near().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Two tokens change places.
    let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
    let mut names = vocabulary.keys().cloned().rev();
    let (a, b) = (names.next().unwrap(), names.next().unwrap());
    drop(names);
    let (first, second) = (vocabulary[&a].clone(), vocabulary[&b].clone());
    vocabulary[&a] = second;
    vocabulary[&b] = first;
    std::fs::write(&path, json.to_string()).unwrap();

    let (model, near, prompts) = (base(), fixture.near(), fixture.path("prompts.jsonl"));
    let inputs = SampleInputs {
        away_from: Some((&near, 1.0)),
        ..inputs(&model, &prompts)
    };
    let drawn = fixture.stage(|ctx| {
        run(
            &SHORT,
            &inputs,
            Part::Whole(&[]),
            &test_device().into(),
            ctx,
        )
    });
    let weights = fixture.stage(|ctx| {
        let config = ExtrapolateConfig { strength: 1.0 };
        let (form, save) = (DialogueForm::Hh, SaveOptions::default());
        crate::extrapolate::run(&config, &model, &near, form, save, ctx)
    });
    for refused in [drawn, weights] {
        let cause = refused.unwrap_err();
        for name in ["assets/base", "near", "tokenizers"] {
            assert!(cause.contains(name), "{cause}");
        }
    }
}

#[test]
fn extrapolated_weights_are_a_policy_of_their_own() {
    let fixture = Fixture::new();
    let (model, near) = (base(), fixture.near());
    let run = RunDir::open(&fixture.path("weights"), 3, Arc::new(Quiet)).unwrap();
    let at = |name: &str, strength: f64| {
        let config = ExtrapolateConfig { strength };
        let body = |ctx: &StageContext| {
            let (form, save) = (DialogueForm::Hh, SaveOptions::default());
            crate::extrapolate::run(&config, &model, &near, form, save, ctx)
        };
        run.stage(name, 1, &config, &[], body).unwrap()
    };
    // At strength 0 its answers are those of the policy itself.
    let prompts = fixture.path("prompts.jsonl");
    let answers = |model: &Path| {
        let inputs = inputs(model, &prompts);
        let placement = test_device().into();
        fixture
            .stage(|ctx| super::run(&SHORT, &inputs, Part::Whole(&[]), &placement, ctx))
            .unwrap()
    };
    assert!(answers(at("none", 0.0).path()) == answers(&model));
    assert!(answers(at("far", 3.0).path()) != answers(&model));
}

#[test]
fn weights_of_two_shapes_are_refused_by_name() {
    let fixture = Fixture::new();
    let host = test_device().into();
    let mut shape = CausalLm::load(&base(), &host).unwrap().config().clone();
    shape.num_hidden_layers += 1;
    let deeper = CausalLm::init(shape, 5, &host).unwrap();
    deeper
        .save(&fixture.near(), SaveOptions::default())
        .unwrap();
    let (model, near) = (base(), fixture.near());
    let refused = fixture.stage(|ctx| {
        let config = ExtrapolateConfig { strength: 1.0 };
        let (form, save) = (DialogueForm::Hh, SaveOptions::default());
        crate::extrapolate::run(&config, &model, &near, form, save, ctx)
    });
    let cause = refused.unwrap_err();
    for part in ["assets/base", "near", "`num_hidden_layers`"] {
        assert!(cause.contains(part), "{cause}");
    }
}

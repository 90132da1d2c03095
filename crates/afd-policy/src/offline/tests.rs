//! The stage on a model small enough for a test: what it leaves, what it refuses, and a kill.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use afd_backend::device::{repeats_bits, test_device};
use afd_data::{
    DialogueForm, Tokenizer,
    records::{Example, JsonlWriter, Sample, Scores},
};
use afd_model::{
    AllLinear, CausalLm, DecoderConfig, LoraConfig, Pretrained, SaveOptions, TargetModules,
};
use afd_stage::{Event, Observer, Quiet, RunDir, StageError};
use afd_train::{SchedulerType, TrainConfig};
use serde::Serialize;
use serde_json::Value;

use super::*;

/// Prompts in the files, and stored answers to each.
const PROMPTS: usize = 8;
const ANSWERS: u32 = 4;

/// A policy, answers of it, scores of these and demonstrations.
struct World {
    dir: tempfile::TempDir,
}

fn lines<T: Serialize>(path: &Path, rows: impl IntoIterator<Item = T>) {
    let mut writer = JsonlWriter::create(path).unwrap();
    rows.into_iter().for_each(|row| writer.write(&row).unwrap());
    writer.finish().unwrap();
}

fn prompt(number: usize) -> String {
    format!("\n\nHuman: {number}?\n\nAssistant:")
}

/// Ids of an answer: letters, so that it has a text, and the end token.
fn letters(prompt: usize, index: u32) -> Vec<u32> {
    let letter = |t: u32| 67 + (7 * prompt as u32 + 3 * index + t * t) % 24;
    let words = 1 + (index + prompt as u32) % 3;
    (0..words).map(letter).chain([0]).collect()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { dir };
        let model = world.path("model");
        fs::create_dir(&model).unwrap();
        let texts = (0..PROMPTS).map(prompt).collect::<Vec<_>>();
        let tokenizer = Tokenizer::train_bpe(texts.into_iter(), 270, &model).unwrap();
        let config = DecoderConfig {
            vocab_size: tokenizer.vocab_size(),
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            num_key_value_heads: 2,
            max_position_embeddings: 48,
            tie_word_embeddings: true,
            initializer_range: 0.3,
            eos_token_ids: vec![0],
            ..DecoderConfig::llama(8)
        };
        let policy = CausalLm::init(config, 3, &test_device().into()).unwrap();
        policy.save(&model, SaveOptions::default()).unwrap();
        world.answers(|_, _| {});
        world.scores(|prompt, index| ((5 * prompt + 3 * index as usize) % 7) as f32);
        let demonstration = |number| Example {
            prompt: prompt(number),
            completion: Some(" good".to_owned()),
            chosen: None,
            rejected: None,
            messages: Vec::new(),
            source: "test".to_owned(),
        };
        // The last has no stored answers.
        let demonstrations = (0..=PROMPTS).map(demonstration);
        lines(&world.path("demonstrations"), demonstrations);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the answers anew, `changed`.
    fn answers(&self, changed: impl Fn(usize, &mut Sample)) {
        let answer = |number: usize, index: u32| {
            let completion_ids = letters(number, index);
            let mut sample = Sample {
                prompt: prompt(number),
                index,
                completion: String::new(),
                logprobs: vec![-1.0; completion_ids.len()],
                completion_ids,
                sampler_logprobs: None,
                finish_reason: "stop".to_owned(),
            };
            changed(number, &mut sample);
            sample
        };
        let all = (0..PROMPTS).flat_map(|number| (0..ANSWERS).map(move |i| (number, i)));
        lines(
            &self.path("samples"),
            all.map(|(number, i)| answer(number, i)),
        );
    }

    fn scores(&self, score: impl Fn(usize, u32) -> f32) {
        let row = |number| Scores {
            prompt: prompt(number),
            scores: (0..ANSWERS).map(|index| score(number, index)).collect(),
            spread: Vec::new(),
            tokens: Vec::new(),
        };
        lines(&self.path("scores"), (0..PROMPTS).map(row));
    }

    /// Runs the stage in the run called `name`; its directory, or its error's text.
    fn run(
        &self,
        name: &str,
        objective: Method,
        lora: Option<LoraConfig>,
        observer: Arc<dyn Observer>,
    ) -> Result<PathBuf, String> {
        let config = OfflineConfig {
            objective,
            eval_fraction: 0.25,
            lora,
        };
        assert_eq!(config.problems(), []);
        let guide = match objective {
            Method::Spin { .. } => "demonstrations",
            _ => "scores",
        };
        let (model, samples, guide) = (self.path("model"), self.path("samples"), self.path(guide));
        let inputs = OfflineInputs {
            model: &model,
            model_name: "base",
            form: DialogueForm::Hh,
            samples: &samples,
            guide: &guide,
        };
        let run = RunDir::open(&self.path(name), 5, Arc::clone(&observer)).unwrap();
        let (placement, save) = (test_device().into(), SaveOptions::default());
        let done = run.stage("policy/test", 1, &config, &[], |ctx| {
            super::run(&config, &training(), &inputs, &placement, save, ctx)
        });
        let done = done.map_err(|error| match error {
            StageError::Body { source, .. } => source.to_string(),
            StageError::Run(error) => error.to_string(),
        })?;
        Ok(done.file("summary.json").parent().unwrap().to_owned())
    }
}

fn summary(dir: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("summary.json")).unwrap()).unwrap()
}

fn metrics(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Four epochs of three or more steps.
fn training() -> TrainConfig {
    TrainConfig {
        learning_rate: 3e-3,
        lr_scheduler_type: SchedulerType::Constant,
        warmup_ratio: 0.0,
        num_train_epochs: 4,
        max_steps: 0,
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 1,
        per_device_eval_batch_size: 4,
        weight_decay: 0.0,
        adam_beta1: 0.9,
        adam_beta2: 0.999,
        adam_epsilon: 1e-8,
        gradient_checkpointing: false,
        max_grad_norm: 1.0,
        logging_steps: 1,
        eval_steps: 0,
        save_steps: 2,
        load_best_model_at_end: false,
        early_stopping_patience: 0,
    }
}

fn adapters() -> LoraConfig {
    LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        lora_dropout: 0.1,
        target_modules: TargetModules::All(AllLinear::AllLinear),
        rank_pattern: Default::default(),
        alpha_pattern: Default::default(),
        use_rslora: false,
        modules_to_save: Vec::new(),
    }
}

const DPO: Method = Method::Dpo {
    beta: 0.5,
    label_smoothing: 0.0,
    labels: Labels::Sampled,
    pairs_per_prompt: None,
};
const HARD: Method = Method::Dpo {
    beta: 0.5,
    label_smoothing: 0.1,
    labels: Labels::BestWorst,
    pairs_per_prompt: None,
};
const KTO: Method = Method::Kto {
    beta: 0.5,
    desirable_weight: 1.0,
    undesirable_weight: 1.0,
};
const SPIN: Method = Method::Spin {
    beta: 0.5,
    pairs_per_prompt: Some(3),
};

fn number(values: &Value, name: &str) -> f64 {
    values[name].as_f64().unwrap_or(f64::NAN)
}

/// Mean training loss of the first and of the last `steps` steps.
fn first_and_last(dir: &Path, steps: usize) -> [f64; 2] {
    let lines = metrics(dir);
    let losses = lines.iter().map(|line| number(line, "train/loss"));
    let losses: Vec<f64> = losses.filter(|loss| loss.is_finite()).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / steps as f64;
    [&losses[..steps], &losses[losses.len() - steps..]].map(mean)
}

#[test]
fn each_method_learns_and_leaves_a_policy() {
    let world = World::new();
    // One step's loss before anything is learned: policy and reference are one.
    let (coin, half) = (Some(2f64.ln()), Some(0.5));
    let distil = Method::Distil { n: 3 };
    let methods = [
        (DPO, coin),
        (HARD, coin),
        (SPIN, coin),
        (KTO, half),
        (distil, None),
    ];
    for (place, (method, loss)) in methods.into_iter().enumerate() {
        let dir = world.run(&format!("run-{place}"), method, None, Arc::new(Quiet));
        let dir = dir.unwrap();
        let (found, lines) = (summary(&dir), metrics(&dir));
        let kept = [&found["prompts"], &found["eval_prompts"]];
        assert_eq!(kept, [6, 2], "{found:#}");
        let epoch = found["steps"].as_u64().unwrap() as usize / 4;
        let [first, last] = first_and_last(&dir, epoch);
        assert!(last < first, "{method:?}: {first}, then {last}");
        if let Some(loss) = loss {
            let first = number(&lines[0], "train/loss");
            assert!((first - loss).abs() < 1e-5, "{method:?}: {first}");
            let margin = number(&lines[0], "train/rewards/margins");
            assert!(margin.abs() < 1e-4, "{method:?}: {margin}");
        }
        let name = match method {
            Method::Distil { .. } => "eval_loss",
            _ => "eval_logps/chosen",
        };
        assert!(found[name].is_number(), "{found:#}");
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            assert!(dir.join(file).exists(), "{file}");
        }
        let policy = CausalLm::load(&dir, &test_device().into()).unwrap();
        assert_eq!(policy.config().eos_token_ids, [0]);
    }
    let (spin, kto) = (summary_of(&world, 2), summary_of(&world, 3));
    assert_eq!(spin["dropped_unanswered"], 1);
    assert_eq!([&spin["pairs"], &spin["eval_pairs"]], [18, 6]);
    let judged = ["desirable", "undesirable"].map(|kind| kto[kind].as_u64().unwrap());
    assert_eq!(judged[0] + judged[1], kto["examples"].as_u64().unwrap());
}

fn summary_of(world: &World, place: usize) -> Value {
    summary(&world.path(&format!("run-{place}/policy/test")))
}

/// Fails, like a machine, in a step (none is the 0th); counts the others.
struct Kill {
    step: u64,
    done: AtomicU64,
}

impl Kill {
    fn at(step: u64) -> Arc<Self> {
        let done = AtomicU64::new(0);
        Arc::new(Self { step, done })
    }
}

impl Observer for Kill {
    fn event(&self, event: &Event<'_>) {
        if let Event::Progress {
            done, unit: "step", ..
        } = event
        {
            assert!(*done != self.step, "killed");
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_killed_stage_ends_as_one_that_was_not() {
    let world = World::new();
    for (method, lora) in [(DPO, Some(adapters())), (KTO, None)] {
        let name = method.name();
        let run = |which: &str, observer: &Arc<Kill>| {
            let observer = Arc::clone(observer);
            world.run(&format!("{name}-{which}"), method, lora.clone(), observer)
        };
        let (first, second, third) = (Kill::at(0), Kill::at(6), Kill::at(0));
        let whole = run("whole", &first).unwrap();
        let kill = || run("cut", &second);
        assert!(catch_unwind(AssertUnwindSafe(kill)).is_err());
        let resumed = run("cut", &third).unwrap();
        let steps = [first, third].map(|observer| observer.done.load(Ordering::Relaxed));
        assert_eq!(steps[0], steps[1] + 4, "not from the checkpoint");
        if repeats_bits(&test_device()) {
            for file in ["model.safetensors", "summary.json"] {
                let read = |dir: &Path| fs::read(dir.join(file)).unwrap();
                assert!(read(&whole) == read(&resumed), "{name}: {file}");
            }
        }
        let steps = |dir: &Path| {
            let lines = metrics(dir).into_iter();
            lines
                .map(|line| line["step"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(&whole), steps(&resumed));
        assert_eq!(resumed.join("adapter").exists(), lora.is_some());
    }
}

#[test]
fn scores_of_other_answers_are_refused() {
    let world = World::new();
    let refused = |method: Method| world.run("run", method, None, Arc::new(Quiet)).unwrap_err();
    world.scores(|_, _| 1.5);
    assert!(refused(DPO).contains("each of the 8 prompts alike"));
    world.scores(|_, index| if index == 2 { f32::INFINITY } else { 0.0 });
    assert!(refused(KTO).contains("scores"));
    world.scores(|_, index| index as f32);
    let message = refused(Method::Distil { n: 5 });
    assert!(message.contains("4 answers for n = 5"), "{message}");
    world.answers(|number, sample| sample.prompt = prompt(number / 2 * 2));
    let message = refused(DPO);
    assert!(message.contains("8 prompts against 4"), "{message}");
    world.answers(|number, sample| sample.prompt = prompt(number + 1));
    assert!(refused(DPO).contains("differs"));
}

#[test]
fn answers_that_the_policy_cannot_have_written_are_refused() {
    let world = World::new();
    let refused = || world.run("run", DPO, None, Arc::new(Quiet)).unwrap_err();
    let second = |ids: Vec<u32>| {
        world.answers(|number, sample| {
            if number == 1 && sample.index == 3 {
                sample.completion_ids = ids.clone();
            }
        });
    };
    second(vec![70; 60]);
    let message = refused();
    assert!(message.contains("answer 3 to prompt 2") && message.contains("context is 48"));
    second(vec![70, 9999]);
    assert!(refused().contains("token 9999"));
    second(Vec::new());
    assert!(refused().contains("no token"));
}

#[test]
fn one_prompt_is_too_few() {
    let world = World::new();
    // Only the first prompt has rewards that differ.
    world.scores(|prompt, index| if prompt == 0 { index as f32 } else { 0.0 });
    let refused = world.run("run", HARD, None, Arc::new(Quiet)).unwrap_err();
    assert!(refused.contains("only 1 prompts"), "{refused}");
}

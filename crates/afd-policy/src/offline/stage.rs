//! The stage: a policy and stored answers in, a better policy out.

use std::path::Path;

use afd_backend::Placement;
use afd_data::{DialogueForm, TokenRow, Tokenizer};
use afd_model::{CausalLm, Pretrained, SaveOptions, best_of_n_weights};
use afd_stage::{StageContext, seed::derive};
use afd_train::{Objective, TrainConfig};
use serde_json::{Map, Value, json};

use super::{
    Answer, Contest, Distil, Dpo, Judged, Kto, Labels, Method, OfflineConfig,
    answer::refer,
    fit::{Lengths, fit},
    pairs, spin,
    stored::{Rows, Stored, demonstrated, demonstrations, scored},
};
use crate::Error;

/// What a policy is learned from.
#[derive(Debug, Clone, Copy)]
pub struct OfflineInputs<'a> {
    /// The policy that training starts from, a Hugging Face directory with tokenizer. It is the
    /// reference of `dpo`, `kto` and `spin`.
    pub model: &'a Path,
    /// What an adapter's files call it.
    pub model_name: &'a str,
    /// How dialogues are written.
    pub form: DialogueForm,
    /// Its answers: [`Sample`](afd_data::records::Sample) rows, by prompt. `sft` looks at none.
    pub samples: &'a Path,
    /// What tells good answers from bad: [`Scores`](afd_data::records::Scores) of these samples;
    /// for `spin` and `sft` demonstrations, [`Example`](afd_data::records::Example) rows.
    pub guide: &'a Path,
}

/// Learns a policy from stored answers and leaves a Hugging Face directory in the stage's directory.
/// With `config.lora` that is the model with its adapters merged, and the adapters themselves, as
/// PEFT has them, are in `adapter/`.
///
/// # Errors
/// On unreadable inputs, scores that are not of these samples, rewards that are equal within every
/// prompt, an answer that does not fit the context, too few prompts to train and evaluate on, and a
/// training that diverges.
pub fn run(
    config: &OfflineConfig,
    train_config: &TrainConfig,
    inputs: &OfflineInputs<'_>,
    placement: &Placement,
    save: SaveOptions,
    ctx: &StageContext,
) -> Result<(), Error> {
    let tokenizer = Tokenizer::open(inputs.model, inputs.form)?;
    let weights = match config.lora {
        Some(_) => placement.clone(),
        None => placement.for_training(),
    };
    let model = CausalLm::load(inputs.model, &weights)?;
    model.config().check_vocabulary(tokenizer.vocab_size())?;
    // What ends an answer here must end it wherever the model goes.
    let learner = Learner {
        model: model.with_end_tokens(tokenizer.eos_ids()),
        tokenizer: &tokenizer,
        config,
        train_config,
        inputs,
        placement,
        save,
        ctx,
    };
    match config.objective {
        Method::Sft => learner.sft(),
        Method::Distil { n } => learner.distil(n),
        Method::Dpo {
            beta,
            label_smoothing,
            labels,
            pairs_per_prompt,
        } => learner.dpo(labels, pairs_per_prompt, beta, label_smoothing),
        Method::Kto {
            beta,
            desirable_weight,
            undesirable_weight,
        } => learner.kto(beta, [desirable_weight, undesirable_weight]),
        Method::Spin {
            beta,
            pairs_per_prompt,
        } => learner.spin(pairs_per_prompt, beta),
    }
}

/// What all methods need.
struct Learner<'a> {
    /// The policy, without adapters: the reference.
    model: CausalLm,
    tokenizer: &'a Tokenizer,
    config: &'a OfflineConfig,
    train_config: &'a TrainConfig,
    inputs: &'a OfflineInputs<'a>,
    placement: &'a Placement,
    save: SaveOptions,
    ctx: &'a StageContext,
}

/// What each prompt gives to learn from, for training and held out.
type Parts<T> = [Vec<(String, T)>; 2];

impl Learner<'_> {
    fn sft(self) -> Result<(), Error> {
        let rows = self.rows();
        let mut too_long = 0;
        let examples = |stored: &Stored<String>| {
            let mut examples = Vec::new();
            for completion in &stored.guide {
                match rows.demonstration(&stored.prompt, completion)? {
                    Some(row) => examples.push((row, 1.0)),
                    None => too_long += 1,
                }
            }
            Ok(Some(examples).filter(|examples| !examples.is_empty()))
        };
        let stored = demonstrations(self.inputs.guide)?;
        let (parts, mut notes) = self.parts(&stored, 1, examples)?;
        notes.insert("dropped_too_long".into(), too_long.into());
        self.likelihood(parts, notes)
    }

    fn distil(self, n: usize) -> Result<(), Error> {
        let rows = self.rows();
        let examples = |stored: &Stored<f64>| {
            if stored.guide.len() < n {
                return Err(Error::Scores {
                    path: self.inputs.guide.into(),
                    problem: format!("{} answers for n = {n}", stored.guide.len()),
                });
            }
            let weights = best_of_n_weights(&stored.guide, n);
            Ok(Some(
                rows.answers(stored)?.into_iter().zip(weights).collect(),
            ))
        };
        let stored = scored(self.inputs.samples, self.inputs.guide)?;
        let (parts, notes) = self.parts::<f64, Vec<(TokenRow, f64)>>(&stored, 1, examples)?;
        self.likelihood(parts, notes)
    }

    /// Learns answers as they weigh.
    fn likelihood(
        self,
        parts: Parts<Vec<(TokenRow, f64)>>,
        notes: Map<String, Value>,
    ) -> Result<(), Error> {
        let [training, held_out] = parts.map(|part| {
            let rows = part.into_iter().flat_map(|(_, rows)| rows).collect();
            Distil::new(rows, self.ctx.seed())
        });
        self.learn(&training, &held_out, notes)
    }

    fn dpo(
        self,
        labels: Labels,
        at_most: Option<usize>,
        beta: f64,
        label_smoothing: f64,
    ) -> Result<(), Error> {
        let (rows, seed) = (self.rows(), self.ctx.seed());
        let contest = |stored: &Stored<f64>| {
            let (rewards, prompt) = (&stored.guide, &stored.prompt);
            let pairs = pairs::labelled(rewards, labels, at_most, prompt, seed);
            let answers = rows.answers(stored)?.into_iter().map(Answer::new).collect();
            Ok(Some(Contest::new(answers, &pairs)).filter(|contest| !contest.pairs.is_empty()))
        };
        let stored = scored(self.inputs.samples, self.inputs.guide)?;
        let (parts, notes) = self.parts(&stored, 1, contest)?;
        self.contests(parts, beta, label_smoothing, notes)
    }

    fn spin(self, at_most: Option<usize>, beta: f64) -> Result<(), Error> {
        let (rows, seed) = (self.rows(), self.ctx.seed());
        let mut too_long = 0;
        let contest = |stored: &Stored<String>| {
            let mut demonstrations = Vec::new();
            for completion in &stored.guide {
                match rows.demonstration(&stored.prompt, completion)? {
                    Some(row) => demonstrations.push(Answer::new(row)),
                    None => too_long += 1,
                }
            }
            let own = rows.answers(stored)?.into_iter().map(Answer::new).collect();
            let prompt = &stored.prompt;
            let contest = spin::contest(demonstrations, own, at_most, prompt, seed);
            Ok(Some(contest).filter(|contest| !contest.pairs.is_empty()))
        };
        let (stored, unanswered) = demonstrated(self.inputs.samples, self.inputs.guide)?;
        let (parts, mut notes) = self.parts(&stored, 1, contest)?;
        notes.insert("dropped_unanswered".into(), unanswered.into());
        notes.insert("dropped_too_long".into(), too_long.into());
        self.contests(parts, beta, 0.0, notes)
    }

    /// Learns from pairs, after the reference has read their answers.
    fn contests(
        self,
        mut parts: Parts<Contest>,
        beta: f64,
        label_smoothing: f64,
        mut notes: Map<String, Value>,
    ) -> Result<(), Error> {
        let contests = parts.iter_mut().flatten().map(|(_, contest)| contest);
        let answers = contests.flat_map(|contest| &mut contest.answers);
        self.refer(answers.collect())?;
        for (key, part) in ["pairs", "eval_pairs"].into_iter().zip(&parts) {
            let pairs: usize = part.iter().map(|(_, contest)| contest.pairs.len()).sum();
            notes.insert(key.into(), pairs.into());
        }
        let [training, held_out] = parts.map(|part| Dpo {
            contests: part.into_iter().map(|(_, contest)| contest).collect(),
            beta,
            label_smoothing,
            seed: self.ctx.seed(),
        });
        self.learn(&training, &held_out, notes)
    }

    fn kto(self, beta: f64, weights: [f64; 2]) -> Result<(), Error> {
        let rows = self.rows();
        let verdicts = |stored: &Stored<f64>| {
            let verdicts = pairs::desirable(&stored.guide);
            let judged = rows.answers(stored)?.into_iter().zip(verdicts);
            let judged: Vec<_> = judged.filter_map(|(row, v)| Some((row, v?))).collect();
            Ok(Some(judged).filter(|judged| !judged.is_empty()))
        };
        let stored = scored(self.inputs.samples, self.inputs.guide)?;
        // The baseline takes the answers of other prompts.
        let (parts, mut notes) = self.parts(&stored, 2, verdicts)?;
        let mut parts = parts.map(|part| {
            let all = part
                .iter()
                .flat_map(|(prompt, rows)| rows.iter().map(move |row| (&prompt[..], row)));
            let (prompts, all): (Vec<&str>, Vec<&(TokenRow, bool)>) = all.unzip();
            let others = pairs::mismatched(&prompts, self.ctx.seed()).unwrap_or_default();
            let judged = all
                .iter()
                .zip(others)
                .map(|((row, desirable), other)| Judged {
                    answer: Answer::new(row.clone()),
                    desirable: *desirable,
                    mismatched: Answer::new(rows.mismatched(row, &all[other].0)),
                });
            judged.collect::<Vec<_>>()
        });
        let judged = parts.iter_mut().flatten();
        let answers = judged.flat_map(|judged| [&mut judged.answer, &mut judged.mismatched]);
        self.refer(answers.collect())?;
        let [training, held_out] = parts.map(|part| Kto::new(part, beta, weights, self.ctx.seed()));
        let keys = [
            ("desirable", "undesirable"),
            ("eval_desirable", "eval_undesirable"),
        ];
        for ((good, bad), part) in keys.into_iter().zip([&training, &held_out]) {
            let [desirable, undesirable] = part.counts();
            notes.insert(good.into(), desirable.into());
            notes.insert(bad.into(), undesirable.into());
        }
        self.learn(&training, &held_out, notes)
    }

    fn rows(&self) -> Rows<'_> {
        Rows {
            tokenizer: self.tokenizer,
            model: self.model.config(),
            path: self.inputs.samples,
        }
    }

    /// What `of` makes of each prompt, a share of the prompts held out, with what the summary says
    /// of it. Prompts of which it makes nothing are counted.
    fn parts<S, T>(
        &self,
        stored: &[Stored<S>],
        least: usize,
        mut of: impl FnMut(&Stored<S>) -> Result<Option<T>, Error>,
    ) -> Result<(Parts<T>, Map<String, Value>), Error> {
        let mut usable = Vec::new();
        for stored in stored {
            if let Some(examples) = of(stored)? {
                usable.push((stored.prompt.clone(), examples));
            }
        }
        let prompts: Vec<&str> = usable.iter().map(|(prompt, _)| &prompt[..]).collect();
        let share = self.config.eval_fraction;
        let kept = pairs::held_out(&prompts, share, least, self.ctx.seed());
        let kept = kept.ok_or(Error::TooFewPrompts {
            path: self.inputs.samples.into(),
            usable: usable.len(),
            least,
        })?;
        let dropped = stored.len() - usable.len();
        let mut parts = [Vec::new(), Vec::new()];
        for (prompt, kept) in usable.into_iter().zip(kept) {
            parts[usize::from(kept)].push(prompt);
        }
        let mut notes = Map::new();
        notes.insert("method".into(), self.config.objective.name().into());
        notes.insert("prompts".into(), parts[0].len().into());
        notes.insert("eval_prompts".into(), parts[1].len().into());
        notes.insert("dropped_nothing_to_learn".into(), dropped.into());
        Ok((parts, notes))
    }

    /// Has the reference read answers: once, before anything is trained.
    fn refer(&self, mut answers: Vec<&mut Answer>) -> Result<(), Error> {
        let batch = self.train_config.per_device_eval_batch_size;
        refer(&self.model, &mut answers, batch)?;
        let tokens = answers.iter().map(|answer| answer.row.ids.len() as u64);
        self.ctx.add_tokens(tokens.sum());
        Ok(())
    }

    /// Trains, and writes what the stage leaves.
    fn learn<O: Objective<CausalLm> + Lengths>(
        self,
        training: &O,
        held_out: &O,
        mut summary: Map<String, Value>,
    ) -> Result<(), Error> {
        let (inputs, ctx) = (self.inputs, self.ctx);
        let model = match &self.config.lora {
            None => self.model,
            Some(lora) => {
                let seed = derive(ctx.seed(), "lora", 0);
                self.model.with_lora(lora, inputs.model_name, seed)?
            }
        };
        let (placement, config) = (self.placement, self.train_config);
        let (model, fitted) = fit(model, training, held_out, config, placement, ctx)?;
        model.save_trained(inputs.model, self.save, ctx.dir())?;
        self.tokenizer.save(ctx.dir())?;
        summary.insert("examples".into(), training.lengths().len().into());
        summary.insert("eval_examples".into(), held_out.lengths().len().into());
        summary.insert("steps".into(), fitted.steps.into());
        for (name, value) in fitted.held_out {
            summary.insert(format!("eval_{name}"), json!(value));
        }
        let summary = format!("{:#}\n", Value::Object(summary));
        Ok(ctx.write("summary.json", summary.as_bytes())?)
    }
}

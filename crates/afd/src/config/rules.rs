//! What the types of a configuration cannot say: values out of range or out of step.

use std::path::{Path, PathBuf};

use afd_backend::{Dtype, Precision};
use afd_data::DialogueForm;
use afd_hub::Model;
use afd_judge::RewardServerConfig;
use afd_model::{DecoderConfig, Head, LoraConfig};
use afd_reward::{Architecture, NamedReference, ObjectiveKind, Reference, pairs::is_free_name};

use super::{Config, DataSource, Golden, ScorerKind, scorers::SCORERS};
use crate::models;

/// What to give for the path of a classifier.
const CLASSIFIER: &str = "give a sequence classifier: its directory, or its repository on the Hub \
                          as org/name or org/name@revision";

/// Gathers problems: the key and what is wrong with it.
#[derive(Default)]
pub(super) struct Rules(Vec<(String, String)>);

impl Config {
    /// Every value out of range or out of step with another, by key.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut rules = Rules::default();
        for (section, found) in [
            ("sft", self.sft.1.problems()),
            ("reward", self.reward.1.problems()),
            ("reward", self.reward.0.problems()),
        ] {
            for (key, rule) in found {
                rules.add(&format!("{section}.{key}"), format!("must be {rule}"));
            }
        }
        for (section, lora) in [("sft", &self.sft.0.lora), ("reward", &self.reward.0.lora)] {
            for (key, rule) in lora.iter().flat_map(LoraConfig::problems) {
                rules.add(&format!("{section}.lora.{key}"), format!("must be {rule}"));
            }
        }
        for (key, rule) in self.pairs.problems() {
            rules.add(&format!("pairs.{key}"), rule);
        }
        if let Some(judge) = &self.llm_judge {
            for (key, rule) in judge.problems() {
                rules.add(&format!("llm_judge.{key}"), format!("must be {rule}"));
            }
            rules.require(
                self.generations.test_num_generations > self.best_of_n.n,
                "sample.test_num_generations",
                "must be above best_of_n.n for llm_judge: a winner is not compared with what it was chosen from",
            );
        }
        self.check_closed_forms(&mut rules);
        self.check_policies(&mut rules);
        rules.require(
            self.pairs.matched || self.reward.0.objective != ObjectiveKind::BradleyTerry,
            "reward.objective",
            "cannot be \"bradley_terry\" with pairs.matched = false: it compares answers to one prompt",
        );
        let (data, sample) = (&self.data, &self.sample);
        let longest = data
            .max_prompt_length
            .saturating_add(sample.max_completion_length);
        rules.require(
            self.reward.0.architecture != Architecture::EmbeddingMlp
                || longest < self.reward.0.max_length,
            "reward.max_length",
            "must hold data.max_prompt_length, sample.max_completion_length and an end token for architecture = \"embedding_mlp\", which scores nothing longer",
        );
        self.check_precision(&mut rules);
        self.check_data(&mut rules);
        self.check_scorers(&mut rules);
        self.check_paths(&mut rules);
        let classifiers: Vec<_> = self
            .classifiers()
            .filter_map(|(key, path)| Some((key, models::here(path)?)))
            .collect();
        let found = self.model_problems(models::here(&self.model.path).as_deref(), &classifiers);
        rules.0.extend(found);
        self.check_sampling(&mut rules);
        for (key, problem) in self.eval.problems() {
            rules.add(&format!("eval.{key}"), problem);
        }
        rules.0
    }

    fn check_closed_forms(&self, rules: &mut Rules) {
        let taken = self.pairs.names();
        for (name, variant) in &self.closed_form.variants {
            let key = format!("closed_form.variants.{name}");
            for (field, rule) in variant.problems() {
                rules.add(&format!("{key}.{field}"), format!("must be {rule}"));
            }
            rules.require(
                is_free_name(name) && !taken.contains(&name.as_str()),
                &key,
                "must have a name of its own, of letters a to z, digits and -",
            );
            let snapshots = &self.sft.0.snapshots;
            let average = self.sft.0.moving_average;
            let known = |reference: &Reference| match reference {
                Reference::Share(share) => *share == 0.0 || snapshots.contains(share),
                Reference::Named(NamedReference::MovingAverage) => average.is_some(),
            };
            rules.require(
                variant.references.iter().all(known),
                &format!("{key}.references"),
                "must each be 0, one of sft.snapshots, or \"moving_average\" with sft.moving_average",
            );
        }
        rules.require(
            self.sft.0.snapshots.is_empty() || self.sft.1.early_stopping_patience == 0,
            "sft.snapshots",
            "needs sft.early_stopping_patience = 0: a training that stops early may not get there",
        );
        rules.require(
            self.sft
                .0
                .moving_average
                .is_none_or(|decay| decay > 0.0 && decay < 1.0),
            "sft.moving_average",
            "must be between 0 and 1, such as 0.99",
        );
        let under_way = |share: &f64| *share > 0.0 && *share < 1.0;
        rules.require(
            self.sft.0.snapshots.iter().all(under_way),
            "sft.snapshots",
            "must be shares between 0 and 1",
        );
    }

    fn check_precision(&self, rules: &mut Rules) {
        let Precision { params, compute } = self.precision;
        rules.require(
            params == Dtype::F32 || params == compute,
            "precision.params",
            "must be \"f32\" or what precision.compute is",
        );
        rules.require(
            compute != Dtype::F16,
            "precision.compute",
            "must be \"f32\" or \"bf16\" for a run that trains: gradients are lost in the narrow range of f16",
        );
    }

    fn check_data(&self, rules: &mut Rules) {
        let (data, world) = (&self.data, &self.world);
        for (key, dial) in [
            ("world.quality", world.quality),
            ("world.heterogeneity", world.heterogeneity),
        ] {
            rules.require((0.0..=1.0).contains(&dial), key, "must be between 0 and 1");
        }
        rules.require(
            data.source != DataSource::World || world.rows > 0,
            "world.rows",
            "must be 1 or more",
        );
        if let Err(afd_data::Error::Config { key, got, expected }) = data.prepare(0).validate() {
            let key = key.replace("_tokens", "_length");
            rules.add(
                &format!("data.{key}"),
                format!("is {got}; must be {expected}"),
            );
        }
        let golden = self.golden.golden;
        let templated = data.dialogue_form == DialogueForm::ChatTemplate;
        rules.require(
            !templated || data.source == DataSource::File,
            "data.dialogue_form",
            "must be \"hh\" for data.source = \"world\", which speaks that form",
        );
        rules.require(
            !templated || golden != Golden::Classifier,
            "eval.golden",
            "cannot be \"classifier\" with data.dialogue_form = \"chat_template\": it would read the policy's template; take \"judge\"",
        );
        rules.require(
            templated || !self.sft.0.assistant_only_loss,
            "sft.assistant_only_loss",
            "needs data.dialogue_form = \"chat_template\", whose template marks the assistant's words",
        );
        rules.require(
            golden != Golden::World || data.source == DataSource::World,
            "eval.golden",
            "cannot be \"world\" when data.source is \"file\"; take \"judge\", \"classifier\" or \"http\"",
        );
        let server = self.golden.golden_server.as_ref();
        rules.require(
            (golden == Golden::Http) == server.is_some(),
            "eval.golden_server",
            "must be given for eval.golden = \"http\", and for no other: { url, batch_size, max_retries, timeout }",
        );
        for (key, rule) in server.into_iter().flat_map(RewardServerConfig::problems) {
            rules.add(
                &format!("eval.golden_server.{key}"),
                format!("must be {rule}"),
            );
        }
        rules.require(
            golden != Golden::Judge || data.split.judge > 0.0,
            "data.split.judge",
            "must be above 0 for eval.golden = \"judge\"",
        );
    }

    /// Before hours of work, not after.
    fn check_paths(&self, rules: &mut Rules) {
        let remedy = "give a Hugging Face directory, or a repository on the Hub as org/name or \
                      org/name@revision";
        rules.model(models::INITIAL, &self.model.path, remedy);
        if self.data.source == DataSource::File {
            let remedy = "give the file, for example by --set data.path=FILE";
            rules.exists("data.path", &self.data.path, remedy);
        }
        if let Some(judge) = &self.llm_judge {
            let remedy = "give the file with what the judge is told";
            rules.exists("llm_judge.prompt", &judge.prompt, remedy);
        }
        for (key, path) in self.classifiers() {
            rules.model(&key, path, CLASSIFIER);
        }
    }

    /// The sequence classifiers that measure, by their keys.
    pub(crate) fn classifiers(&self) -> impl Iterator<Item = (String, &Path)> {
        let golden = (self.golden.golden == Golden::Classifier)
            .then(|| (models::GOLDEN.to_owned(), self.golden.golden_path.as_path()));
        let further = self.scorers.iter();
        golden
            .into_iter()
            .chain(further.filter_map(|one| Some((one.key(), one.classifier()?))))
    }

    fn check_scorers(&self, rules: &mut Rules) {
        for one in &self.scorers {
            let key = |key: &str| format!("{SCORERS}.{}.{key}", one.name);
            let (kind, source) = (one.from.kind, self.data.source);
            rules.require(
                is_free_name(&one.name) && one.name != self.golden.golden.name(),
                &format!("{SCORERS}.{}", one.name),
                "must be called by lower-case letters, digits and hyphens, and otherwise than the golden reward",
            );
            rules.require(
                kind != ScorerKind::World || source == DataSource::World,
                &key("kind"),
                "cannot be \"world\" when data.source is \"file\"",
            );
            rules.require(
                kind != ScorerKind::Classifier || self.data.dialogue_form != DialogueForm::ChatTemplate,
                &key("kind"),
                "cannot be \"classifier\" with data.dialogue_form = \"chat_template\": it would read the policy's template",
            );
            rules.require(
                (kind == ScorerKind::Classifier) == one.from.path.is_some(),
                &key("path"),
                "must be given for kind = \"classifier\", and for no other",
            );
            rules.require(
                (kind == ScorerKind::Http) == one.from.server.is_some(),
                &key("server"),
                "must be given for kind = \"http\", and for no other: { url, batch_size, max_retries, timeout }",
            );
            let server = one.from.server.iter();
            for (name, rule) in server.flat_map(RewardServerConfig::problems) {
                rules.add(&key(&format!("server.{name}")), format!("must be {rule}"));
            }
        }
    }

    /// What the files of the models do not allow, by key; of those that are given, because they are
    /// here.
    pub(super) fn model_problems(
        &self,
        initial: Option<&Path>,
        classifiers: &[(String, PathBuf)],
    ) -> Vec<(String, String)> {
        let mut rules = Rules::default();
        for (key, dir) in classifiers {
            if let Ok((_, Head::LanguageModel)) = DecoderConfig::load(dir) {
                rules.add(key, format!("is a language model; {CLASSIFIER}"));
            }
        }
        if let Some(initial) = initial {
            self.check_lengths(initial, &mut rules);
        }
        rules.0
    }

    /// A checkpoint that cannot be read is told by the stage that reads it.
    fn check_lengths(&self, initial: &Path, rules: &mut Rules) {
        let Ok((model, _)) = DecoderConfig::load(initial) else {
            return;
        };
        let context = model.context();
        let limit = format!("must not exceed the model's context of {context}");
        for (key, length) in [
            ("sft.max_length", self.sft.0.max_length),
            ("reward.max_length", self.reward.0.max_length),
        ] {
            rules.require(length <= context, key, &limit);
        }
        let prompt = self.data.max_prompt_length;
        rules.require(
            prompt.saturating_add(self.sample.max_completion_length) <= context,
            "sample.max_completion_length",
            &format!("and data.max_prompt_length together {limit}"),
        );
    }

    fn check_sampling(&self, rules: &mut Rules) {
        let counts = &self.generations;
        for (key, value) in [
            ("reward_num_generations", counts.reward_num_generations),
            ("init_num_generations", counts.init_num_generations),
            ("test_num_generations", counts.test_num_generations),
            ("policy_num_generations", counts.policy_num_generations),
            ("stored_num_generations", counts.stored_num_generations),
            ("generation_batch_size", self.sample.generation_batch_size),
        ] {
            rules.require(value > 0, &format!("sample.{key}"), "must be 1 or more");
        }
        rules.require(
            (1..=counts.test_num_generations).contains(&self.best_of_n.n),
            "best_of_n.n",
            "must be between 1 and sample.test_num_generations",
        );
        for (field, problem) in self.best_of_n.problems() {
            rules.add(&format!("best_of_n.{field}"), problem);
        }
        let mut n = self.eval.n.iter();
        rules.require(
            n.all(|&n| n <= counts.test_num_generations),
            "eval.n",
            "must not exceed sample.test_num_generations",
        );
        let params = self.sample.params();
        if let Err(afd_model::Error::Sampling {
            key,
            found,
            expected,
        }) = self.sample.check()
        {
            let key = match key {
                "max_new_tokens" => "max_completion_length",
                key => key,
            };
            let problem = format!("is {found}; must be {expected}");
            rules.add(&format!("sample.{key}"), problem);
        } else {
            rules.require(
                params.is_unmodified(),
                "sample",
                "must be temperature 1, top_k 0, top_p 1, min_p 0, repetition_penalty 1: log-ratios of a truncated sampler are infinite where supports differ",
            );
        }
    }
}

impl Rules {
    pub(super) fn add(&mut self, key: &str, problem: String) {
        self.0.push((key.to_owned(), problem));
    }

    pub(super) fn require(&mut self, fits: bool, key: &str, problem: &str) {
        if !fits {
            self.add(key, problem.to_owned());
        }
    }

    /// A repository is there or not when it is asked for, not before.
    fn model(&mut self, key: &str, path: &Path, remedy: &str) {
        if let Model::Directory(dir) = models::named(path) {
            self.exists(key, &dir, remedy);
        }
    }

    fn exists(&mut self, key: &str, path: &Path, remedy: &str) {
        if path.as_os_str().is_empty() {
            self.add(key, format!("is empty; {remedy}"));
        } else if !path.exists() {
            let path = path.display();
            self.add(key, format!("is `{path}`, which does not exist; {remedy}"));
        }
    }
}

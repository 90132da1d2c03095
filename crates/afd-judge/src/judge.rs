//! Comparisons in, verdicts out: both orders, in parallel, within the budget.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Error, JudgeConfig, OnFailure, Verdict,
    cache::{Cache, Reply},
    post::host,
    server::Server,
};

/// Two answers to a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The prompt answered.
    pub prompt: String,
    /// The answer of the policy in question.
    pub ours: String,
    /// The answer it is compared with.
    pub theirs: String,
}

/// What became of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The prompt answered.
    pub prompt: String,
    /// The verdict with our answer shown first.
    pub ours_first: Verdict,
    /// The verdict with theirs shown first.
    pub theirs_first: Verdict,
    /// 1 for our answer, 0 for theirs, the mean of both orders as far as there are verdicts.
    pub score: Option<f64>,
}

/// All comparisons, in their order, and what they took.
#[derive(Debug)]
pub struct Outcome {
    /// By comparison.
    pub judged: Vec<Judged>,
    /// Tokens that the judge read, those of earlier runs included.
    pub input_tokens: u64,
    /// Tokens it wrote.
    pub output_tokens: u64,
    /// What that costs at the prices given.
    pub cost: f64,
    /// Replies that were there from earlier.
    pub cached: usize,
}

/// Judges each comparison in both orders. Replies are kept in the file `cache` as they come, by what was
/// asked: a run that was killed, or is repeated, asks for none of them again. `variable` reads the
/// environment, and `progress` is told how many of how many answers there are, and what was spent.
///
/// # Errors
/// [`Error::Prompt`], [`Error::Key`], [`Error::Nothing`]; [`Error::Server`] when a request fails for good and
/// `on_failure` says so; [`Error::Cost`] before more is spent than `max_cost`.
pub fn judge(
    config: &JudgeConfig,
    comparisons: &[Comparison],
    cache: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
    progress: &(dyn Fn(usize, usize, f64) + Sync),
) -> Result<Outcome, Error> {
    if comparisons.is_empty() {
        return Err(Error::Nothing);
    }
    let template = template(&config.prompt)?;
    let server = Server::new(config, variable)?;
    let cache = Cache::open(cache)?;
    // Our answer first, then theirs.
    let questions: Vec<Value> = comparisons
        .iter()
        .flat_map(|one| {
            let text = |a: &str, b: &str| server.question(&filled(&template, &one.prompt, a, b));
            [text(&one.ours, &one.theirs), text(&one.theirs, &one.ours)]
        })
        .collect();
    let work = Work {
        config,
        server,
        cache,
        questions,
        next: AtomicUsize::new(0),
        state: Mutex::new(State::default()),
        progress,
    };
    let workers = config.max_concurrency.min(work.questions.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work.run());
        }
    });
    let total = work.questions.len();
    let state = work
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = state.error {
        return Err(error);
    }
    let mut verdicts = vec![Verdict::Failed; total];
    for &(place, verdict) in &state.verdicts {
        verdicts[place] = verdict;
    }
    let judged = comparisons
        .iter()
        .zip(verdicts.chunks(2))
        .map(|(one, verdicts)| {
            let (ours_first, theirs_first) = (verdicts[0], verdicts[1]);
            let to_us = [
                ours_first.to_first(),
                theirs_first.to_first().map(|value| 1.0 - value),
            ];
            let known: Vec<f64> = to_us.into_iter().flatten().collect();
            Judged {
                prompt: one.prompt.clone(),
                ours_first,
                theirs_first,
                score: (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64),
            }
        });
    Ok(Outcome {
        judged: judged.collect(),
        input_tokens: state.input_tokens,
        output_tokens: state.output_tokens,
        cost: state.cost(config),
        cached: state.cached,
    })
}

/// What the workers share.
struct Work<'a> {
    config: &'a JudgeConfig,
    server: Server<'a>,
    cache: Cache,
    questions: Vec<Value>,
    /// The next question that nobody has taken.
    next: AtomicUsize,
    state: Mutex<State>,
    progress: &'a (dyn Fn(usize, usize, f64) + Sync),
}

#[derive(Default)]
struct State {
    verdicts: Vec<(usize, Verdict)>,
    input_tokens: u64,
    output_tokens: u64,
    /// What requests under way may cost at most.
    reserved: f64,
    cached: usize,
    /// What ends the work.
    error: Option<Error>,
}

impl State {
    fn cost(&self, config: &JudgeConfig) -> f64 {
        price(config, self.input_tokens, self.output_tokens)
    }

    fn add(&mut self, reply: &Reply) {
        self.input_tokens += reply.input_tokens;
        self.output_tokens += reply.output_tokens;
    }
}

fn price(config: &JudgeConfig, input: u64, output: u64) -> f64 {
    (input as f64 * config.input_price + output as f64 * config.output_price) / 1e6
}

impl Work<'_> {
    fn run(&self) {
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(question) = self.questions.get(place) else {
                return;
            };
            if self.lock().error.is_some() {
                return;
            }
            if let Err(error) = self.one(place, question) {
                self.lock().error.get_or_insert(error);
                return;
            }
        }
    }

    fn one(&self, place: usize, question: &Value) -> Result<(), Error> {
        let key = blake3::hash(format!("{}\n{question}", self.config.base_url).as_bytes());
        let key = key.to_hex().to_string();
        let total = self.questions.len();
        let known = self.cache.get(&key);
        let verdict = match known {
            Some(reply) => {
                let mut state = self.lock();
                state.cached += 1;
                state.add(&reply);
                Verdict::of(&reply)
            }
            None => {
                let most = self.reserve(question)?;
                let reply = self.server.ask(question);
                if let Ok(reply) = &reply {
                    self.cache.put(&key, reply)?;
                }
                let mut state = self.lock();
                state.reserved -= most;
                match reply {
                    Ok(reply) => {
                        state.add(&reply);
                        Verdict::of(&reply)
                    }
                    Err(reason) if self.config.on_failure == OnFailure::Stop => {
                        return Err(Error::Server {
                            host: host(&self.config.base_url).to_owned(),
                            reason,
                            done: state.verdicts.len(),
                            total,
                        });
                    }
                    Err(reason) => {
                        tracing::warn!(reason, "an answer was not judged");
                        Verdict::Failed
                    }
                }
            }
        };
        let mut state = self.lock();
        state.verdicts.push((place, verdict));
        (self.progress)(state.verdicts.len(), total, state.cost(self.config));
        Ok(())
    }

    /// Sets aside what a question may cost at most, once there is as much: requests under way mostly cost
    /// less than was set aside for them.
    fn reserve(&self, question: &Value) -> Result<f64, Error> {
        // A token has a byte or more.
        let bytes = question.to_string().len() as u64;
        let most = price(self.config, bytes, u64::from(self.config.max_tokens));
        loop {
            let mut state = self.lock();
            // Whoever else asked for it in this run.
            let (input, output) = self.cache.tokens();
            let spent = price(self.config, input, output);
            let limit = self.config.max_cost.unwrap_or(f64::INFINITY);
            if spent + most > limit {
                return Err(Error::Cost {
                    spent,
                    limit,
                    done: state.verdicts.len(),
                    total: self.questions.len(),
                });
            }
            // Of nothing under way nothing is set aside, but for the last bits of a sum.
            if spent + state.reserved + most <= limit || state.reserved < 1e-12 {
                state.reserved += most;
                return Ok(most);
            }
            drop(state);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that the environment holds the judge's key, if it needs one: better told before long work than after.
///
/// # Errors
/// [`Error::Key`].
pub fn check_key(
    config: &JudgeConfig,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    Server::new(config, variable).map(drop)
}

/// What the judge is told, checked for its three places.
fn template(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let missing = ["{prompt}", "{a}", "{b}"]
        .into_iter()
        .find(|place| !text.contains(place));
    match missing {
        None => Ok(text),
        Some(missing) => Err(Error::Prompt {
            path: path.to_path_buf(),
            missing,
        }),
    }
}

/// The template with its places filled in one pass: what an answer says is not read as a place.
fn filled(template: &str, prompt: &str, a: &str, b: &str) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, at) = rest.split_at(start);
        text += before;
        let places = [("{prompt}", prompt), ("{a}", a), ("{b}", b)];
        match places.into_iter().find(|(place, _)| at.starts_with(place)) {
            Some((place, value)) => {
                text += value;
                rest = &at[place.len()..];
            }
            None => {
                text.push('{');
                rest = &at[1..];
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once() {
        let text = filled("Q: {prompt} {x} A: {a} B: {b}", "{a}", "{b}", "b");
        assert_eq!(text, "Q: {a} {x} A: {b} B: b");
    }
}

//! The adversarial game against the oracle: discriminator and policy in turn, in expectation, with each
//! reward of [`RewardTransform`], where the policy can be anything and where it cannot.

use afd_backend::device::test_device;
use afd_data::TokenRow;
use afd_exact::{
    Space,
    divergence::{Divergence, kl, log_ratio},
    projection::{bell, bell_starts, project, three_habits},
};
use afd_policy::{
    offline::weighted_nll,
    rl::{
        RewardTransform, RlConfig,
        advantage::Advantage,
        objective::{Batch, PolicyGradient},
    },
};
use afd_train::{Loss, Objective, Stepper, schedule::learning_rate};
use burn::{
    Tensor,
    module::{Module, Param, ParamId},
    tensor::activation::{log_softmax, softplus},
};

use crate::world::{adam, rloo};

/// What a class of policies is made of: numbers, and log-probabilities of all answers `[A]`.
trait Family: Module {
    fn log_probs(&self) -> Tensor<1>;
}

/// Any distribution over the answers.
#[derive(Module, Debug)]
struct Free {
    logits: Param<Tensor<1>>,
}

/// A bell over answers in order, as [`bell`].
#[derive(Module, Debug)]
struct Bell {
    mean_and_log_width: Param<Tensor<1>>,
    count: usize,
}

fn numbers(values: &[f64]) -> Tensor<1> {
    let narrow: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Tensor::from_data(narrow.as_slice(), &test_device())
}

fn learned(values: &[f64]) -> Param<Tensor<1>> {
    Param::initialized(ParamId::from(1), numbers(values)).set_require_grad(true)
}

fn read(values: Tensor<1>) -> Vec<f64> {
    values.into_data().iter::<f64>().collect()
}

impl Free {
    fn new(logits: &[f64]) -> Self {
        Self {
            logits: learned(logits),
        }
    }
}

impl Bell {
    fn new(count: usize, start: &[f64]) -> Self {
        Self {
            mean_and_log_width: learned(start),
            count,
        }
    }
}

impl Family for Free {
    fn log_probs(&self) -> Tensor<1> {
        log_softmax(self.logits.val(), 0)
    }
}

impl Family for Bell {
    fn log_probs(&self) -> Tensor<1> {
        let parameters = self.mean_and_log_width.val();
        let (mean, log_width) = (
            parameters.clone().narrow(0, 0, 1),
            parameters.narrow(0, 1, 1),
        );
        let places: Vec<f64> = (0..self.count).map(|place| place as f64).collect();
        let places = numbers(&places);
        let away = (places - mean) * log_width.neg().exp();
        log_softmax(away.square().mul_scalar(-0.5), 0)
    }
}

fn distribution<F: Family>(family: &F) -> Vec<f64> {
    let log_probs = read(family.log_probs());
    let total: f64 = log_probs.iter().map(|l| l.exp()).sum();
    log_probs.iter().map(|l| l.exp() / total).collect()
}

/// Who plays how.
#[derive(Clone, Copy)]
struct Game {
    /// What becomes of the discriminator's logit.
    transform: Option<RewardTransform>,
    /// Whether the discriminator sees the answers of all turns so far.
    replay: bool,
    /// Weight of the demonstrations.
    anchor: f64,
    /// Whether the discriminator learns, a few steps a turn, or is at its optimum.
    learns: bool,
    turns: u64,
}

const PLAIN: Game = Game {
    transform: None,
    replay: false,
    anchor: 0.0,
    learns: false,
    turns: 1000,
};

/// One turn of the policy, every answer weighing its probability.
struct Turn<'a> {
    gradient: PolicyGradient<'a>,
    demonstrator: &'a [f64],
    anchor: f64,
}

impl<F: Family> Objective<F> for Turn<'_> {
    type Collator = ();
    type Batch = ();

    fn collator(&self, _: &F) {}

    fn batch(&self, (): &(), _examples: &[usize]) {}

    fn weight(&self, example: usize) -> f64 {
        self.gradient.answer_weight(example)
    }

    fn tokens(&self, _example: usize) -> u64 {
        1
    }

    fn loss(&self, family: &F, examples: &[usize], (): (), _draw: Option<u64>) -> Loss {
        let log_probs = family.log_probs();
        let demonstrations = weighted_nll(log_probs.clone(), numbers(self.demonstrator));
        let mut loss = self.gradient.of(log_probs, examples);
        // Sums are divided by the answers' weights, which come to their number.
        let anchor = self.anchor * examples.len() as f64;
        loss.sum = loss.sum + demonstrations.sum().mul_scalar(anchor);
        loss
    }
}

/// Expected cross-entropy on who wrote an answer.
struct Origin<'a> {
    demonstrator: &'a [f64],
    policy: &'a [f64],
}

impl Objective<Free> for Origin<'_> {
    type Collator = ();
    type Batch = ();

    fn collator(&self, _: &Free) {}

    fn batch(&self, (): &(), _examples: &[usize]) {}

    fn weight(&self, _example: usize) -> f64 {
        1.0
    }

    fn tokens(&self, _example: usize) -> u64 {
        1
    }

    fn loss(&self, discriminator: &Free, _: &[usize], (): (), _draw: Option<u64>) -> Loss {
        let logits = discriminator.logits.val();
        let right = softplus(logits.clone().neg(), 1.0) * numbers(self.demonstrator);
        let wrong = softplus(logits, 1.0) * numbers(self.policy);
        Loss {
            sum: (right + wrong).sum(),
            metrics: Vec::new(),
        }
    }
}

/// Plays a game to its end: the policy's distribution then.
fn played<F: Family>(start: F, demonstrator: &[f64], game: Game) -> Vec<f64> {
    played_through(start, demonstrator, game).0
}

/// The policy's distribution at the end, and its mean over all turns.
fn played_through<F: Family>(start: F, demonstrator: &[f64], game: Game) -> (Vec<f64>, Vec<f64>) {
    let config = RlConfig {
        advantage: Advantage::Reward,
        ..rloo(0.0)
    };
    let (train, judging) = (adam(0.03), adam(0.05));
    let count = demonstrator.len();
    let all: Vec<usize> = (0..count).collect();
    let mut policy = Stepper::new(start, &train);
    let mut discriminator = Stepper::new(Free::new(&vec![0.0; count]), &judging);
    let mut past = vec![0.0; count];
    for turn in 0..game.turns {
        let now = distribution(&policy.valid());
        for (past, now) in past.iter_mut().zip(&now) {
            *past += now;
        }
        let negatives: Vec<f64> = match game.replay {
            true => past.iter().map(|p| p / (turn + 1) as f64).collect(),
            false => now.clone(),
        };
        let logits = match game.learns {
            false => log_ratio(demonstrator, &negatives),
            true => {
                let objective = Origin {
                    demonstrator,
                    policy: &negatives,
                };
                for step in 0..5 {
                    let rate = learning_rate(&judging, turn, game.turns);
                    let one = std::slice::from_ref(&all);
                    (discriminator, _) = discriminator.step(&objective, one, rate, step).unwrap();
                }
                read(discriminator.valid().logits.val())
            }
        };
        let paid = |h: f64| game.transform.map_or(h, |transform| transform.of(h, &[]));
        let rewards: Vec<f64> = logits.into_iter().map(paid).collect();
        let mean: f64 = now.iter().zip(&rewards).map(|(p, r)| p * r).sum();
        let log_probs: Vec<Vec<f32>> = now.iter().map(|p| vec![p.ln() as f32]).collect();
        let batch = Batch {
            rows: all
                .iter()
                .map(|&id| TokenRow::from_sample(&[1], &[id as u32]))
                .collect(),
            old: log_probs.clone(),
            reference: log_probs,
            advantages: rewards.iter().map(|reward| vec![reward - mean]).collect(),
            weights: now.iter().map(|p| p * count as f64).collect(),
            returns: Vec::new(),
            values: Vec::new(),
        };
        let objective = Turn {
            gradient: PolicyGradient {
                batch: &batch,
                config: &config,
                beta: 0.0,
                max_completion_length: 1,
            },
            demonstrator,
            anchor: game.anchor,
        };
        let rate = learning_rate(&train, turn, game.turns);
        (policy, _) = policy
            .step(&objective, std::slice::from_ref(&all), rate, turn)
            .unwrap();
    }
    let mean = past.iter().map(|p| p / game.turns as f64).collect();
    (distribution(&policy.valid()), mean)
}

const REWARDS: [(Option<RewardTransform>, Divergence); 3] = [
    (None, Divergence::ReverseKl),
    (Some(RewardTransform::Gail), Divergence::JensenShannon),
    (
        Some(RewardTransform::Ratio { max: 20.0 }),
        Divergence::ForwardKl,
    ),
];

#[test]
fn where_the_policy_can_be_anything_each_reward_leads_to_the_demonstrator() {
    let space = Space::new(3, 3);
    for seed in 0..2 {
        let demonstrator = afd_exact::Policy::random(&space, 1.0, 500 + seed).distribution();
        let start = afd_exact::Policy::random(&space, 1.0, seed).log_probs();
        for (transform, divergence) in REWARDS {
            for learns in [false, true] {
                let game = Game {
                    transform,
                    learns,
                    ..PLAIN
                };
                let end = played(Free::new(&start), &demonstrator, game);
                let far = divergence.of(&demonstrator, &end);
                assert!(far < 1e-5, "{far} nats: {transform:?}, learns: {learns}");
            }
        }
    }
}

/// One start is not enough for a divergence that seeks modes: the best of several is its projection.
#[test]
fn where_it_cannot_each_reward_leads_to_the_projection_of_its_divergence() {
    let space = Space::new(2, 40);
    let demonstrator = three_habits(&space);
    let count = demonstrator.len();
    let starts: Vec<Vec<f64>> = bell_starts(count).into_iter().step_by(3).collect();
    let family = |parameters: &[f64]| bell(count, parameters);
    for (transform, divergence) in REWARDS {
        let best = project(divergence, &demonstrator, family, &starts).unwrap();
        // The clip is a bias: no reward is cut here.
        let transform = transform.map(|transform| match transform {
            RewardTransform::Ratio { .. } => RewardTransform::Ratio { max: 1e6 },
            other => other,
        });
        let game = Game { transform, ..PLAIN };
        let ends = starts
            .iter()
            .map(|start| played(Bell::new(count, start), &demonstrator, game));
        let nearest = ends.map(|end| divergence.of(&demonstrator, &end));
        let nearest = nearest.fold(f64::INFINITY, f64::min);
        eprintln!(
            "{transform:?}: {nearest:.5} nats, the projection {:.5}",
            best.divergence
        );
        assert!(
            (nearest - best.divergence).abs() < 1e-3,
            "{transform:?}: {nearest}, {best:?}"
        );
    }
}

/// Demonstrations alone are fine-tuning, which covers the mass; beside the game they pull it from one
/// habit towards all.
#[test]
fn demonstrations_beside_the_game_trade_its_divergence_for_the_forward_one() {
    let space = Space::new(2, 40);
    let demonstrator = three_habits(&space);
    let count = demonstrator.len();
    let start = [0.35 * count as f64, (0.2 * count as f64).ln()];
    let end = |anchor: f64| {
        let game = Game { anchor, ..PLAIN };
        played(Bell::new(count, &start), &demonstrator, game)
    };
    let sft = project(
        Divergence::ForwardKl,
        &demonstrator,
        |parameters| bell(count, parameters),
        &[start.to_vec()],
    );
    let (mut forward, mut reverse) = (f64::INFINITY, 0.0);
    for anchor in [0.0, 0.3, 1.0, 100.0] {
        let end = end(anchor);
        let found = (kl(&demonstrator, &end), kl(&end, &demonstrator));
        eprintln!(
            "anchor {anchor:5}: forward {:.4}, reverse {:.4} nats",
            found.0, found.1
        );
        assert!(found.0 < forward && found.1 > reverse, "{anchor}");
        (forward, reverse) = found;
    }
    assert!(
        (forward - sft.unwrap().divergence).abs() < 1e-2,
        "{forward}"
    );
}

/// Replay turns the game into fictitious play: the best answer to all past policies is no policy that
/// stays, and their mean nears the demonstrator, not the last of them.
#[test]
fn with_replay_the_mean_of_the_policies_nears_the_demonstrator_and_not_the_last() {
    let space = Space::new(3, 3);
    let demonstrator = afd_exact::Policy::random(&space, 1.0, 500).distribution();
    let start = afd_exact::Policy::random(&space, 1.0, 0).log_probs();
    let far = |replay: bool| {
        let game = Game {
            replay,
            turns: 3000,
            ..PLAIN
        };
        let (last, mean) = played_through(Free::new(&start), &demonstrator, game);
        let far = (kl(&last, &demonstrator), kl(&mean, &demonstrator));
        eprintln!(
            "replay {replay}: last {:.1e}, mean {:.1e} nats",
            far.0, far.1
        );
        far
    };
    let (last, _) = far(false);
    let (last_replayed, mean_replayed) = far(true);
    assert!(last < 1e-5, "{last}");
    assert!(mean_replayed < 1e-2 && last_replayed > 10.0 * mean_replayed);
}

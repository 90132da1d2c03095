//! Sections on divergences and reward models.

use super::{Section, apart, error, row, short, world::World};
use crate::{
    adversarial::AdversarialReward,
    discriminator::{Source, centred, fitted, optimum},
    divergence::{Divergence, entropy, expectation, kl, log_ratio, token_kl},
    loss::{Kind, Loss},
    minimise::{differences, minimise},
    policy::Policy,
    reward::{paid_out, prefix_logits, token_rewards},
    sft::{per_token_mean_optimum, sft},
    update::growth,
};

/// The three divergences of the fine-tuned policy, and the chain rule.
pub(super) fn divergences(world: &World<'_>) -> Section {
    let pairs = [
        ("pi_SFT ‖ pi_0", &world.sft, &world.init),
        ("pi_0 ‖ pi_SFT", &world.init, &world.sft),
    ];
    let rows = pairs.map(|(name, p, q)| {
        let whole = kl(&p.distribution(), &q.distribution());
        let tokens = token_kl(p, q);
        let here = expectation(&p.occupancy(), &tokens);
        let there = expectation(&q.occupancy(), &tokens);
        row![
            name,
            short(whole),
            short(here),
            error(here - whole),
            short(there)
        ]
    });
    Section {
        title: "KL of answers is KL of tokens, where the policy goes",
        says: "KL(p ‖ q) = Σ_s d_p(s) KL(p(·|s) ‖ q(·|s)): weighted by the visits of p, and not \
               by those of q.",
        columns: vec![
            "KL(p ‖ q)",
            "answers",
            "tokens at p",
            "error",
            "tokens at q",
        ],
        rows: rows.to_vec(),
    }
}

/// Forward KL is fine-tuning with a sum over tokens.
pub(super) fn fine_tuning(world: &World<'_>) -> Section {
    let (demo, lengths) = (&world.p_demo, world.space.lengths());
    let found = |weights: &[f64]| {
        let f = |logits: &[f64]| sft(&Policy::new(world.space, logits.to_vec()), weights);
        let found = minimise(f, world.init.logits(), 1e-12, 2000);
        Policy::new(world.space, found.at).distribution()
    };
    let per_token: Vec<f64> = demo.iter().zip(&lengths).map(|(p, l)| p / l).collect();
    let mean = per_token_mean_optimum(demo, &lengths);
    let row = |name: &str, end: Vec<f64>, expected: &[f64]| {
        row![
            name,
            error(apart(&end, expected)),
            short(kl(demo, &end)),
            short(expectation(&end, &lengths)),
        ]
    };
    Section {
        title: "Fine-tuning is forward KL, if tokens are summed",
        says: "The sum over answer tokens ends at pi_beta; the mean over them at pi_beta/|y|, \
               whose answers are too short.",
        columns: vec![
            "loss of an answer",
            "error of the closed form",
            "KL(pi_beta ‖ pi)",
            "tokens",
        ],
        rows: vec![
            row("sum over tokens", found(demo), demo),
            row("mean over tokens", found(&per_token), &mean),
        ],
    }
}

/// Rewards made of a discriminator: what they descend, and whether the demonstrator attracts.
pub(super) fn adversarial(world: &World<'_>) -> Section {
    let (demo, policy) = (&world.p_demo, &world.init);
    let names = [
        "reverse KL",
        "2 JS",
        "reverse KL − 2 JS",
        "forward KL",
        "nothing",
    ];
    let departure: Vec<f64> = world.reward.iter().map(|r| 1e-6 * r).collect();
    let rows = AdversarialReward::ALL
        .iter()
        .zip(names)
        .map(|(reward, name)| {
            let update = policy.gradient(&reward.weights(demo, &world.p_init));
            let value = |logits: &[f64]| {
                let p = Policy::new(world.space, logits.to_vec()).distribution();
                reward.descends(demo, &p).unwrap_or(f64::NAN)
            };
            let truth = differences(value, policy.logits());
            let minus: Vec<f64> = truth.iter().map(|g| -g).collect();
            let gap = match reward {
                AdversarialReward::Fairl => "—".to_owned(),
                _ => error(apart(&update, &minus)),
            };
            let grown = growth(demo, &departure, |p| reward.weights(demo, p), 0.1);
            let verdict = if grown < 1.0 { "attracts" } else { "repels" };
            row![
                reward.name(),
                name,
                gap,
                short(reward.slope(0.0)),
                short(grown),
                verdict
            ]
        });
    Section {
        title: "What a reward made of the discriminator's logit h descends, the discriminator \
                frozen",
        says: "A natural step of 0.1 multiplies a small departure from pi_beta by 1 − 0.1·f'(0): \
               FAIRL's reward drives the policy away.",
        columns: vec![
            "reward f(h)",
            "descends",
            "error",
            "f'(0)",
            "growth",
            "pi_beta",
        ],
        rows: rows.collect(),
    }
}

/// The three sources.
pub(super) fn sources(world: &World<'_>) -> Section {
    let loss = Loss::plain(Kind::BinaryCrossEntropy);
    let trained = [Source::InitSft, Source::SftDemo, Source::InitDemo].map(|source| {
        let (p, q) = source.classes(&world.p_init, &world.p_sft, &world.p_demo);
        (fitted(&loss, p, q).at, log_ratio(p, q))
    });
    let [(first, one), (second, two), (third, three)] = &trained;
    let rows = (0..first.len()).map(|i| {
        let gap = (first[i] - one[i]).abs() + (second[i] - two[i]).abs();
        row![
            world.spelled(i),
            short(first[i]),
            short(second[i]),
            short(third[i]),
            error(first[i] + second[i] - third[i]),
            error(gap + (third[i] - three[i]).abs()),
        ]
    });
    Section {
        title: "Init-SFT, Init-Demo, SFT-Demo: logits fitted by cross-entropy",
        says: "Each is the log-ratio of its two policies, so Init-Demo = Init-SFT + SFT-Demo, and \
               Init-SFT needs no training.",
        columns: vec![
            "answer",
            "Init-SFT",
            "SFT-Demo",
            "Init-Demo",
            "error of the sum",
            "error of the closed forms",
        ],
        rows: rows.collect(),
    }
}

/// What each loss makes of the same two policies.
pub(super) fn losses(world: &World<'_>) -> Section {
    let (p, q) = (&world.p_sft, &world.p_init);
    let plain = Loss::plain(Kind::BinaryCrossEntropy);
    let pairwise = Loss::plain(Kind::BradleyTerry);
    let all = [
        ("cross-entropy", plain, "log p₊/p₋"),
        (
            "…, labels smoothed by 0.1",
            Loss {
                label_smoothing: 0.1,
                ..plain
            },
            "bounded by log 9",
        ),
        ("Brier", Loss::plain(Kind::Brier), "log p₊/p₋"),
        ("KLIEP", Loss::plain(Kind::Kliep), "log p₊/p₋"),
        ("LSIF", Loss::plain(Kind::Lsif), "log p₊/p₋"),
        ("Bradley–Terry", pairwise, "log p₊/p₋ + constant"),
        (
            "…, margin 1",
            Loss {
                margin: 1.0,
                ..pairwise
            },
            "stretched",
        ),
        (
            "…, centring 0.01",
            Loss {
                centering: 0.01,
                ..pairwise
            },
            "constant fixed, biased",
        ),
        (
            "…, penalty 0.1",
            Loss {
                penalty: 0.1,
                ..pairwise
            },
            "shrunk",
        ),
    ];
    let ratio = centred(&log_ratio(p, q));
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut rows: Vec<Vec<String>> = all
        .iter()
        .map(|(name, loss, closed)| {
            let found = fitted(loss, p, q).at;
            let gap = optimum(loss, p, q).map_or("—".to_owned(), |c| error(apart(&found, &c)));
            let moved = centred(&found);
            let stretch = norm(&moved) / norm(&ratio);
            row![
                name,
                closed,
                gap,
                short(stretch),
                short(apart(&moved, &ratio))
            ]
        })
        .collect();
    let hinge = optimum(&Loss::plain(Kind::Hinge), p, q).unwrap_or_default();
    let gap = short(apart(&centred(&hinge), &ratio));
    let stretch = short(norm(&centred(&hinge)) / norm(&ratio));
    rows.push(row!["hinge", "sign(log p₊/p₋)", "—", stretch, gap]);
    Section {
        title: "What each loss makes of pi_SFT against pi_0",
        says: "Scale and distance are from log p₊/p₋, both less their mean: a KL coefficient \
               means the same for the losses at scale 1 alone.",
        columns: vec!["loss", "optimum", "error", "scale", "distance"],
        rows,
    }
}

/// The shift by unequal classes.
pub(super) fn class_ratio(world: &World<'_>) -> Section {
    let ratio = log_ratio(&world.p_sft, &world.p_init);
    let rows = [0.25, 1.0, 4.0].map(|n: f64| {
        let pooled: Vec<f64> = world.p_sft.iter().map(|p| n * p).collect();
        let found = fitted(
            &Loss::plain(Kind::BinaryCrossEntropy),
            &pooled,
            &world.p_init,
        )
        .at;
        let shift: Vec<f64> = found.iter().zip(&ratio).map(|(f, r)| f - r).collect();
        let mean = shift.iter().sum::<f64>() / shift.len() as f64;
        let spread = apart(&shift, &vec![mean; shift.len()]);
        row![
            n,
            short(n.ln()),
            short(mean),
            error(spread + (mean - n.ln()).abs())
        ]
    });
    Section {
        title: "Unequal classes shift every logit alike",
        says: "Pooled data with n₊ and n₋ answers add log n₊/n₋ to each logit: take it off before \
               any reward not linear in it.",
        columns: vec!["n₊/n₋", "log n₊/n₋", "shift of the fit", "error"],
        rows: rows.to_vec(),
    }
}

/// The token-level discriminator.
pub(super) fn tokens(world: &World<'_>) -> Section {
    let space = world.space;
    let loss = Loss::plain(Kind::BinaryCrossEntropy);
    let (p, q) = (
        space.step_sums(&world.p_sft),
        space.step_sums(&world.p_init),
    );
    let logits = fitted(&loss, &p, &q).at;
    let exact = prefix_logits(space, &world.p_sft, &world.p_init);
    let (rewards, closed) = (
        paid_out(space, &logits),
        token_rewards(&world.sft, &world.init),
    );
    let rows = (0..space.answers().len()).map(|answer| {
        let steps = space.steps(answer);
        let listed = |table: &[f64]| {
            let cells: Vec<String> = steps.iter().map(|&step| short(table[step])).collect();
            cells.join(", ")
        };
        let sum: f64 = steps.iter().map(|&step| rewards[step]).sum();
        let gaps = steps
            .iter()
            .map(|&step| (logits[step] - exact[step]).abs() + (rewards[step] - closed[step]).abs());
        row![
            world.spelled(answer),
            listed(&logits),
            listed(&rewards),
            error(gaps.fold(0.0, f64::max)),
            short(sum),
            error(sum - world.reward[answer]),
        ]
    });
    Section {
        title: "A token-level discriminator pays out the answer's reward where it is earned",
        says: "h_t is the log-ratio of the prefix; the differences are each token's own log-ratio \
               and sum to the answer's.",
        columns: vec![
            "answer",
            "fitted h_t",
            "h_t − h_(t−1)",
            "error",
            "sum",
            "error of the sum",
        ],
        rows: rows.collect(),
    }
}

/// How far a policy is by each divergence.
pub(super) fn distances(demonstrator: &[f64], policy: &[f64]) -> Vec<String> {
    let all = [
        Divergence::ForwardKl,
        Divergence::JensenShannon,
        Divergence::ReverseKl,
    ];
    let mut cells: Vec<String> = all.map(|d| short(d.of(demonstrator, policy))).to_vec();
    cells.push(short(entropy(policy)));
    cells
}

//! Sections on what policies converge to.

use super::{Section, apart, error, rewards::distances, row, short, world::World};
use crate::{
    best_of_n::{best_of_n, kl_bound},
    credit::to_go_gradient,
    divergence::{Divergence, entropy, expectation, kl},
    estimator::{expected, leave_one_out, less_mean, over_deviation, per_token_mean},
    minimise::minimise,
    optimum::{beta_at_kl, extrapolated, kl_optimum},
    placement::{Placement, k3_optimum},
    policy::Policy,
    preference::{dpo, drawn_labels, hard_labels, spin_step},
    projection::{bell, bell_starts, project, three_habits},
    reward::token_rewards,
    space::Space,
    update::ascend,
};

/// The closest bell to a demonstrator with two habits.
pub(super) fn projections() -> Section {
    let demonstrator = three_habits(&Space::new(2, 31));
    let count = demonstrator.len();
    let mut rows = vec![row![
        "(the demonstrator)",
        "",
        "",
        "0.000",
        "0.000",
        "0.000"
    ]];
    rows[0].push(short(entropy(&demonstrator)));
    for divergence in [
        Divergence::ForwardKl,
        Divergence::JensenShannon,
        Divergence::ReverseKl,
        Divergence::LogD,
    ] {
        let family = |at: &[f64]| bell(count, at);
        let found = project(divergence, &demonstrator, family, &bell_starts(count));
        rows.extend(found.map(|found| {
            let (mean, width) = (found.parameters[0], found.parameters[1].exp());
            let mut row = row![divergence.name(), short(mean + 1.0), short(width)];
            row.extend(distances(&demonstrator, &found.policy));
            row
        }));
    }
    Section {
        title: "The closest policy of a class that holds one habit, for a demonstrator with three",
        says: "Forward KL covers all habits and what lies between, Jensen–Shannon the two that \
               are close, reverse KL one; the reward log D, which descends the last, seeks a mode \
               too.",
        columns: vec![
            "fitted by",
            "length",
            "width",
            "forward KL",
            "JS",
            "reverse KL",
            "entropy",
        ],
        rows,
    }
}

/// The KL-regularised optimum and token-level extrapolation.
pub(super) fn regularised(world: &World<'_>) -> Section {
    let mut rows = Vec::new();
    for (name, reference) in [("pi_SFT", &world.sft), ("pi_0", &world.init)] {
        for beta in [0.5, 1.0, 2.0] {
            let p = reference.distribution();
            let best = kl_optimum(&p, &world.reward, beta);
            let token = extrapolated(reference, &world.sft, &world.init, 1.0 / beta);
            rows.push(row![
                name,
                beta,
                short(kl(&best, &p)),
                short(expectation(&best, &world.reward)),
                short(apart(&best, &world.p_sft)),
                error(kl(&token.distribution(), &best).max(0.0)),
            ]);
        }
    }
    Section {
        title: "ref·exp(r/β)/Z for the Init-SFT reward, and its extrapolation token by token",
        says: "From pi_0 a coefficient of 1 returns pi_SFT itself; there alone the \
               token-normalised policy, which does not look ahead, is the optimum beyond horizon \
               1.",
        columns: vec![
            "reference",
            "β",
            "KL(pi* ‖ ref)",
            "E[r]",
            "distance to pi_SFT",
            "KL(token ‖ pi*)",
        ],
        rows,
    }
}

/// Best-of-N.
pub(super) fn best_of(world: &World<'_>) -> Section {
    let rows = [1, 2, 4, 16, 64, 256].map(|n: u32| {
        let best = best_of_n(&world.p_sft, &world.reward, n);
        let rounds =
            (0..n.ilog2()).fold(world.p_sft.clone(), |p, _| best_of_n(&p, &world.reward, 2));
        row![
            n,
            short(expectation(&best, &world.reward)),
            short(kl(&best, &world.p_sft)),
            short(kl_bound(n)),
            error(apart(&rounds, &best)),
        ]
    });
    Section {
        title: "Best-of-N from pi_SFT by the Init-SFT reward, exactly",
        says: "log N − (N−1)/N bounds the KL and is far from tight on few answers; K rounds at 2 \
               are Best-of-2^K.",
        columns: vec![
            "N",
            "E[r]",
            "KL(BoN ‖ pi_SFT)",
            "bound",
            "error of rounds at 2",
        ],
        rows: rows.to_vec(),
    }
}

/// Init-SFT as a direction.
pub(super) fn frozen(world: &World<'_>) -> Section {
    let fixed = |p: &[f64]| p.iter().zip(&world.reward).map(|(p, r)| p * r).collect();
    let moving = |p: &[f64]| {
        let pairs = p.iter().zip(&world.p_sft);
        pairs.map(|(p, s)| p * (s / p).ln()).collect()
    };
    let rows = [0, 2, 8, 32, 128].map(|steps| {
        let away = ascend(&world.p_init, fixed, 0.5, steps);
        let home = ascend(&world.p_init, moving, 0.5, steps);
        row![
            steps,
            short(kl(&away, &world.p_sft)),
            short(entropy(&away)),
            short(kl(&home, &world.p_sft)),
            short(entropy(&home)),
        ]
    });
    Section {
        title: "Init-SFT freezes the denominator of the reverse-KL game: a direction, not a target",
        says: "Followed without a KL term, log pi_SFT/pi_0 passes pi_SFT and runs away to one \
               answer; log pi_SFT/pi ends at pi_SFT.",
        columns: vec![
            "steps",
            "frozen: KL to pi_SFT",
            "entropy",
            "moving: KL to pi_SFT",
            "entropy",
        ],
        rows: rows.to_vec(),
    }
}

/// Truncated samplers.
pub(super) fn truncated(world: &World<'_>) -> Section {
    let rows = [1.0, 0.9, 0.8, 0.5].map(|top_p| {
        let sampler = world.sft.truncated(top_p);
        let missing = sampler.iter().filter(|p| **p == 0.0).count();
        row![
            top_p,
            missing,
            short(kl(&sampler, &world.p_sft)),
            short(kl(&world.p_sft, &sampler)),
        ]
    });
    Section {
        title: "A truncated sampler is another policy",
        says: "Where the supports differ a log-ratio is infinite: identities hold at temperature \
               1 and top-p 1.",
        columns: vec![
            "top-p",
            "answers it cannot write",
            "KL(sampler ‖ pi_SFT)",
            "KL(pi_SFT ‖ sampler)",
        ],
        rows: rows.to_vec(),
    }
}

/// Estimators of the policy gradient.
pub(super) fn estimators(world: &World<'_>) -> Section {
    let (p, r) = (&world.p_init, &world.reward);
    let tenfold: Vec<f64> = r.iter().map(|r| 10.0 * r).collect();
    let deviation = |r: &[f64]| over_deviation(r, 0.0);
    let means = |w: &[f64]| per_token_mean(w, &world.space.lengths());
    let grpo = |r: &[f64]| means(&expected(p, r, 4, deviation));
    let all: [(&str, Vec<f64>, Vec<f64>); 6] = [
        (
            "REINFORCE",
            expected(p, r, 1, <[f64]>::to_vec),
            expected(p, &tenfold, 1, <[f64]>::to_vec),
        ),
        (
            "leave-one-out of 4",
            expected(p, r, 4, leave_one_out),
            expected(p, &tenfold, 4, leave_one_out),
        ),
        (
            "less the mean of 4",
            expected(p, r, 4, less_mean),
            expected(p, &tenfold, 4, less_mean),
        ),
        (
            "…, over its deviation",
            expected(p, r, 4, deviation),
            expected(p, &tenfold, 4, deviation),
        ),
        (
            "…, mean over tokens",
            means(&expected(p, r, 4, less_mean)),
            means(&expected(p, &tenfold, 4, less_mean)),
        ),
        ("both, as GRPO published", grpo(r), grpo(&tenfold)),
    ];
    let truth: Vec<f64> = p.iter().zip(r).map(|(p, r)| p * r).collect();
    let truth = world.init.gradient(&truth);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let size = |x: &[f64]| dot(x, x).sqrt();
    let rows = all.iter().map(|(name, once, ten)| {
        let (once, ten) = (world.init.gradient(once), world.init.gradient(ten));
        let cosine = dot(&once, &truth) / (size(&once) * size(&truth));
        row![
            name,
            format!("{cosine:.5}"),
            short(size(&once) / size(&truth)),
            short(size(&ten) / size(&once)),
        ]
    });
    Section {
        title: "What estimators of the policy gradient expect",
        says: "A group's mean scales the gradient by (G−1)/G; dividing by its deviation makes \
               rewards in another unit the same update, so that a KL coefficient means something \
               else on each prompt; neither that nor a mean over tokens is the gradient any more.",
        columns: vec!["estimator", "cosine with ∇E[r]", "size", "size at 10·r"],
        rows: rows.collect(),
    }
}

/// Rewards of tokens.
pub(super) fn credit(world: &World<'_>) -> Section {
    let tokens = token_rewards(&world.sft, &world.init);
    let truth: Vec<f64> = world
        .p_init
        .iter()
        .zip(&world.reward)
        .map(|(p, r)| p * r)
        .collect();
    let truth = world.init.gradient(&truth);
    let rows = [1.0, 0.9, 0.5, 0.0].map(|discount| {
        let found = to_go_gradient(&world.init, &tokens, discount);
        row![discount, error(apart(&found, &truth))]
    });
    Section {
        title: "Token rewards weigh what is still to come",
        says: "With log pi_SFT(a|s)/pi_0(a|s) paid per token, only the undiscounted rest of the \
               answer has the gradient of E[r].",
        columns: vec!["discount γ", "distance to ∇E[r]"],
        rows: rows.to_vec(),
    }
}

/// Rewards in another unit.
pub(super) fn matched(world: &World<'_>) -> Section {
    let (p, r) = (&world.p_sft, &world.reward);
    let tenfold: Vec<f64> = r.iter().map(|r| 10.0 * r).collect();
    let rows = [2, 4, 16].map(|n| {
        let best = best_of_n(p, r, n);
        let nats = kl(&best, p);
        let beta = |reward: &[f64]| beta_at_kl(p, reward, nats);
        let shown = |beta: Option<f64>| beta.map_or("—".to_owned(), short);
        let earned = beta(r).map(|beta| expectation(&kl_optimum(p, r, beta), r));
        row![
            n,
            short(nats),
            shown(beta(r)),
            shown(beta(&tenfold)),
            shown(earned),
            short(expectation(&best, r)),
        ]
    });
    Section {
        title: "Compare at matched KL: the coefficient depends on the unit of the reward, the \
                policy does not",
        says: "At Best-of-N's KL the tilted reference earns a little more, which no policy that \
               near can exceed.",
        columns: vec![
            "N",
            "KL",
            "β for r",
            "β for 10·r",
            "E[r] of ref·exp(r/β)/Z",
            "E[r] of BoN",
        ],
        rows: rows.to_vec(),
    }
}

/// Places of the KL term.
pub(super) fn placements(world: &World<'_>) -> Section {
    let (q, r, beta) = (&world.p_sft, &world.reward, 0.5);
    let tilted = kl_optimum(q, r, beta);
    let rows = Placement::ALL.map(|place| {
        let weights = |p: &[f64]| place.weights(p, q, r, beta);
        let (rate, steps) = match place {
            Placement::K3InLoss => (0.02, 20_000),
            _ => (0.2, 20_000),
        };
        let end = ascend(&world.p_init, weights, rate, steps);
        let (name, gap) = match place {
            Placement::K1InReward | Placement::K2InLoss => {
                ("ref·exp(r/β)/Z", error(apart(&end, &tilted)))
            }
            Placement::K1InLoss => ("the best answer alone", "—".to_owned()),
            Placement::K3InLoss => ("β·ref/(λ − r)", error(apart(&end, &k3_optimum(q, r, beta)))),
        };
        row![
            place.name(),
            name,
            gap,
            short(kl(&end, q)),
            short(expectation(&end, r)),
            short(kl(&end, &tilted)),
        ]
    });
    Section {
        title: "Where the KL term stands decides what is converged to (β = 0.5)",
        says: "k1 in the loss has no gradient on average and regularises nothing; k3 in the loss \
               is the other KL.",
        columns: vec![
            "KL",
            "ends at",
            "error",
            "KL to ref",
            "E[r]",
            "KL to ref·exp(r/β)/Z",
        ],
        rows: rows.to_vec(),
    }
}

/// DPO.
pub(super) fn preferences(world: &World<'_>) -> Section {
    let (reference, q) = (world.sft.log_probs(), &world.p_sft);
    let tilted = kl_optimum(q, &world.reward, 0.5);
    let drawn = drawn_labels(q, &world.reward);
    let hard = hard_labels(q, &world.reward, 4);
    let mut rows = Vec::new();
    for (name, beats) in [
        ("drawn as σ(r₁ − r₂)", &drawn),
        ("best and worst of 4", &hard),
    ] {
        for steps in [5, 10, 20, 40] {
            let f = |logits: &[f64]| {
                dpo(
                    &Policy::new(world.space, logits.to_vec()),
                    &reference,
                    beats,
                    0.5,
                )
            };
            let found = minimise(f, world.sft.logits(), 1e-12, steps);
            let end = Policy::new(world.space, found.at);
            let ratios = end.log_probs().into_iter().zip(&reference);
            let furthest = ratios.map(|(p, q)| (p - q).abs()).fold(0.0, f64::max);
            rows.push(row![
                name,
                steps,
                format!("{:.1e}", found.value),
                short(furthest),
                short(kl(&end.distribution(), &tilted)),
            ]);
        }
    }
    Section {
        title: "DPO reaches the regularised optimum from labels drawn by the reward, and nothing \
                from hard ones",
        says: "Labels drawn as sigmoid(r₁ − r₂) end at ref·exp(r/β)/Z; with the best always \
               preferred to the worst the loss has no minimum and the policy leaves the reference \
               for ever.",
        columns: vec![
            "labels",
            "steps",
            "loss",
            "largest |log pi/ref|",
            "KL to ref·exp(r/β)/Z",
        ],
        rows,
    }
}

/// SPIN.
pub(super) fn self_play(world: &World<'_>) -> Section {
    let rows = [0.4, 0.5, 0.6, 1.0, 3.0].map(|lambda: f64| {
        let after = |rounds: usize| {
            let step = |p: Vec<f64>, _| spin_step(&p, &world.p_demo, lambda);
            kl(&(0..rounds).fold(world.p_sft.clone(), step), &world.p_demo)
        };
        row![
            lambda,
            short(1.0 - 1.0 / lambda),
            short(after(0)),
            short(after(1)),
            short(after(2)),
            short(after(4)),
            short(after(8)),
        ]
    });
    Section {
        title: "SPIN's exact step p_t·(pi_beta/p_t)^(1/λ), as KL(p_t ‖ pi_beta) by round",
        says: "Each round multiplies the log-ratio to pi_beta by 1 − 1/λ: it is reached only for \
               λ > 1/2, at 1 in one round.",
        columns: vec![
            "λ",
            "1 − 1/λ",
            "round 0",
            "round 1",
            "round 2",
            "round 4",
            "round 8",
        ],
        rows: rows.to_vec(),
    }
}

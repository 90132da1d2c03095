//! A made-up summary with round figures, for tests of what is derived from one.

use crate::summary::{
    CalibrationSummary, Comparison, Demonstrator, FORMAT, KlKind, KlSweep, Policy, PolicyRow,
    RankerKind, RankerSummary, Reference, Strength, Summary, Test,
};

const SFT: f64 = 0.5;

/// Eight answers each to 200 prompts, N = 1, 4, 8, and one ranker of each fate.
pub(crate) fn summary() -> Summary {
    let mut rows = vec![
        PolicyRow {
            policy: Policy::Init,
            win_rate_vs_sft: Some(0.2),
            kl_nats: Some(0.0),
            kl_kind: Some(KlKind::Estimate),
            ..row(-0.8)
        },
        PolicyRow {
            policy: Policy::Sft,
            kl_nats: Some(1.5),
            kl_kind: Some(KlKind::Estimate),
            delta_vs_sft_ci95: [0.0; 2],
            ..row(SFT)
        },
    ];
    let mut rankers = Vec::new();
    for (ranker, kind, golden, auc) in [
        ("init-sft", RankerKind::Reward, [1.1, 1.0], Some(0.87)),
        ("init-demo", RankerKind::Reward, [0.51, 0.52], Some(0.9)),
        ("sft-demo", RankerKind::Reward, [0.4, 0.3], Some(0.99)),
        ("closed-form", RankerKind::Reward, [0.8, 1.4], None),
        ("mean-logprob", RankerKind::Trivial, [0.6, 0.7], None),
        ("golden", RankerKind::Ceiling, [1.5, 2.5], None),
    ] {
        for (n, golden) in [(1, SFT), (4, golden[0]), (8, golden[1])] {
            rows.push(PolicyRow {
                policy: Policy::BestOfN,
                ranker: Some(ranker.to_owned()),
                n,
                kl_nats: Some(afd_model::best_of_n_kl_bound(n)),
                kl_kind: Some(KlKind::UpperBound),
                proxy_mean: Some(n as f64 / 4.0),
                ..row(golden)
            });
        }
        let falls = golden[1] < golden[0] && golden[0] > SFT;
        rankers.push(RankerSummary {
            ranker: ranker.to_owned(),
            kind,
            eval_accuracy: auc.map(|auc| auc - 0.1),
            eval_auc: auc,
            eval_loss: auc.map(|auc| 1.2 - auc),
            calibration: auc.map(|_| CalibrationSummary {
                bins: vec![(0.1, 0.2, 400), (0.5, 0.5, 400), (0.9, 0.8, 400)],
                expected_calibration_error: 0.0667,
            }),
            pairs: auc.map(|_| 1000),
            shallow_auc: auc.map(|auc| auc - 0.05),
            closed_form_auc: auc.map(|_| 0.75),
            warnings: Vec::new(),
            spearman_within_prompt_golden: Some(0.28),
            pearson_within_prompt_golden: Some(0.3),
            pearson_within_prompt_length: Some(-0.1),
            proxy_sd_within_prompt: Some(1.0),
            peak_n: if falls { 4 } else { 8 },
            n_without_golden: (kind == RankerKind::Reward).then_some(8),
            regret: (kind == RankerKind::Reward).then_some(0.0),
            fall_from_peak: if falls { -0.1 } else { 0.0 },
            fall_from_peak_ci95: if falls { [-0.15, -0.05] } else { [0.0; 2] },
        });
    }
    let comparison = |ranker: &str, versus: &str, delta: f64| Comparison {
        ranker: ranker.to_owned(),
        versus: versus.to_owned(),
        delta,
        delta_ci: [delta - 0.08, delta + 0.08],
    };
    let test = |policy: &str, delta: f64, p: f64| Test {
        policy: policy.to_owned(),
        versus: "sft".to_owned(),
        delta,
        p,
        p_holm: 2.0 * p,
    };
    Summary {
        format: FORMAT,
        golden: "world".to_owned(),
        prompts: 200,
        samples_per_prompt: 8,
        headline_n: 8,
        n_left_out: vec![16, 32],
        length_slope: Some(0.02),
        distinct_answers: Some(8),
        reference: Reference {
            demonstrator: Demonstrator {
                golden_mean: 2.0,
                golden_ci95: [1.95, 2.05],
                win_rate_vs_sft: 0.95,
            },
        },
        rankers,
        rows,
        comparisons: vec![
            comparison("init-sft", "init-demo", 0.48),
            comparison("init-demo", "sft-demo", 0.22),
        ],
        kl_sweep: ["init-sft", "golden"]
            .into_iter()
            .flat_map(|ranker| [(ranker, 0.5), (ranker, 1.0)])
            .map(|(ranker, kl_nats)| KlSweep {
                ranker: ranker.to_owned(),
                kl_nats,
                golden_mean: SFT + kl_nats / 2.0,
                delta_vs_sft: kl_nats / 2.0,
                delta_vs_sft_ci95: [kl_nats / 2.0 - 0.04, kl_nats / 2.0 + 0.04],
            })
            .collect(),
        tests: vec![
            test("best of 8 by init-sft", 0.5, 0.0001),
            test("best of 8 by init-demo", 0.02, 0.03),
        ],
        strengths: ["init", "sft", "best of 8 by init-sft"]
            .into_iter()
            .zip([-200.0, 0.0, 120.0])
            .map(|(policy, elo)| Strength {
                policy: policy.to_owned(),
                elo,
                elo_ci95: [elo - 15.0, elo + 15.0],
            })
            .collect(),
        scorers: Vec::new(),
        agreement: Vec::new(),
        judged: Vec::new(),
    }
}

/// The same with three trained policies: one that is better at a distance of 1.2 nats, one that
/// only writes more, one that is over-optimised and of unknown distance.
pub(crate) fn with_trained() -> Summary {
    let mut summary = summary();
    let trained = |name: &str, golden: f64, kl: Option<f64>| PolicyRow {
        policy: Policy::Trained,
        name: Some(name.to_owned()),
        kl_nats: kl,
        kl_kind: kl.map(|_| KlKind::Estimate),
        kl_se: kl.map(|_| 0.05),
        kl_ci95: kl.map(|kl| [kl - 0.1, kl + 0.1]),
        proxy: Some("init-sft".to_owned()),
        proxy_mean: Some(2.5),
        proxy_mean_sft: Some(0.25),
        proxy_spearman_within_prompt_golden: Some(0.125),
        entropy_nats: Some(12.0),
        distinct_1: Some(0.6),
        distinct_2: Some(0.8),
        self_bleu: Some(0.25),
        embedding_spread: Some(0.9),
        refusals: Some(0.05),
        repetition: Some(0.1),
        coverage: Some(0.4),
        precision: Some(0.5),
        ..row(golden)
    };
    let longer = PolicyRow {
        mean_length: 45.0,
        length_controlled_gain: Some(0.0),
        length_controlled_gain_ci95: Some([-0.05, 0.05]),
        ..trained("dpo", SFT + 0.5, Some(0.4))
    };
    let rows = [
        trained("rloo", SFT + 1.0, Some(1.2)),
        longer,
        trained("grpo", SFT - 0.3, None),
    ];
    summary.rows.splice(2..2, rows);
    summary
}

fn row(golden: f64) -> PolicyRow {
    let delta = golden - SFT;
    PolicyRow {
        policy: Policy::Sft,
        name: None,
        ranker: None,
        n: 1,
        prompts: 200,
        golden_mean: golden,
        golden_ci95: [golden - 0.05, golden + 0.05],
        delta_vs_sft: delta,
        delta_vs_sft_ci95: [delta - 0.04, delta + 0.04],
        length_controlled_gain: Some(delta),
        length_controlled_gain_ci95: Some([delta - 0.04, delta + 0.04]),
        win_rate_vs_sft: Some(0.5),
        kl_nats: None,
        kl_kind: None,
        kl_se: None,
        kl_ci95: None,
        proxy: None,
        proxy_mean: None,
        proxy_mean_sft: None,
        proxy_spearman_within_prompt_golden: None,
        mean_length: 20.0,
        cut_off: 0.0,
        eos_rate: Some(1.0),
        entropy_nats: None,
        distinct_1: None,
        distinct_2: None,
        self_bleu: None,
        embedding_spread: None,
        refusals: None,
        repetition: None,
        coverage: None,
        precision: None,
    }
}

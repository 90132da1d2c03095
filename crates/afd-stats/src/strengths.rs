//! One strength for each of many policies, from who beats whom.

/// Strengths in nats, so that `a` beats `b` with probability `σ(s_a − s_b)`; their mean is 0.
///
/// `wins[a][b]` is how often `a` beat `b`, a tie counting half to either side. `prior` games are added to
/// every pair, half of them won by either: it keeps a policy that never loses finite, and with 0 and enough
/// games the strengths are those of maximum likelihood.
///
/// Source: Bradley and Terry, *Rank analysis of incomplete block designs*, 1952; fitted by Hunter's
/// minorisation, *MM algorithms for generalized Bradley–Terry models*, 2004, to a relative change of
/// 1e-10 or 10,000 rounds.
///
/// # Panics
/// When `wins` is no square.
pub fn bradley_terry(wins: &[Vec<f64>], prior: f64) -> Vec<f64> {
    let count = wins.len();
    assert!(wins.iter().all(|row| row.len() == count), "a square");
    let won = |a: usize, b: usize| wins[a][b] + prior / 2.0;
    let others = |a: usize| (0..count).filter(move |&b| b != a);
    let mut worth = vec![1.0f64; count];
    for _ in 0..10_000 {
        let next: Vec<f64> = (0..count)
            .map(|a| {
                let all: f64 = others(a).map(|b| won(a, b)).sum();
                let games = |b: usize| (won(a, b) + won(b, a)) / (worth[a] + worth[b]);
                let expected: f64 = others(a).map(games).sum();
                if expected > 0.0 {
                    all / expected
                } else {
                    worth[a]
                }
            })
            .collect();
        let logs: f64 = next.iter().map(|w| w.ln()).sum();
        let scale = (logs / count.max(1) as f64).exp();
        let next: Vec<f64> = next.iter().map(|w| w / scale).collect();
        let moved = next.iter().zip(&worth).map(|(n, w)| (n / w - 1.0).abs());
        let moved = moved.fold(0.0, f64::max);
        worth = next;
        if moved < 1e-10 {
            break;
        }
    }
    worth.into_iter().map(f64::ln).collect()
}

/// Points on the Elo scale for a nat: a lead of 400 is odds of ten to one.
pub const ELO_POINTS_PER_NAT: f64 = 400.0 / std::f64::consts::LN_10;

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::testing::{close, generator};

    #[test]
    fn two_policies_lie_apart_by_the_log_of_their_odds() {
        let found = bradley_terry(&[vec![0.0, 30.0], vec![10.0, 0.0]], 0.0);
        assert!(close(found[0] - found[1], 3f64.ln(), 1e-9), "{found:?}");
        assert!(close(found[0] + found[1], 0.0, 1e-9));
        // With two games more, one won by either: 31 to 11.
        let found = bradley_terry(&[vec![0.0, 30.0], vec![10.0, 0.0]], 2.0);
        assert!(close(found[0] - found[1], (31f64 / 11.0).ln(), 1e-9));
        assert!(close(ELO_POINTS_PER_NAT * 10f64.ln(), 400.0, 1e-9));
    }

    #[test]
    fn who_never_loses_stays_finite_with_a_prior() {
        let found = bradley_terry(&[vec![0.0, 8.0], vec![0.0, 0.0]], 1.0);
        assert!(close(found[0] - found[1], (8.5f64 / 0.5).ln(), 1e-9));
    }

    #[test]
    fn strengths_come_back_from_games_that_they_decided() {
        let true_strengths = [-1.2f64, -0.3, 0.1, 1.4];
        let mut rng = generator(6);
        let mut wins = vec![vec![0.0; 4]; 4];
        for a in 0..4 {
            for b in 0..a {
                let chance = 1.0 / (1.0 + (true_strengths[b] - true_strengths[a]).exp());
                for _ in 0..4000 {
                    match rng.random::<f64>() < chance {
                        true => wins[a][b] += 1.0,
                        false => wins[b][a] += 1.0,
                    }
                }
            }
        }
        let found = bradley_terry(&wins, 0.0);
        // A standard error of about 0.03 each; five of them.
        for (found, expected) in found.iter().zip(true_strengths) {
            assert!(close(*found, expected, 0.15), "{found} {expected}");
        }
    }
}

//! The losses of reward models, as functions of a pair's two logits with their derivatives.
//!
//! Sign convention of all: the chosen answer is label 1, the demonstration side; a higher logit is
//! more demonstration-like.

/// The logit from which the exponentials of [`Kind::Kliep`] and [`Kind::Lsif`] go on along their
/// tangents.
const TANGENT: f64 = 10.0;

/// How two answers become a loss of the chosen logit `c` and the rejected one `r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `½[−(1−ε) log σ(c) − ε log σ(−c) − (1−ε) log σ(−r) − ε log σ(r)]`.
    BinaryCrossEntropy,
    /// `½[(1 − σ(c))² + σ(r)²]`.
    Brier,
    /// `½[max(0, 1 − c) + max(0, 1 + r)]`.
    Hinge,
    /// `−c + exp(r) − 1`, the exponential a line above 10.
    Kliep,
    /// `½ exp(2r) − exp(c)`, the exponentials lines where their logits exceed 10.
    Lsif,
    /// `−(1−ε) log σ(c − r − m) − ε log σ(r − c + m)`.
    BradleyTerry,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [
        Kind::BinaryCrossEntropy,
        Kind::Brier,
        Kind::Hinge,
        Kind::Kliep,
        Kind::Lsif,
        Kind::BradleyTerry,
    ];
}

/// A loss with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Which.
    pub kind: Kind,
    /// `ε` of cross-entropy and Bradley–Terry.
    pub label_smoothing: f64,
    /// `m` of Bradley–Terry.
    pub margin: f64,
    /// What `(c + r)²` is multiplied by.
    pub centering: f64,
    /// What `½(c² + r²)` is multiplied by.
    pub penalty: f64,
}

/// A loss at a pair of logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// The loss.
    pub loss: f64,
    /// Its derivative by the chosen logit.
    pub by_chosen: f64,
    /// Its derivative by the rejected logit.
    pub by_rejected: f64,
}

impl Loss {
    /// A loss without any of its constants.
    pub fn plain(kind: Kind) -> Loss {
        Loss {
            kind,
            label_smoothing: 0.0,
            margin: 0.0,
            centering: 0.0,
            penalty: 0.0,
        }
    }

    /// Whether it is `ℓ₊(c) + ℓ₋(r)`: a loss on the origin of each answer alone, which a pair only
    /// bundles.
    pub fn is_of_origin(&self) -> bool {
        self.kind != Kind::BradleyTerry && self.centering == 0.0
    }

    /// The loss of a chosen answer with logit `c` and a rejected one with logit `r`.
    pub fn of(&self, c: f64, r: f64) -> Value {
        let (mut loss, mut by_chosen, mut by_rejected) = match self.kind {
            Kind::BradleyTerry => {
                let (loss, slope) = smoothed(c - r - self.margin, self.label_smoothing);
                (loss, slope, -slope)
            }
            _ => {
                let (one, up) = self.chosen(c);
                let (zero, down) = self.rejected(r);
                (one + zero, up, down)
            }
        };
        loss += self.centering * (c + r).powi(2) + 0.5 * self.penalty * (c * c + r * r);
        by_chosen += 2.0 * self.centering * (c + r) + self.penalty * c;
        by_rejected += 2.0 * self.centering * (c + r) + self.penalty * r;
        Value {
            loss,
            by_chosen,
            by_rejected,
        }
    }

    /// `ℓ₊` and its derivative.
    fn chosen(&self, c: f64) -> (f64, f64) {
        match self.kind {
            Kind::BinaryCrossEntropy => halved(smoothed(c, self.label_smoothing)),
            Kind::Brier => brier(-c, -1.0),
            Kind::Hinge => hinge(-c, -1.0),
            Kind::Kliep => (-c - 1.0, -1.0),
            Kind::Lsif => {
                let (value, slope) = exp(c, TANGENT);
                (-value, -slope)
            }
            Kind::BradleyTerry => (0.0, 0.0),
        }
    }

    /// `ℓ₋` and its derivative.
    fn rejected(&self, r: f64) -> (f64, f64) {
        match self.kind {
            Kind::BinaryCrossEntropy => {
                let (value, slope) = smoothed(-r, self.label_smoothing);
                halved((value, -slope))
            }
            Kind::Brier => brier(r, 1.0),
            Kind::Hinge => hinge(r, 1.0),
            Kind::Kliep => exp(r, TANGENT),
            Kind::Lsif => {
                // Its tangent begins later than the chosen side's, and so is the steeper one.
                let (value, slope) = exp(2.0 * r, 2.0 * TANGENT);
                (0.5 * value, slope)
            }
            Kind::BradleyTerry => (0.0, 0.0),
        }
    }
}

/// `σ(x) = 1/(1 + exp(−x))`.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        x.exp() / (1.0 + x.exp())
    }
}

/// `log(1 + exp(x))`, which is `−log σ(−x)`, without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `−(1−ε) log σ(x) − ε log σ(−x)` and its derivative.
fn smoothed(x: f64, epsilon: f64) -> (f64, f64) {
    let loss = (1.0 - epsilon) * softplus(-x) + epsilon * softplus(x);
    (loss, sigmoid(x) - (1.0 - epsilon))
}

/// `½ σ(x)²` and its derivative, times the inner one.
fn brier(x: f64, inner: f64) -> (f64, f64) {
    let p = sigmoid(x);
    (0.5 * p * p, inner * p * p * (1.0 - p))
}

/// `½ max(0, 1 + x)` and its derivative, times the inner one.
fn hinge(x: f64, inner: f64) -> (f64, f64) {
    let slope = if 1.0 + x > 0.0 { 0.5 } else { 0.0 };
    (0.5 * (1.0 + x).max(0.0), inner * slope)
}

/// `exp(x)` up to `tangent` and its tangent there from then on, and the derivative.
fn exp(x: f64, tangent: f64) -> (f64, f64) {
    let slope = x.min(tangent).exp();
    (slope * (1.0 + (x - tangent).max(0.0)), slope)
}

fn halved((value, slope): (f64, f64)) -> (f64, f64) {
    (0.5 * value, 0.5 * slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::close, minimise::differences};

    #[test]
    fn losses_on_paper() {
        let ln3 = 3f64.ln();
        let of = |kind, c, r| Loss::plain(kind).of(c, r).loss;
        // σ(ln 3) = ¾, σ(0) = ½.
        let cross = of(Kind::BinaryCrossEntropy, ln3, 0.0);
        close(cross, 0.5 * (8.0f64 / 3.0).ln(), 1e-12);
        close(of(Kind::Brier, ln3, -ln3), 1.0 / 16.0, 1e-12);
        close(of(Kind::Hinge, 0.25, 0.5), 0.5 * (0.75 + 1.5), 1e-12);
        close(of(Kind::Kliep, 0.5, ln3), 3.0 - 1.0 - 0.5, 1e-12);
        close(of(Kind::Lsif, 2f64.ln(), ln3), 4.5 - 2.0, 1e-12);
        let bradley_terry = of(Kind::BradleyTerry, ln3 + 5.0, 5.0);
        close(bradley_terry, (4.0f64 / 3.0).ln(), 1e-12);
        // Above its tangent: e¹⁰·(200 − 10 + 1) − 1.
        let runaway = of(Kind::Kliep, 0.0, 200.0);
        close(runaway / (10f64.exp() * 191.0 - 1.0), 1.0, 1e-12);
        let constants = Loss {
            label_smoothing: 0.25,
            margin: 1.0,
            centering: 0.01,
            penalty: 0.1,
            ..Loss::plain(Kind::BradleyTerry)
        };
        // A lead of ln 3 beyond the margin: ¾ ln(4/3) + ¼ ln 4; (c + r)² = ½(c² + r²)·2 …
        let (c, r) = (ln3 + 1.0, 0.0);
        let order = 0.75 * (4.0f64 / 3.0).ln() + 0.25 * 4f64.ln();
        let expected = order + 0.01 * c * c + 0.05 * c * c;
        close(constants.of(c, r).loss, expected, 1e-12);
    }

    #[test]
    fn derivatives_are_those_of_the_losses() {
        for kind in Kind::ALL {
            let loss = Loss {
                label_smoothing: 0.1,
                margin: 0.3,
                centering: 0.02,
                penalty: 0.05,
                ..Loss::plain(kind)
            };
            for (c, r) in [(0.3, -0.7), (-2.0, 1.5), (4.0, 4.2), (-0.2, -3.0)] {
                let numeric = differences(|x| loss.of(x[0], x[1]).loss, &[c, r]);
                let value = loss.of(c, r);
                let size = 1.0 + value.loss.abs();
                close(value.by_chosen, numeric[0], 1e-8 * size);
                close(value.by_rejected, numeric[1], 1e-8 * size);
            }
        }
    }
}

//! A minimiser for smooth functions of a table: what closed forms are held against.

use std::collections::VecDeque;

/// How many steps of the past shape the next one.
const MEMORY: usize = 12;

/// How far a step may move any coordinate.
const LONGEST: f64 = 1.0;

/// Where [`minimise`] stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// The point.
    pub at: Vec<f64>,
    /// The function there.
    pub value: f64,
    /// The largest derivative there, in absolute value: how far from a minimum it may be.
    pub slope: f64,
    /// How many steps it took.
    pub steps: usize,
}

/// Minimises `f`, which returns its value and gradient, from `start` until no derivative exceeds
/// `tolerance`, or `max_steps`.
///
/// Source: L-BFGS, Nocedal & Wright 2006, algorithms 7.4 and 7.5.
/// Departures: no coordinate moves by more than 1 in a step, so that the minimum found is the one
/// the start lies above where there are several; a step is halved until the value falls enough, or
/// until it no longer moves but the slope falls, for near the minimum a value tells nothing below
/// 1e-16 of itself.
pub fn minimise(
    mut f: impl FnMut(&[f64]) -> (f64, Vec<f64>),
    start: &[f64],
    tolerance: f64,
    max_steps: usize,
) -> Minimum {
    let mut at = start.to_vec();
    let (mut value, mut gradient) = f(&at);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    let mut steps = 0;
    while steps < max_steps && largest(&gradient) > tolerance {
        let mut direction = descent(&memory, &gradient);
        if dot(&direction, &gradient) >= 0.0 {
            memory.clear();
            direction = descent(&memory, &gradient);
        }
        let fall = dot(&direction, &gradient);
        let mut rate = f64::min(1.0, LONGEST / largest(&direction));
        let found = loop {
            let point = moved(&at, &direction, rate);
            let (new, new_gradient) = f(&point);
            let still = (new - value).abs() <= 1e-13 * (1.0 + value.abs());
            if new <= value + 1e-4 * rate * fall
                || still && largest(&new_gradient) < largest(&gradient)
            {
                break Some((point, new, new_gradient));
            }
            rate *= 0.5;
            if rate < 1e-14 {
                break None;
            }
        };
        let Some((point, new, new_gradient)) = found else {
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        };
        let step = moved(&point, &at, -1.0);
        let change = moved(&new_gradient, &gradient, -1.0);
        if dot(&step, &change) > 1e-14 * dot(&change, &change) {
            memory.push_back((step, change));
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        (at, value, gradient) = (point, new, new_gradient);
        steps += 1;
    }
    let slope = largest(&gradient);
    Minimum {
        at,
        value,
        slope,
        steps,
    }
}

/// The gradient of `f` by central differences of ±1e-5: good to about 1e-9 of smooth functions of
/// order one.
pub fn differences(f: impl Fn(&[f64]) -> f64, at: &[f64]) -> Vec<f64> {
    let width = 1e-5;
    let mut point = at.to_vec();
    let slope = |i: usize| {
        point[i] = at[i] + width;
        let up = f(&point);
        point[i] = at[i] - width;
        let down = f(&point);
        point[i] = at[i];
        (up - down) / (2.0 * width)
    };
    (0..at.len()).map(slope).collect()
}

/// The direction of the two-loop recursion.
fn descent(memory: &VecDeque<(Vec<f64>, Vec<f64>)>, gradient: &[f64]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut pulls = Vec::new();
    for (step, change) in memory.iter().rev() {
        let pull = dot(step, &direction) / dot(step, change);
        direction = moved(&direction, change, -pull);
        pulls.push(pull);
    }
    let scale = match memory.back() {
        Some((step, change)) => dot(step, change) / dot(change, change),
        None => 1.0 / (1.0 + largest(gradient)),
    };
    direction.iter_mut().for_each(|d| *d *= scale);
    for ((step, change), pull) in memory.iter().zip(pulls.iter().rev()) {
        let back = dot(change, &direction) / dot(step, change);
        direction = moved(&direction, step, pull - back);
    }
    direction
}

/// `x + rate · y`.
fn moved(x: &[f64], y: &[f64], rate: f64) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + rate * y).collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |most, x| f64::max(most, x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::close_all;

    #[test]
    fn the_bottom_of_a_bowl_and_of_a_bent_valley() {
        let bowl = |x: &[f64]| {
            let value = (x[0] - 1.0).powi(2) + 100.0 * (x[1] + 2.0).powi(2);
            (value, vec![2.0 * (x[0] - 1.0), 200.0 * (x[1] + 2.0)])
        };
        let found = minimise(bowl, &[5.0, 5.0], 1e-10, 100);
        close_all(&found.at, &[1.0, -2.0], 1e-10);
        // Rosenbrock's: its minimum of 0 is at (1, 1).
        let valley = |x: &[f64]| {
            let bend = x[1] - x[0] * x[0];
            let value = (1.0 - x[0]).powi(2) + 100.0 * bend * bend;
            let by_x = -2.0 * (1.0 - x[0]) - 400.0 * x[0] * bend;
            (value, vec![by_x, 200.0 * bend])
        };
        let found = minimise(valley, &[-1.2, 1.0], 1e-9, 500);
        close_all(&found.at, &[1.0, 1.0], 1e-8);
        assert!(found.slope <= 1e-9);
    }

    #[test]
    fn a_function_without_minimum_is_left_after_the_last_step_with_its_slope() {
        let found = minimise(
            |x| ((-x[0]).exp(), vec![-(-x[0]).exp()]),
            &[0.0],
            1e-300,
            20,
        );
        assert!(found.at[0] > 3.0 && found.slope > 0.0, "{found:?}");
    }

    #[test]
    fn differences_of_a_square() {
        let at = [1.0, -3.0];
        let numeric = differences(|x| x[0] * x[0] + x[0] * x[1], &at);
        close_all(&numeric, &[-1.0, 1.0], 1e-9);
    }
}

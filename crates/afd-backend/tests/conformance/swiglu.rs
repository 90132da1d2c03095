//! The gate of SwiGLU against its definition.

use afd_backend::ops::swiglu;

use crate::reference::{check, draw, generator};

fn by_definition([gate, up]: &[Vec<f64>; 2]) -> Vec<f64> {
    let both = gate.iter().zip(up);
    both.map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
}

#[test]
fn numbers_of_every_size() {
    // The last are more than a thread takes at a time.
    for (count, scale) in [(1, 2.0), (7, 2.0), (100, 20.0), (4100, 2.0)] {
        let mut rng = generator(count as u64);
        let inputs = [draw(&mut rng, count, scale), draw(&mut rng, count, 2.0)];
        let what = format!("swiglu of {count} numbers up to {scale}");
        check(&what, &inputs, |[gate, up]| swiglu(gate, up), by_definition);
    }
}

#[test]
fn a_gate_far_open_lets_through_and_one_far_shut_does_not() {
    check(
        "swiglu of extremes",
        &[vec![-200.0, -90.0, 0.0, 90.0, 200.0], vec![3.0; 5]],
        |[gate, up]| swiglu(gate, up),
        by_definition,
    );
}

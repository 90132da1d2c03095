//! Rotary positions against rotations of pairs of numbers.

use afd_backend::{
    device::test_device,
    ops::{RotaryTable, frequencies, rotate},
};
use burn::{
    Tensor,
    tensor::{Int, TensorData},
};
use rand::Rng;

use crate::reference::{check, check_halves, draw, generator};

const THETA: f64 = 500.0;

/// Longer than any position tried, so that a table's last rows are read.
const POSITIONS: usize = 1100;

struct Shape {
    batch: usize,
    length: usize,
    heads: usize,
    width: usize,
    /// How many of a head's numbers are turned.
    turned: usize,
}

/// Numbers `i` and `i + d/2` of a head are a point, turned by `position · θ^(−2i/d)`, where `d` is
/// how many are turned; the others stay.
fn by_definition(x: &[f64], shape: &Shape, position: impl Fn(usize, usize) -> usize) -> Vec<f64> {
    let half = shape.turned / 2;
    let mut out = x.to_vec();
    for (head, row) in x.chunks(shape.width).enumerate() {
        let token = head / shape.heads;
        let position = position(token / shape.length, token % shape.length) as f64;
        for i in 0..half {
            let angle = position * THETA.powf(-2.0 * i as f64 / shape.turned as f64);
            let (sin, cos) = angle.sin_cos();
            let at = head * shape.width + i;
            out[at] = row[i] * cos - row[i + half] * sin;
            out[at + half] = row[i] * sin + row[i + half] * cos;
        }
    }
    out
}

fn check_shape(shape: Shape, start: usize) {
    let Shape {
        batch,
        length,
        heads,
        width,
        turned,
    } = shape;
    let mut rng = generator((width + start) as u64);
    let inputs = [draw(&mut rng, batch * length * heads * width, 2.0)];
    let table = RotaryTable::new(POSITIONS, &frequencies(turned, THETA), &test_device());
    let turn = |[x]: [Tensor<1>; 1], angles| {
        rotate(x.reshape([batch, length, heads, width]), angles).flatten(0, 3)
    };
    check(
        &format!("rotate [{batch}, {length}, {heads}, {width}] from {start}"),
        &inputs,
        |x| turn(x, table.range(start, length)),
        |[x]| by_definition(x, &shape, |_, token| start + token),
    );

    // Each row at positions of its own, in no order.
    let positions: Vec<i32> = (0..batch * length)
        .map(|_| rng.random_range(0..POSITIONS as i32))
        .collect();
    let indices = TensorData::new(positions.clone(), [batch, length]);
    let indices = Tensor::<2, Int>::from_data(indices, &test_device());
    check(
        &format!("rotate [{batch}, {length}, {heads}, {width}] anywhere"),
        &inputs,
        |x| turn(x, table.gather(indices.clone())),
        |[x]| {
            by_definition(x, &shape, |row, token| {
                positions[row * length + token] as usize
            })
        },
    );
}

#[test]
fn half_precision_is_close_to_the_definition() {
    let shape = Shape {
        batch: 2,
        length: 3,
        heads: 2,
        width: 6,
        turned: 6,
    };
    let inputs = [draw(&mut generator(6), 72, 2.0)];
    let table = RotaryTable::new(POSITIONS, &frequencies(shape.width, THETA), &test_device());
    check_halves(
        "rotate",
        &inputs,
        |[x], dtype| {
            let turned = rotate(x.reshape([2, 3, 2, 6]), table.range(700, 3));
            assert_eq!(turned.dtype(), dtype.into());
            turned.flatten(0, 3)
        },
        |[x]| by_definition(x, &shape, |_, token| 700 + token),
    );
}

#[test]
fn shapes_and_positions() {
    let shape = |[batch, length, heads, width]: [usize; 4]| Shape {
        batch,
        length,
        heads,
        width,
        turned: width,
    };
    check_shape(shape([1, 1, 1, 2]), 0);
    check_shape(shape([2, 3, 4, 6]), 5);
    let partly = Shape {
        turned: 4,
        ..shape([2, 3, 2, 10])
    };
    check_shape(partly, 5);
    // Angles of a thousand radians are off by 1e-4 when they are multiplied in f32.
    check_shape(shape([1, 2, 3, 16]), POSITIONS - 2);
    let mut rng = generator(2);
    for _ in 0..2 {
        let mut upto = |limit| rng.random_range(1..limit);
        check_shape(shape([upto(4), upto(6), upto(4), 2 * upto(8)]), upto(1000));
    }
}

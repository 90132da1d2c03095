//! Rows of a matrix against its definition.

use afd_backend::{device::test_device, ops::rows};
use burn::{Tensor, tensor::Int};
use rand::Rng;

use crate::reference::{check, draw, generator};

#[test]
fn rows_that_are_taken_often_and_never() {
    for (count, width, taken) in [(1, 1, 1), (3, 5, 2), (40, 7, 100)] {
        let mut rng = generator(count as u64);
        let ids: Vec<usize> = (0..taken).map(|_| rng.random_range(0..count)).collect();
        let matrix = draw(&mut rng, count * width, 2.0);
        let op = |[matrix]: [Tensor<1>; 1]| {
            let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            let ids = Tensor::<1, Int>::from_data(ids.as_slice(), &test_device());
            rows(matrix.reshape([count, width]), ids).flatten(0, 1)
        };
        let by_definition = |[matrix]: &[Vec<f64>; 1]| -> Vec<f64> {
            let row = |id: &usize| matrix[id * width..(id + 1) * width].to_vec();
            ids.iter().flat_map(row).collect()
        };
        let what = format!("{taken} rows of {count} of {width}");
        check(&what, &[matrix], op, by_definition);
    }
}

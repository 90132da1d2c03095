//! Sums of squares against their definition.

use afd_backend::{device::test_device, ops::sum_of_squares};
use burn::Tensor;

use crate::reference::{draw, generator, host, tensor};

#[test]
fn of_any_number_of_numbers_however_they_lie() {
    let device = test_device();
    for (rows, columns) in [(1, 1), (3, 7), (40, 1000)] {
        let numbers = draw(&mut generator(columns as u64), rows * columns, 2.0);
        let exact: f64 = numbers.iter().map(|x| x * x).sum();
        let x: Tensor<2> = tensor(&numbers, &device).reshape([rows, columns]);
        let part: f64 = numbers[columns / 2..columns].iter().map(|x| x * x).sum();
        for (found, exact) in [
            (sum_of_squares(x.clone()), exact),
            (sum_of_squares(x.clone().transpose()), exact),
            (
                sum_of_squares(x.narrow(0, 0, 1).slice([0..1, columns / 2..columns])),
                part,
            ),
        ] {
            assert_eq!(found.dims(), [1]);
            let off = (host(found)[0] - exact).abs();
            assert!(
                off <= 1e-5 * exact,
                "{rows} by {columns}: off by {off} of {exact}"
            );
        }
    }
    // One number as four, and of many equal ones the sum, which few accumulators would lose.
    let four = tensor(&[3.0, 5.0, 7.0, 9.0], &device)
        .narrow(0, 1, 1)
        .expand([4]);
    assert_eq!(host(sum_of_squares(four)), [100.0]);
    let many = Tensor::<1>::ones([1 << 23], &device).mul_scalar(0.7);
    let found = host(sum_of_squares(many))[0] / f64::from(1 << 23);
    assert!(
        (found / f64::from(0.7f32).powi(2) - 1.0).abs() < 2e-5,
        "{found}"
    );
    let none = Tensor::<2>::zeros([0, 3], &device);
    assert_eq!(host(sum_of_squares(none)), [0.0]);
}

//! Which keys masks let a query see.

use afd_backend::{
    device::test_device,
    ops::{Mask, causal_mask, padding_mask},
};

use crate::reference::host;

/// Low enough that no real score lifts it: `exp` of what is left is 0.
const HIDDEN: f64 = -1e6;

fn assert_sees(mask: Mask, shape: [usize; 4], sees: impl Fn(usize, usize, usize) -> bool) {
    assert_eq!(mask.dims(), shape);
    let [_, _, queries, keys] = shape;
    for (index, value) in host(mask).into_iter().enumerate() {
        let (row, key) = (index / keys, index % keys);
        let (sequence, query) = (row / queries, row % queries);
        let fits = match sees(sequence, query, key) {
            true => value == 0.0,
            false => value <= HIDDEN && value.is_finite(),
        };
        assert!(
            fits,
            "sequence {sequence}, query {query}, key {key}: {value}"
        );
    }
}

#[test]
fn a_causal_query_sees_itself_and_everything_before() {
    for (past, length) in [(0, 1), (0, 5), (3, 1), (4, 3)] {
        let mask = causal_mask(past, length, None, &test_device());
        let shape = [1, 1, length, past + length];
        assert_sees(mask, shape, |_, query, key| key <= past + query);
    }
}

#[test]
fn a_window_holds_so_many_keys_up_to_the_querys_own() {
    for (past, length) in [(0, 5), (3, 1), (4, 3)] {
        for window in [1, 2, 100] {
            let mask = causal_mask(past, length, Some(window), &test_device());
            let shape = [1, 1, length, past + length];
            assert_sees(mask, shape, |_, query, key| {
                key <= past + query && past + query < key + window
            });
        }
    }
    let present = [[false, true, true, true], [true, true, true, false]];
    let mask = padding_mask(present.as_flattened(), 2, 4, Some(2), &test_device());
    assert_sees(mask, [2, 1, 4, 4], |row, query, key| {
        key <= query && query < key + 2 && present[row][key]
    });
}

#[test]
fn padding_is_hidden_wherever_it_stands() {
    // Padded on the left, on the right, in the middle, not at all, and nothing but padding.
    let present = [
        [false, false, true, true],
        [true, true, true, false],
        [true, false, true, true],
        [true; 4],
        [false; 4],
    ];
    let mask = padding_mask(present.as_flattened(), 5, 4, None, &test_device());
    assert_sees(mask, [5, 1, 4, 4], |row, query, key| {
        key <= query && present[row][key]
    });
}

//! Which keys masks let a query see.

use afd_backend::{
    device::test_device,
    ops::{Mask, cached_mask, causal_mask, packed_mask},
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
}

/// Rows that begin at the first key, behind it, with the last new token, and nowhere.
#[test]
fn padding_before_a_cached_row_is_not_seen() {
    for (past, length) in [(0, 5), (4, 1), (3, 2)] {
        let starts = [0, 2, 4, usize::MAX];
        for window in [None, Some(1), Some(2), Some(100)] {
            let mask = cached_mask(&starts, past, length, window, &test_device());
            assert_sees(mask, [4, 1, length, past + length], |row, query, key| {
                let at = past + query;
                let near = key <= at && window.is_none_or(|window| at < key + window);
                near && (key >= starts[row] || key == at)
            });
        }
    }
}

/// Two rows in one, with what pads them: whose each token is.
const TEXTS: [[usize; 6]; 5] = [
    [1, 1, 1, 2, 2, 2],
    // Padded on the left, on the right, between, and nothing but padding.
    [1, 2, 3, 3, 3, 3],
    [1, 1, 1, 1, 2, 3],
    [1, 1, 2, 3, 3, 4],
    [1, 2, 3, 4, 5, 6],
];

#[test]
fn texts_in_one_row_do_not_see_each_other() {
    let positions = [
        [0, 1, 2, 0, 1, 2],
        [0, 0, 0, 1, 2, 3],
        [0, 1, 2, 3, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [0; 6],
    ];
    for window in [None, Some(1), Some(2), Some(100)] {
        let mask = packed_mask(positions.as_flattened(), 6, window, &test_device());
        assert_sees(mask, [5, 1, 6, 6], |row, query, key| {
            let one_text = TEXTS[row][query] == TEXTS[row][key];
            one_text && key <= query && window.is_none_or(|window| query < key + window)
        });
    }
}

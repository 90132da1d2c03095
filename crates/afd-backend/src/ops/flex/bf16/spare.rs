//! Room for packed factors that is used again: memory fresh from the system is slow to write the first time.

use std::cell::RefCell;

use super::pack::{Line, SIDE};

/// Pieces that a thread keeps.
const PIECES: usize = 4;

/// Lines in the largest piece that is kept: 16 MiB.
const LARGEST: usize = (16 << 20) / size_of::<Line>();

/// How many times larger than wanted a piece may be: it may be held for long.
const WASTE: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// So many lines, with anything in them.
pub(super) fn take(count: usize) -> Vec<Line> {
    let mut lines = SPARE.with_borrow_mut(|spare| {
        let fits = |at: &usize| (count..=WASTE * count).contains(&spare[*at].capacity());
        let best = (0..spare.len()).filter(fits);
        let best = best.min_by_key(|at| spare[*at].capacity());
        best.map(|at| spare.swap_remove(at)).unwrap_or_default()
    });
    lines.resize(count, Line([0; SIDE]));
    lines
}

/// Keeps them for later, if there are not as many and larger pieces already.
pub(super) fn give(lines: Vec<Line>) {
    if lines.capacity() == 0 || lines.capacity() > LARGEST {
        return;
    }
    // A thread that ends has no use for it.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        spare.push(lines);
        if spare.len() > PIECES {
            spare.sort_by_key(|lines| std::cmp::Reverse(lines.capacity()));
            spare.truncate(PIECES);
        }
    });
}

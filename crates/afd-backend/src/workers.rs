//! Independent pieces of work on the threads a device leaves idle.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Calls `work(state, index)` for every index below `count` and hands each result to `sink`
/// as it comes, which may be in any order.
///
/// There is a thread for each of `states`, which is what a thread needs for its own: a clone
/// of a model, say. One state means no threads. The first error ends the work: what runs is
/// finished, what has not begun is not.
///
/// # Errors
/// The first error of `work` or `sink`.
///
/// # Panics
/// When `work` panics, or there is no state.
pub fn for_each<S: Send, R: Send, E: Send>(
    states: Vec<S>,
    count: usize,
    work: impl Fn(&S, usize) -> Result<R, E> + Sync,
    mut sink: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    assert!(!states.is_empty(), "work needs a state");
    if let [state] = states.as_slice() {
        return (0..count).try_for_each(|index| sink(index, work(state, index)?));
    }
    let next = AtomicUsize::new(0);
    let (work, next) = (&work, &next);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for state in states {
            let sender = sender.clone();
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // A closed channel means that somebody else's work failed.
                    if index >= count || sender.send((index, work(&state, index))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        results
            .into_iter()
            .try_for_each(|(index, result)| sink(index, result?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_worked_on_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 5] {
            let mut seen = vec![0; 40];
            let states: Vec<usize> = vec![100; threads];
            let work = |state: &usize, index: usize| Ok::<_, ()>(state + index);
            let sink = |index: usize, result: usize| {
                assert_eq!(result, 100 + index);
                seen[index] += 1;
                Ok(())
            };
            for_each(states, 40, work, sink).unwrap();
            assert_eq!(seen, vec![1; 40]);
        }
    }

    #[test]
    fn an_error_ends_the_work() {
        for threads in [1, 3] {
            let work = |_: &(), index: usize| if index == 3 { Err(index) } else { Ok(index) };
            assert_eq!(
                for_each(vec![(); threads], 1000, work, |_, _| Ok(())),
                Err(3)
            );
        }
    }
}

//! Independent pieces of work on the threads a device leaves idle.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Calls `work(state, index)` for every index below `count` and hands each result to `sink`
/// as it comes, which may be in any order.
///
/// State `i` is for rayon's thread `i`, if there is one: what a thread needs for its own, a clone of a model, say. Loops
/// that `work` spreads over rayon's threads are taken over by others only when those have nothing to do. `sink` is
/// called on any of these threads, by one at a time while others may wait for it. With one state the caller does it
/// all. The first error or panic ends the work: what runs is finished, what has not begun is not.
///
/// Every thread of rayon's has to come by. So `sink` must not call this itself, and where the program's first thread is
/// one of them ([`join_rayon`](crate::host::join_rayon)) no other may call it while that one is blocked.
///
/// # Errors
/// The first error of `work` or `sink`.
///
/// # Panics
/// When `work` or `sink` does, or there is no state.
pub fn for_each<S: Send, R, E: Send>(
    states: Vec<S>,
    count: usize,
    work: impl Fn(&S, usize) -> Result<R, E> + Sync,
    mut sink: impl FnMut(usize, R) -> Result<(), E> + Send,
) -> Result<(), E> {
    assert!(!states.is_empty(), "work needs a state");
    if let [state] = states.as_slice() {
        return (0..count).try_for_each(|index| sink(index, work(state, index)?));
    }
    let states: Vec<Mutex<S>> = states.into_iter().map(Mutex::new).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new((sink, Ok(()))));
    // Tasks that any thread may take would leave some in the queue: who is idle helps others first.
    rayon::scope(|scope| {
        scope.spawn_broadcast(|_, thread| {
            let state = states.get(thread.index());
            let Some(state) = state.and_then(|state| state.lock().ok()) else {
                return;
            };
            let _ends = EndsByPanic { next: &next, count };
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                let result = work(&state, index);
                // A sink that has panicked is not called again.
                let Ok(mut results) = results.lock() else {
                    break;
                };
                let (sink, outcome) = &mut *results;
                if outcome.is_ok() {
                    *outcome = result.and_then(|result| sink(index, result));
                }
                if outcome.is_err() {
                    next.store(count, Ordering::Relaxed);
                }
            }
        });
    });
    let (_, outcome) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome
}

/// Leaves nothing to begin with when its thread panics.
struct EndsByPanic<'a> {
    next: &'a AtomicUsize,
    count: usize,
}

impl Drop for EndsByPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.next.store(self.count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        time::Duration,
    };

    use rayon::prelude::*;

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

    /// Also where there are fewer threads than states, and where the caller is one of them.
    #[test]
    fn work_may_itself_be_spread_over_rayons_threads() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            let work = |from: &usize, index: usize| {
                let numbers = (*from..1000).into_par_iter();
                Ok::<usize, ()>(index + numbers.sum::<usize>())
            };
            let mut results = vec![0; 40];
            let sink = |index: usize, result: usize| {
                results[index] = result;
                Ok(())
            };
            pool.install(|| for_each(vec![0; 3], 40, work, sink).unwrap());
            assert!(results.into_iter().eq(499_500..499_540));
        }
    }

    /// Pieces of work, each of a millisecond, which leaves time for a panic to be told.
    const MANY: usize = 20_000;

    /// How often `work` was called when it or `sink` ends at index 3.
    fn calls(states: usize, work: fn(usize) -> Result<usize, usize>, sink: fn(usize)) -> usize {
        let calls = AtomicUsize::new(0);
        let counted = |_: &(), index: usize| {
            calls.fetch_add(1, Ordering::Relaxed);
            if index > 3 {
                thread::sleep(Duration::from_millis(1));
            }
            work(index)
        };
        let sink = |index, _| {
            sink(index);
            Ok(())
        };
        let all = || for_each(vec![(); states], MANY, counted, sink);
        let ended = catch_unwind(AssertUnwindSafe(all));
        assert!(!matches!(ended, Ok(Ok(()))), "{ended:?}");
        calls.into_inner()
    }

    #[test]
    fn an_error_is_told() {
        for states in [1, 3] {
            let work = |_: &(), index: usize| if index == 3 { Err(index) } else { Ok(index) };
            let told = for_each(vec![(); states], 1000, work, |_, _| Ok(()));
            assert_eq!(told, Err(3));
            let sink = |index, _| if index == 3 { Err(index) } else { Ok(()) };
            let told = for_each(vec![(); states], 1000, |(), index| Ok(index), sink);
            assert_eq!(told, Err(3));
        }
    }

    #[test]
    fn an_error_or_a_panic_ends_the_work() {
        let error = |index| if index == 3 { Err(index) } else { Ok(index) };
        let panic = |index| {
            assert!(index != 3, "the fourth");
            Ok(index)
        };
        let died = |index| assert!(index != 3, "the fourth");
        for states in [1, 3] {
            for calls in [
                calls(states, error, |_| ()),
                calls(states, panic, |_| ()),
                calls(states, Ok, died),
            ] {
                assert!(calls < MANY, "{calls}");
            }
        }
    }
}

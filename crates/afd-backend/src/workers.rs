//! Independent pieces of work on the threads a device leaves idle.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Calls `work(state, index)` for every index below `count` and hands each result to `sink`
/// as it comes, which may be in any order.
///
/// Each of `states` is taken by one of rayon's threads, for what a thread needs for its own: a clone of a model,
/// say. What `work` itself spreads over rayon's threads stays on its own, but for threads that have nothing left to do.
/// One state means no threads. The first error ends the work: what runs is finished, what has not begun is not.
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
    let states: Vec<Mutex<Option<S>>> = states.into_iter().map(Some).map(Mutex::new).collect();
    let (next, ended) = (AtomicUsize::new(0), Mutex::new((sink, Ok(()))));
    // Tasks that any thread may take would leave some in the queue: who is idle helps others first.
    rayon::scope(|scope| {
        scope.spawn_broadcast(|_, thread| {
            let state = states.get(thread.index());
            let Some(state) = state.and_then(|state| lock(state).take()) else {
                return;
            };
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count || lock(&ended).1.is_err() {
                    break;
                }
                let result = work(&state, index);
                let (sink, ended) = &mut *lock(&ended);
                if ended.is_ok() {
                    *ended = result.and_then(|result| sink(index, result));
                }
            }
        });
    });
    let (_, ended) = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended
}

/// A panic while it was held ends the work anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_panic_arrives() {
        for threads in [1, 3] {
            let work = |_: &(), index: usize| {
                assert!(index != 3, "the fourth");
                Ok::<usize, ()>(index)
            };
            let died = || for_each(vec![(); threads], 1000, work, |_, _| Ok(()));
            assert!(std::panic::catch_unwind(died).is_err());
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

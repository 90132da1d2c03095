//! Work done while another is under way: batches are put together ahead of their step.

/// What `work` gives, which is done on this thread; `aside` is done too, by one of rayon's threads that has time before
/// `work` is over, or else after it by this one.
pub(crate) fn beside<R>(aside: impl FnOnce() + Send, work: impl FnOnce() -> R) -> R {
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| aside());
        work()
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, time::Duration};

    use super::*;

    #[test]
    fn aside_is_done_while_the_work_is_under_way() {
        // More threads than one, wherever this runs.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
        pool.build().unwrap().install(|| {
            let (tell, told) = channel();
            let aside = move || tell.send(7).unwrap();
            // Only another thread can tell while this one waits.
            let found = beside(aside, move || told.recv_timeout(Duration::from_secs(60)));
            assert_eq!(found, Ok(7));
        });
    }

    #[test]
    fn aside_is_done_where_there_is_one_thread() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
        pool.build().unwrap().install(|| {
            let mut aside = None;
            assert_eq!(beside(|| aside = Some(1), || 2), 2);
            assert_eq!(aside, Some(1));
        });
    }

    #[test]
    #[should_panic(expected = "what is aside cannot be done")]
    fn a_panic_is_passed_on() {
        beside(|| panic!("what is aside cannot be done"), || ());
    }
}

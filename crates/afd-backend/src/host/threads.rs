//! Who runs the pieces of a loop.

use burn::tensor::Device;
use rayon::prelude::*;

/// Makes this thread one of rayon's, which are as many as there are processors or `RAYON_NUM_THREADS` says: for a
/// program to call once, before anything is computed.
///
/// What Flex computes for a thread that is none of them begins and ends with a thread being woken, thousands of times
/// a second. What other threads ask of rayon while this one is blocked is done without it, or not at all if there is
/// no other; [`workers::for_each`](crate::workers::for_each) always waits for it.
///
/// # Errors
/// When rayon's threads exist already, or the system refuses one. Nothing must be computed after that.
pub fn join_rayon() -> Result<(), std::io::Error> {
    let pool = rayon::ThreadPoolBuilder::new().use_current_thread();
    pool.build_global().map_err(std::io::Error::other)
}

/// A pool of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Rayon's, as Flex has them.
    Rayon,
    /// Those of the OpenMP library that libtorch came with; rayon's where none is found. They go on turning for about
    /// a millisecond when libtorch has nothing more to do, on processors that rayon's would have to share with them.
    #[cfg(feature = "libtorch")]
    OpenMp,
}

impl Threads {
    /// Those that a device's own operations run on, for loops on the host between them; rayon's for a device that
    /// computes elsewhere.
    #[cfg_attr(
        not(feature = "libtorch"),
        allow(unused_variables, reason = "all are rayon's")
    )]
    pub fn of(device: &Device) -> Self {
        #[cfg(feature = "libtorch")]
        if crate::device::is_libtorch_on_cpu(device) {
            return Self::OpenMp;
        }
        Self::Rayon
    }

    /// Calls `work(i, item i)` for all items, in any order and several at once.
    ///
    /// # Panics
    /// When `work` does.
    pub fn for_each<T: Send>(self, items: impl Iterator<Item = T>, work: impl Fn(usize, T) + Sync) {
        let items: Vec<T> = items.collect();
        // Nobody is to be woken for one.
        if items.len() < 2 {
            return items.into_iter().for_each(|item| work(0, item));
        }
        #[cfg(all(feature = "libtorch", target_os = "linux"))]
        if let (Self::OpenMp, Some(parallel)) = (self, openmp::parallel()) {
            return openmp::for_each(parallel, items, work);
        }
        let items = items.into_par_iter().enumerate();
        items.for_each(|(i, item)| work(i, item));
    }
}

#[cfg(all(feature = "libtorch", target_os = "linux"))]
#[allow(unsafe_code, reason = "OpenMP has no interface but C's")]
mod openmp {
    use std::{
        ffi::{c_uint, c_void},
        panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
        sync::{
            Mutex, OnceLock, PoisonError,
            atomic::{AtomicUsize, Ordering},
        },
    };

    /// `GOMP_parallel(call, data, threads, flags)`, what compilers make of `#pragma omp parallel`: `call(data)` on
    /// each of so many threads, or on as many as libtorch uses where that is 0. It returns when all have.
    pub(super) type Parallel =
        unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

    /// A piece of work for each thread.
    type Work<'a> = &'a (dyn Fn() + Sync);

    /// None where no library has it.
    pub(super) fn parallel() -> Option<Parallel> {
        static ADDRESS: OnceLock<usize> = OnceLock::new();
        // SAFETY: the name is a string of C's, and looking it up changes nothing.
        let look_up = || unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
        let address = *ADDRESS.get_or_init(|| look_up() as usize);
        // SAFETY: every library that has this name, GNU's and LLVM's, has it for a function of this type; an address
        // of 0 is none.
        unsafe { std::mem::transmute::<usize, Option<Parallel>>(address) }
    }

    extern "C" fn call(data: *mut c_void) {
        // SAFETY: `on_all` passes a pointer to work that it holds until all calls have returned.
        let work = unsafe { *data.cast::<Work<'_>>() };
        work();
    }

    /// Calls `work`, which must not panic, on each thread.
    fn on_all(parallel: Parallel, work: Work<'_>) {
        // libtorch tells OpenMP how many threads this one may use when it is first asked for them.
        let _ = tch::get_num_threads();
        let mut work = work;
        // SAFETY: `call` gets what it expects, and several threads may share it.
        unsafe { parallel(call, (&raw mut work).cast(), 0, 0) }
    }

    pub(super) fn for_each<T: Send>(
        parallel: Parallel,
        items: Vec<T>,
        work: impl Fn(usize, T) + Sync,
    ) {
        let items: Vec<Mutex<Option<T>>> = items.into_iter().map(Some).map(Mutex::new).collect();
        let (next, panicked) = (AtomicUsize::new(0), Mutex::new(None));
        let take = |item: &Mutex<Option<T>>| {
            let mut item = item.lock().unwrap_or_else(PoisonError::into_inner);
            item.take()
        };
        let share = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                match items.get(i).and_then(take) {
                    Some(item) => work(i, item),
                    None => break,
                }
            }
        };
        on_all(parallel, &|| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(share)) {
                *panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        });
        let panicked = panicked
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}

/// All there are.
#[cfg(test)]
pub(super) fn pools() -> Vec<Threads> {
    vec![
        Threads::Rayon,
        #[cfg(feature = "libtorch")]
        Threads::OpenMp,
    ]
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn every_item_is_worked_on_once_by_either_pool() {
        for pool in pools() {
            for count in [0, 1, 1000] {
                let mut numbers = vec![0; count];
                pool.for_each(numbers.iter_mut(), |i, number| *number += i + 1);
                assert!(numbers.into_iter().eq(1..=count), "{pool:?}");
            }
        }
    }

    #[test]
    fn a_panic_arrives_and_leaves_the_pool_usable() {
        for pool in pools() {
            let work = |i, _| assert!(i != 3, "the fourth");
            let died = catch_unwind(AssertUnwindSafe(|| pool.for_each(0..8, work)));
            assert!(died.is_err(), "{pool:?}");
            let sum = AtomicUsize::new(0);
            pool.for_each(0..8, |_, item| {
                sum.fetch_add(item, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 28);
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn flex_computes_on_rayons_threads() {
        let device = crate::device::open("flex").unwrap();
        assert_eq!(Threads::of(&device), Threads::Rayon);
    }

    #[cfg(feature = "libtorch")]
    #[test]
    fn libtorch_computes_on_openmps_threads_with_gradients_and_without() {
        let device = crate::device::open("libtorch").unwrap();
        assert_eq!(Threads::of(&device), Threads::OpenMp);
        assert_eq!(Threads::of(&device.autodiff()), Threads::OpenMp);
    }

    #[cfg(all(feature = "libtorch", target_os = "linux"))]
    #[test]
    fn libtorch_brings_a_pool() {
        // Without a tensor nothing of libtorch might be linked.
        assert_eq!(tch::Tensor::from(1.0f32).numel(), 1);
        assert!(openmp::parallel().is_some());
    }
}

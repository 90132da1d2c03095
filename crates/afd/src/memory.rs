//! The allocator, and what is said when it has nothing left.
//!
//! Devices with memory of their own panic when it runs out, which `faults.rs` tells as an error.
//! The machine's own memory is another matter: Rust ends a process that gets none, and all its
//! user would see is a number of bytes.

use std::{
    alloc::{GlobalAlloc, Layout},
    ffi::c_long,
    io::{Write, stderr},
    sync::Mutex,
};

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

/// mimalloc: sampling with the quickstart's model takes 0.95 × the time it takes with the system's
/// allocator. On Linux with glibc it stands in the C library's place too, which libtorch's memory comes from: there
/// fine-tuning in bf16 is 1.3 × as fast at width 128. Of C++'s allocations that fail nothing is said here.
pub(crate) struct Allocator;

/// `mi_option_purge_delay` of mimalloc's header, which its Rust crate has no name for: milliseconds after which memory
/// that nothing is in goes back to the system, when something is allocated or dropped next.
const PURGE_DELAY: mi_option_t = 15;

/// A minute. After mimalloc's second a step of training that takes longer would have much of its memory cleared by the
/// system each time.
const KEPT: c_long = 60_000;

/// Keeps memory for [`KEPT`], unless `MIMALLOC_PURGE_DELAY` says otherwise; to be called before there are threads.
#[allow(unsafe_code, reason = "a setting of a library in C")]
pub(crate) fn keep() {
    // SAFETY: it writes a number into a table, this option is one of the table's, and nobody else reads it meanwhile.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT) }
}

/// What to say, written beforehand: without memory nothing can be composed.
static LAST_WORD: Mutex<String> = Mutex::new(String::new());

/// Has `text` said should the machine's memory run out from here on.
pub(crate) fn set_last_word(text: String) {
    if let Ok(mut word) = LAST_WORD.lock() {
        *word = text;
    }
}

/// Says it, after an allocation that failed. The lock may be held by this very thread.
#[cold]
fn say_last_word() {
    if let Ok(word) = LAST_WORD.try_lock()
        && !word.is_empty()
    {
        let _ = writeln!(stderr(), "error: {word}");
    }
}

fn told(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        say_last_word();
    }
    memory
}

#[allow(
    unsafe_code,
    reason = "an allocator cannot be written without; every call is mimalloc's"
)]
// SAFETY: arguments and results are passed on as they are, so it is as sound as mimalloc.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        told(unsafe { MiMalloc.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        told(unsafe { MiMalloc.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        told(unsafe { MiMalloc.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::{mi_option_get, mi_option_set};

    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "a setting of a library in C")]
    fn memory_is_kept_for_a_minute_unless_something_else_is_asked_for() {
        // SAFETY: a number of a table, which allocations in other tests find as it was or as it is.
        let get = || unsafe { mi_option_get(PURGE_DELAY) };
        // SAFETY: the same.
        let set = |delay| unsafe { mi_option_set(PURGE_DELAY, delay) };
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            // Another number would mean that options have been counted anew.
            assert_eq!(get(), 1000);
            keep();
            assert_eq!(get(), KEPT);
        }
        // As the variable does.
        set(5);
        keep();
        assert_eq!(get(), 5);
    }
}

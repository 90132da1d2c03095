//! The allocator, and what is said when it has nothing left.
//!
//! Devices with memory of their own panic when it runs out, which `faults.rs` tells as an error.
//! The machine's own memory is another matter: Rust ends a process that gets none, and all its
//! user would see is a number of bytes.

use std::{
    alloc::{GlobalAlloc, Layout},
    io::{Write, stderr},
    sync::Mutex,
};

use mimalloc::MiMalloc;

/// mimalloc: sampling with the quickstart's model takes 0.95 × the time it takes with the system's
/// allocator. On Linux with glibc it stands in the C library's place too, which libtorch's memory comes from: there
/// fine-tuning in bf16 is 1.3 × as fast at width 128. Of C++'s allocations that fail nothing is said here.
pub(crate) struct Allocator;

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

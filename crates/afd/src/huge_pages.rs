//! Huge pages of memory, but not in the first ten seconds.
//!
//! mimalloc asks the system for them, and most work is 2 to 8 % faster in them. But they are slow to come by in a
//! virtual machine that gives memory nobody uses back to its host: a first step of training that is done after 0.4 s
//! in small pages was done after 1.0 s there. So a process begins with small pages, and they are put together in one
//! that goes on.

use std::{env, fs::read_to_string, ops::Range, thread, time::Duration};

/// What a process begins with: first steps, and commands that are done soon. Putting pages together takes half a second
/// of a processor's time or more, which is to be a small part of the whole.
pub(crate) const BEGINNING: Duration = Duration::from_secs(10);

/// The areas of this process's memory.
const AREAS: &str = "/proc/self/smaps";

/// Bytes in a huge page.
const SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

/// Advice to put small pages together, by its number in Linux (6.1), which not every C library has a name for.
const COLLAPSE: libc::c_int = 25;

/// Does without huge pages until so much time has passed, unless `MIMALLOC_ALLOW_THP` says whether to have them or
/// this process was started without them; to be called before memory is used.
pub(crate) fn after(time: Duration) {
    let is_decided = env::var_os("MIMALLOC_ALLOW_THP").is_some();
    if is_decided || !are_allowed() || !allow(false) {
        return;
    }
    let thread = thread::Builder::new().name("huge-pages".into());
    let waits = thread.spawn(move || {
        thread::sleep(time);
        allow(true);
        // Without it the kernel does the same, in minutes.
        let (areas, size) = (read_to_string(AREAS), read_to_string(SIZE));
        let size = size.ok().and_then(|size| size.trim().parse().ok());
        let size = size.filter(|size| *size > 0);
        if let (Ok(areas), Some(size)) = (areas, size) {
            advised(&areas).for_each(|area| collapse(area, size));
        }
    });
    if waits.is_err() {
        allow(true);
    }
}

/// Tells the kernel whether this process may have huge pages, and whether that worked.
fn allow(huge_pages: bool) -> bool {
    set(libc::PR_SET_THP_DISABLE, !huge_pages) == 0
}

fn are_allowed() -> bool {
    set(libc::PR_GET_THP_DISABLE, false) == 0
}

/// Calls `prctl`, whose numbers are all as wide as a pointer.
#[allow(unsafe_code, reason = "a setting of the kernel")]
fn set(option: libc::c_int, value: bool) -> libc::c_int {
    let (value, none) = (libc::c_ulong::from(value), libc::c_ulong::MIN);
    // SAFETY: the call takes numbers and touches no memory of ours.
    unsafe { libc::prctl(option, value, none, none, none) }
}

/// Has the kernel put an area's small pages together to pages of `size` bytes, where it can: each by itself, since it
/// ends at the first that it can do nothing about.
#[allow(unsafe_code, reason = "advice to the kernel")]
fn collapse(area: Range<usize>, size: usize) {
    let whole = area.start.next_multiple_of(size)..area.end / size * size;
    for page in whole.step_by(size) {
        let page = std::ptr::without_provenance_mut(page);
        // SAFETY: what stands in memory stays the same; where an area is gone by now, nothing is done.
        let _ = unsafe { libc::madvise(page, size, COLLAPSE) };
    }
}

/// The areas in [`AREAS`] that huge pages were asked for.
fn advised(smaps: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut area = 0..0;
    smaps.lines().filter_map(move |line| {
        let mut words = line.split(' ');
        let first = words.next()?;
        let ends = first.split_once('-');
        let ends =
            ends.map(|ends| <[&str; 2]>::from(ends).map(|end| usize::from_str_radix(end, 16)));
        if let Some([Ok(start), Ok(end)]) = ends {
            area = start..end;
        }
        (first == "VmFlags:" && words.any(|flag| flag == "hg")).then(|| area.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55d8a0000000-55d8a0400000 r-xp 00000000 fe:00 12 /usr/bin/afd
Rss:                1024 kB
VmFlags: rd ex mr mw me
20000000000-20040000000 rw-p 00000000 00:00 0
Rss:              384000 kB
AnonHugePages:         0 kB
VmFlags: rd wr mr mw me ac sd hg
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
VmFlags: rd wr mr mw me gd ac
";

    #[test]
    fn areas_are_those_that_huge_pages_were_asked_for() {
        let found: Vec<_> = advised(TEXT).map(|area| (area.start, area.end)).collect();
        assert_eq!(found, [(0x200_0000_0000, 0x200_4000_0000)]);
    }

    #[test]
    fn they_are_off_at_first_and_then_on() {
        // Where something else decides, or the system does not let it.
        if env::var_os("MIMALLOC_ALLOW_THP").is_some() || !are_allowed() || !allow(false) {
            return;
        }
        allow(true);
        after(Duration::from_secs(2));
        assert!(!are_allowed());
        let on = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            are_allowed()
        });
        assert!(on);
    }
}

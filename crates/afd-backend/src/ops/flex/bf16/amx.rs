//! The kernel for processors with AMX (Intel, from 2023 on): tiles of 16 × 16 sums, 16 pairs to each.
//!
//! Rust has no stable intrinsics for it, so this is assembly. On Linux a process asks for the registers first.
#![allow(unsafe_code, reason = "instructions that Rust has no name for")]

use std::{arch::asm, sync::OnceLock};

use rayon::prelude::*;

use super::{
    super::{
        matrix::Matrix,
        strip::{Strip, WIDTH},
    },
    Number,
    pack::{Line, Order, Packed, SIDE},
};

/// A strip is two panels.
const _: () = assert!(WIDTH == 2 * SIDE);

/// Multiplications of a product below which threads cost more than they bring.
const WORTH_THREADS: usize = 1 << 22;

/// Whether the processor has the instructions and the system lets this process use them.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
}

fn has_instructions() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    if __cpuid(0).eax < 7 {
        return false;
    }
    __cpuid_count(7, 0).edx & (BF16 | TILE) == BF16 | TILE
}

#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours; a kernel that does not know it says so.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// What the tile registers are to hold: each 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Layout([u8; 64]);

const LAYOUT: Layout = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = SIDE as u8;
        tile += 1;
    }
    Layout(bytes)
};

/// `out ← keep·out + a·b`, for which [`is_available`] said that it can be.
///
/// # Panics
/// When the shapes disagree.
pub(super) fn multiply<T: Number>(
    out: &mut [f32],
    row: usize,
    keep: bool,
    a: Matrix<'_, T>,
    b: &Packed,
) {
    let (rows, columns, terms) = (a.rows(), b.rows, b.terms);
    assert_eq!(a.columns(), terms, "inner sides of a product");
    if rows == 0 || columns == 0 {
        return;
    }
    let strips = Strip::all(out, row, [rows, columns]);
    if terms == 0 {
        if !keep {
            strips.into_iter().for_each(|mut strip| strip.clear());
        }
        return;
    }
    let a = Packed::new(a, Order::Rows);
    let parts = strips.into_iter().zip(b.lines.chunks(2 * SIDE * a.tiles()));
    let work = |(strip, panels): (Strip<'_>, &[Line])| multiply_strip(&a, panels, strip, keep);
    match rows * columns * terms < WORTH_THREADS {
        true => parts.for_each(work),
        false => {
            let parts: Vec<_> = parts.collect();
            parts.into_par_iter().for_each(work);
        }
    }
}

/// The columns of the product that are these two panels'.
fn multiply_strip(a: &Packed, panels: &[Line], mut out: Strip<'_>, keep: bool) {
    let tiles = a.tiles();
    let (near, far) = panels.split_at(tiles * SIDE);
    assert_eq!(near.len(), far.len(), "two panels");
    // SAFETY: the processor has tiles, and the layout is one it knows.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &LAYOUT, options(nostack, readonly)) };
    for (index, rows) in a.lines.chunks(2 * SIDE * tiles).enumerate() {
        let (first, second) = rows.split_at(SIDE * tiles);
        let second = Some(second).filter(|second| !second.is_empty());
        let row = 2 * SIDE * index;
        let count = if second.is_some() { 2 * SIDE } else { SIDE };
        if let Some((start, apart)) = out.whole(row, count) {
            // SAFETY: rows and panels hold as many tiles, as the slices say, and the strip, which is borrowed
            // mutably, has `count` rows of 32 sums from `start` on, `apart` numbers apart.
            unsafe { sums(first, second, [near, far], keep, start, apart) };
            continue;
        }
        // At an edge by way of a buffer.
        let mut buffer = [Sums([0.0; 2 * SIDE]); 2 * SIDE];
        if keep {
            for (i, Sums(sums)) in buffer.iter_mut().enumerate() {
                let line = out.line(row + i);
                sums[..line.len()].copy_from_slice(line);
            }
        }
        let start = buffer.as_mut_ptr().cast();
        // SAFETY: as above, with the buffer's 32 rows of 32 sums.
        unsafe { sums(first, second, [near, far], keep, start, 2 * SIDE) };
        for (i, Sums(sums)) in buffer[..count].iter().enumerate() {
            let line = out.line(row + i);
            line.copy_from_slice(&sums[..line.len()]);
        }
    }
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// A row of sums at an edge.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([f32; 2 * SIDE]);

/// Puts the sums of one or two groups of 16 rows by two panels of 16 columns from `start` on, in rows `apart` numbers
/// apart, or adds them to what is there.
///
/// # Safety
/// The processor has tiles and has been told their layout. The slices are of equal length, whole tiles and at least
/// one. There are as many rows of 32 numbers at `start`, and nobody else reads or writes them.
unsafe fn sums(
    first: &[Line],
    second: Option<&[Line]>,
    panels: [&[Line]; 2],
    keep: bool,
    start: *mut f32,
    apart: usize,
) {
    let tiles = first.len() / SIDE;
    let line = size_of::<Line>();
    let stride = apart * size_of::<f32>();
    // The tiles to the right begin 64 bytes further on, those below after 16 rows.
    let below = start.wrapping_add(SIDE * apart);
    let Some(second) = second else {
        // SAFETY: the tiles of sums begin at `start`; those that are loaded lie in the slices.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "test {keep}, {keep}",
                "jz 2f",
                "tileloadd tmm0, [{start} + {stride}]",
                "tileloadd tmm1, [{start} + {stride} + 64]",
                "2:",
                "tileloadd tmm4, [{a} + {line}]",
                "tileloadd tmm6, [{b0} + {line}]",
                "tileloadd tmm7, [{b1} + {line}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {a}, 1024",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {tiles}",
                "jnz 2b",
                "tilestored [{start} + {stride}], tmm0",
                "tilestored [{start} + {stride} + 64], tmm1",
                keep = in(reg) usize::from(keep),
                start = in(reg) start,
                stride = in(reg) stride,
                a = inout(reg) first.as_ptr() => _,
                b0 = inout(reg) panels[0].as_ptr() => _,
                b1 = inout(reg) panels[1].as_ptr() => _,
                tiles = inout(reg) tiles => _,
                line = in(reg) line,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
        return;
    };
    // SAFETY: as above, with the tiles below.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {keep}, {keep}",
            "jz 2f",
            "tileloadd tmm0, [{start} + {stride}]",
            "tileloadd tmm1, [{start} + {stride} + 64]",
            "tileloadd tmm2, [{below} + {stride}]",
            "tileloadd tmm3, [{below} + {stride} + 64]",
            "2:",
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024",
            "add {a1}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {tiles}",
            "jnz 2b",
            "tilestored [{start} + {stride}], tmm0",
            "tilestored [{start} + {stride} + 64], tmm1",
            "tilestored [{below} + {stride}], tmm2",
            "tilestored [{below} + {stride} + 64], tmm3",
            keep = in(reg) usize::from(keep),
            start = in(reg) start,
            below = in(reg) below,
            stride = in(reg) stride,
            a0 = inout(reg) first.as_ptr() => _,
            a1 = inout(reg) second.as_ptr() => _,
            b0 = inout(reg) panels[0].as_ptr() => _,
            b1 = inout(reg) panels[1].as_ptr() => _,
            tiles = inout(reg) tiles => _,
            line = in(reg) line,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

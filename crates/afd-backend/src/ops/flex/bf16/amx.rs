//! The kernel for processors with AMX (Intel, from 2023 on): tiles of 16 × 16 sums, 16 pairs to each.
//!
//! Rust has no stable intrinsics for it, so this is assembly. On Linux a process asks for the registers first.
#![allow(unsafe_code, reason = "instructions that Rust has no name for")]

use std::{arch::asm, sync::OnceLock};

use rayon::prelude::*;

use super::{
    super::matrix::Matrix,
    pack::{Line, Number, Order, Packed, SIDE},
    target::Target,
};

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
    let out = Target::new(out, row, [rows, columns], keep);
    if terms == 0 {
        if !keep {
            (0..rows * columns)
                .for_each(|at| out.line(at / columns, at % columns, |line| line.fill(0.0)));
        }
        return;
    }
    let a = Packed::new(a, Order::Rows);
    let panels = b.lines.chunks(2 * SIDE * a.tiles()).enumerate();
    let work =
        |(index, panels): (usize, &[Line])| multiply_columns(&a, panels, 2 * SIDE * index, &out);
    match rows * columns * terms < WORTH_THREADS {
        true => panels.for_each(work),
        false => {
            let panels: Vec<_> = panels.collect();
            panels.into_par_iter().for_each(work);
        }
    }
}

/// The columns `column..column + 32` of the product, whose panels these are.
fn multiply_columns(a: &Packed, panels: &[Line], column: usize, out: &Target<'_>) {
    let tiles = a.tiles();
    let (near, far) = panels.split_at(tiles * SIDE);
    assert_eq!(near.len(), far.len(), "two panels");
    // SAFETY: the processor has tiles.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &LAYOUT, options(nostack, readonly)) };
    for (index, rows) in a.lines.chunks(2 * SIDE * tiles).enumerate() {
        let (first, second) = rows.split_at(SIDE * tiles);
        let rows = (first, Some(second).filter(|second| !second.is_empty()));
        block(rows, [near, far], (2 * SIDE * index, column), out);
    }
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// One or two groups of rows by two panels, which is what is `at` that row and column of the product.
fn block(
    rows: (&[Line], Option<&[Line]>),
    panels: [&[Line]; 2],
    at: (usize, usize),
    out: &Target<'_>,
) {
    let place = |(row, column)| out.whole((at.0 + row, at.1 + column));
    let wanted = if rows.1.is_some() { 4 } else { 2 };
    let whole = PLACES.map(place);
    if let [Some(a), Some(b), c, d] = whole
        && (c.is_some() && d.is_some() || wanted == 2)
    {
        let [c, d] = [c, d].map(|place| place.unwrap_or(std::ptr::null_mut()));
        // SAFETY: rows and panels hold as many tiles, as the slices say; each place of sums that is wanted is a
        // whole tile of `out`, which nobody else reads or writes.
        return unsafe {
            sums(
                rows,
                panels,
                out.keep,
                [a, b, c, d].map(|place| (place, out.row)),
            )
        };
    }
    // At an edge by way of a buffer.
    let mut buffer = [Sums([0.0; SIDE]); 4 * SIDE];
    let line = |index: usize, work: &mut dyn FnMut(&mut [f32])| {
        let (row, column) = PLACES[index / SIDE];
        out.line(at.0 + row + index % SIDE, at.1 + column, work);
    };
    if out.keep {
        for (i, Sums(sums)) in buffer.iter_mut().enumerate() {
            line(i, &mut |line| sums[..line.len()].copy_from_slice(line));
        }
    }
    let start = buffer.as_mut_ptr();
    // SAFETY: as above, and the buffer holds four tiles.
    unsafe {
        let places = [0, 1, 2, 3].map(|tile| (start.add(tile * SIDE).cast::<f32>(), SIDE));
        sums(rows, panels, out.keep, places);
    }
    for (i, Sums(sums)) in buffer[..wanted * SIDE].iter().enumerate() {
        line(i, &mut |line| line.copy_from_slice(&sums[..line.len()]));
    }
}

/// Where the four tiles of sums stand that are computed at once.
const PLACES: [(usize, usize); 4] = [(0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE)];

/// A row of a tile of sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([f32; SIDE]);

/// Where 16 rows of 16 sums begin, and how many numbers apart the rows are.
type Place = (*mut f32, usize);

/// Puts the sums of one or two groups of rows by two panels in their places, or adds them to what is there.
unsafe fn sums(
    rows: (&[Line], Option<&[Line]>),
    panels: [&[Line]; 2],
    keep: bool,
    sums: [Place; 4],
) {
    let tiles = rows.0.len() / SIDE;
    // SAFETY: as the caller sees to it.
    unsafe {
        match rows {
            (first, Some(second)) => four(tiles, [first, second], panels, keep, sums),
            (first, None) => two(tiles, first, panels, keep, [sums[0], sums[1]]),
        }
    }
}

/// Two groups of rows by two panels.
unsafe fn four(
    tiles: usize,
    rows: [&[Line]; 2],
    panels: [&[Line]; 2],
    keep: bool,
    sums: [Place; 4],
) {
    unsafe {
        asm!(
            "test {keep}, {keep}",
            "jz 2f",
            "tileloadd tmm0, [{c0} + {s0}]",
            "tileloadd tmm1, [{c1} + {s1}]",
            "tileloadd tmm2, [{c2} + {s2}]",
            "tileloadd tmm3, [{c3} + {s3}]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            keep = in(reg) usize::from(keep),
            c0 = in(reg) sums[0].0, s0 = in(reg) sums[0].1 * 4,
            c1 = in(reg) sums[1].0, s1 = in(reg) sums[1].1 * 4,
            c2 = in(reg) sums[2].0, s2 = in(reg) sums[2].1 * 4,
            c3 = in(reg) sums[3].0, s3 = in(reg) sums[3].1 * 4,
            options(nostack),
        );
        asm!(
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
            "dec {count}",
            "jnz 2b",
            a0 = inout(reg) rows[0].as_ptr() => _,
            a1 = inout(reg) rows[1].as_ptr() => _,
            b0 = inout(reg) panels[0].as_ptr() => _,
            b1 = inout(reg) panels[1].as_ptr() => _,
            count = inout(reg) tiles => _,
            line = in(reg) size_of::<Line>(),
            options(nostack, readonly),
        );
        asm!(
            "tilestored [{c0} + {s0}], tmm0",
            "tilestored [{c1} + {s1}], tmm1",
            "tilestored [{c2} + {s2}], tmm2",
            "tilestored [{c3} + {s3}], tmm3",
            c0 = in(reg) sums[0].0, s0 = in(reg) sums[0].1 * 4,
            c1 = in(reg) sums[1].0, s1 = in(reg) sums[1].1 * 4,
            c2 = in(reg) sums[2].0, s2 = in(reg) sums[2].1 * 4,
            c3 = in(reg) sums[3].0, s3 = in(reg) sums[3].1 * 4,
            options(nostack),
        );
    }
}

/// One group of rows by two panels.
unsafe fn two(tiles: usize, rows: &[Line], panels: [&[Line]; 2], keep: bool, sums: [Place; 2]) {
    unsafe {
        asm!(
            "test {keep}, {keep}",
            "jz 2f",
            "tileloadd tmm0, [{c0} + {s0}]",
            "tileloadd tmm1, [{c1} + {s1}]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "3:",
            "tileloadd tmm4, [{a} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {count}",
            "jnz 3b",
            "tilestored [{c0} + {s0}], tmm0",
            "tilestored [{c1} + {s1}], tmm1",
            keep = in(reg) usize::from(keep),
            c0 = in(reg) sums[0].0, s0 = in(reg) sums[0].1 * 4,
            c1 = in(reg) sums[1].0, s1 = in(reg) sums[1].1 * 4,
            a = inout(reg) rows.as_ptr() => _,
            b0 = inout(reg) panels[0].as_ptr() => _,
            b1 = inout(reg) panels[1].as_ptr() => _,
            count = inout(reg) tiles => _,
            line = in(reg) size_of::<Line>(),
            options(nostack),
        );
    }
}

//! How long it takes to put a batch together: ids, places, and the mask of texts that share rows. What a thread that
//! makes batches ahead could save of a step.
//!
//! `cargo bench -p afd-model --bench batch`, on the device that `AFD_DEVICE` names.

#![allow(clippy::print_stdout, reason = "what a benchmark is for")]

use std::{mem::take, time::Instant};

use afd_backend::{device::test_device, ops::packed_mask};
use afd_model::Padded;

/// Batches of a measurement.
const BATCHES: u32 = 200;

/// More than any model keeps for a token: rows are shared wherever that saves one.
const PER_TOKEN: usize = 1 << 20;

fn main() {
    let device = test_device();
    let ragged = |longest: usize| (1..=8).map(move |i| longest * i / 8);
    for longest in [128, 256, 1024] {
        let alike: Vec<Vec<u32>> = vec![vec![7; longest]; 8];
        let ragged: Vec<Vec<u32>> = ragged(longest).map(|length| vec![7; length]).collect();
        for (what, texts) in [("of one length", alike), ("of all lengths, packed", ragged)] {
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let batch = || {
                let mut padded = Padded::packed(&texts, PER_TOKEN);
                let ([rows, length], positions) = (padded.shape, take(&mut padded.positions));
                padded.on(&device);
                if rows < texts.len() {
                    packed_mask(&positions, length, None, &device);
                }
            };
            batch();
            let start = Instant::now();
            (0..BATCHES).for_each(|_| batch());
            let each = start.elapsed() / BATCHES;
            let tokens: usize = texts.iter().map(|text| text.len()).sum();
            println!("8 texts {what}, {tokens:>5} tokens: {each:>9.1?} a batch");
        }
    }
}

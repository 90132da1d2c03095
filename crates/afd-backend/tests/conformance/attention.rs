//! Attention against its definition, under every kind of mask.

use afd_backend::{
    device::test_device,
    ops::{Mask, Prefix, ScoreOptions, attention, cached_mask, causal_mask, packed_mask},
};
use burn::{Tensor, tensor::TensorData};
use rand::Rng;

use crate::reference::{check, check_halves, draw, draw_whole, generator, tensor};

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    width: usize,
    options: ScoreOptions,
}

impl Shape {
    /// `[B, Tq, Tk, H, K, d]`.
    fn new([batch, queries, keys, heads, kv_heads, width]: [usize; 6]) -> Self {
        Self {
            batch,
            queries,
            keys,
            heads,
            kv_heads,
            width,
            options: ScoreOptions::of_width(width),
        }
    }

    /// How many numbers queries have, and how many keys, which is how many values have.
    fn sizes(&self) -> (usize, usize) {
        let per_head = self.batch * self.width;
        (
            per_head * self.queries * self.heads,
            per_head * self.keys * self.kv_heads,
        )
    }
}

/// What a score is raised by before the softmax, `bias(sequence, query, key)`; −∞ hides a key.
type Bias<'a> = &'a dyn Fn(usize, usize, usize) -> f64;

/// `softmax(cap(q·kᵀ·scale) + bias)·v`; 0 for queries that see nothing. Keys are `[B, K, Tk, d]`, as a
/// cache holds them, values `[B, Tk, K, d]`, as a projection leaves them.
fn by_definition([q, k, v]: &[Vec<f64>; 3], s: Shape, bias: Bias<'_>) -> Vec<f64> {
    let mut out = Vec::with_capacity(q.len());
    for (index, q) in q.chunks(s.width).enumerate() {
        let (token, head) = (index / s.heads, index % s.heads);
        let (sequence, query) = (token / s.queries, token % s.queries);
        let head = head / (s.heads / s.kv_heads);
        let k = |key: usize| &k[((sequence * s.kv_heads + head) * s.keys + key) * s.width..];
        let v = |key: usize| &v[((sequence * s.keys + key) * s.kv_heads + head) * s.width..];
        let scores: Vec<f64> = (0..s.keys)
            .map(|key| {
                let dot: f64 = (0..s.width).map(|i| q[i] * k(key)[i]).sum();
                let score = dot * s.options.scale;
                let capped = s.options.softcap.map(|cap| cap * (score / cap).tanh());
                capped.unwrap_or(score) + bias(sequence, query, key)
            })
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            out.extend(vec![0.0; s.width]);
            continue;
        }
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        out.extend((0..s.width).map(|i| {
            let terms = weights.iter().enumerate();
            terms.map(|(key, w)| w * v(key)[i]).sum::<f64>() / total
        }));
    }
    out
}

fn check_mask(what: &str, s: Shape, inputs: &[Vec<f64>; 3], mask: Option<Mask>, bias: Bias<'_>) {
    // Nobody reads the results of queries that see nothing, but 0 · NaN would be NaN, here and
    // in every gradient.
    let sees = |sequence, query| (0..s.keys).any(|key| bias(sequence, query, key).is_finite());
    let read: Vec<f64> = (0..s.batch * s.queries)
        .flat_map(|token| {
            let read = sees(token / s.queries, token % s.queries);
            vec![f64::from(u8::from(read)); s.heads * s.width]
        })
        .collect();
    let read = tensor(&read, &test_device());
    check(
        what,
        inputs,
        |[q, k, v]| {
            let q = q.reshape([s.batch, s.queries, s.heads, s.width]);
            let k = k.reshape([s.batch, s.kv_heads, s.keys, s.width]);
            let v = v.reshape([s.batch, s.keys, s.kv_heads, s.width]);
            attention(q, k, v.swap_dims(1, 2), mask.clone(), None, s.options).flatten(0, 2)
                * read.clone()
        },
        |inputs| by_definition(inputs, s, bias),
    );
}

fn inputs(s: Shape) -> [Vec<f64>; 3] {
    let (queries, keys) = s.sizes();
    let mut rng = generator((queries + keys) as u64);
    [queries, keys, keys].map(|count| draw(&mut rng, count, 2.0))
}

fn hidden_unless(sees: bool) -> f64 {
    if sees { 0.0 } else { f64::NEG_INFINITY }
}

/// A mask made from a bias, with `lowest` for −∞.
fn mask(s: Shape, lowest: f32, bias: Bias<'_>) -> Mask {
    let mut values = Vec::with_capacity(s.batch * s.queries * s.keys);
    for row in 0..s.batch * s.queries {
        let values_of = |key| bias(row / s.queries, row % s.queries, key) as f32;
        values.extend((0..s.keys).map(|key| values_of(key).max(lowest)));
    }
    let data = TensorData::new(values, [s.batch, 1, s.queries, s.keys]);
    Tensor::from_data(data, &test_device())
}

fn check_causal(shape: [usize; 6]) {
    let s = Shape::new(shape);
    let past = s.keys - s.queries;
    let mask = causal_mask(past, s.queries, None, &test_device());
    check_mask(
        &format!("causal attention {shape:?}"),
        s,
        &inputs(s),
        Some(mask),
        &|_, query, key| hidden_unless(key <= past + query),
    );
}

#[test]
fn without_a_mask_every_query_sees_every_key() {
    // One token in all; one token after a cache; several queries, a width no vector likes.
    for shape in [[1, 1, 1, 1, 1, 2], [2, 1, 7, 4, 2, 6], [1, 3, 5, 3, 3, 5]] {
        let s = Shape::new(shape);
        let what = format!("attention {shape:?}");
        check_mask(&what, s, &inputs(s), None, &|_, _, _| 0.0);
    }
}

/// As in decoding: widths that fill registers, widths that do not, numbers of keys that are not those of a group.
#[test]
fn a_single_query_with_a_window_and_a_cap() {
    for (shape, softcap) in [
        ([2, 1, 9, 4, 2, 20], None),
        ([1, 1, 14, 2, 1, 32], Some(1.5)),
    ] {
        let mut s = Shape::new(shape);
        s.options.softcap = softcap;
        let window = 7;
        let mask = causal_mask(s.keys - 1, 1, Some(window), &test_device());
        let bias = |_: usize, _: usize, key: usize| hidden_unless(key + window >= s.keys);
        let what = format!("a query's attention {shape:?}");
        check_mask(&what, s, &inputs(s), Some(mask), &bias);
        check_mask(&what, s, &inputs(s), None, &|_, _, _| 0.0);
    }
}

#[test]
fn causal_with_each_kind_of_head_and_with_a_cache() {
    check_causal([1, 5, 5, 2, 2, 8]);
    check_causal([2, 4, 4, 4, 2, 6]);
    check_causal([1, 6, 6, 3, 1, 7]);
    // Fewer queries than keys: the last query sees the last key.
    check_causal([2, 3, 8, 4, 2, 4]);
    let mut rng = generator(4);
    for _ in 0..2 {
        let mut upto = |limit| rng.random_range(1..limit);
        let (queries, kv_heads) = (upto(5), upto(3));
        let (keys, heads) = (queries + upto(5) - 1, kv_heads * upto(4));
        check_causal([upto(3), queries, keys, heads, kv_heads, upto(12)]);
    }
}

#[test]
fn half_precision_is_close_to_the_definition() {
    let s = Shape::new([2, 3, 8, 4, 2, 6]);
    let bias = |_: usize, query: usize, key: usize| hidden_unless(key <= 5 + query);
    check_halves(
        "causal attention",
        &inputs(s),
        |[q, k, v], dtype| {
            let q = q.reshape([s.batch, s.queries, s.heads, s.width]);
            let k = k.reshape([s.batch, s.kv_heads, s.keys, s.width]);
            let v = v.reshape([s.batch, s.keys, s.kv_heads, s.width]);
            let mask = causal_mask(5, s.queries, None, &test_device());
            let out = attention(q, k, v.swap_dims(1, 2), Some(mask), None, s.options);
            assert_eq!(out.dtype(), dtype.into());
            out.flatten(0, 2)
        },
        |inputs| by_definition(inputs, s, &bias),
    );
}

/// Rows padded on the left begin with queries that see nothing.
#[test]
fn padding_on_either_side() {
    let present = [
        [false, false, true, true, true],
        [true, true, true, true, false],
        [true; 5],
    ];
    let s = Shape::new([3, 5, 5, 4, 2, 6]);
    let sees =
        |row: usize, query: usize, key: usize| hidden_unless(key <= query && present[row][key]);
    let mask = mask(s, -1e9, &sees);
    check_mask("padded attention", s, &inputs(s), Some(mask), &sees);
}

/// As decoding has it: each row begins at a key of its own, one nowhere.
#[test]
fn a_single_query_of_rows_that_begin_at_different_keys() {
    let s = Shape::new([4, 1, 9, 4, 2, 6]);
    let starts = [0, 3, 8, usize::MAX];
    for window in [None, Some(4)] {
        let mask = cached_mask(&starts, 8, 1, window, &test_device());
        let sees = |row: usize, _: usize, key: usize| {
            let near = window.is_none_or(|window| 8 < key + window);
            hidden_unless(near && key >= starts[row].min(8))
        };
        check_mask("ragged attention", s, &inputs(s), Some(mask), &sees);
    }
}

/// What is told of prefixes changes no bit. Sequences 0 and 2 begin alike, but for what neither sees; one window begins
/// within the prefix, one behind it. Keys and values lie as in decoding, and as a projection leaves them.
#[test]
fn prefixes_that_sequences_share() {
    let device = test_device();
    let (batch, keys, heads, kv_heads, width, end) = (3, 19, 4, 2, 20, 11);
    let prefixes = [(0, end), (1, 0), (0, end)].map(|(row, end)| Prefix { row, end });
    let mut rng = generator(9);
    let q = draw(&mut rng, batch * heads * width, 2.0);
    let q = tensor(&q, &device).reshape([batch, 1, heads, width]);
    for (start, window, softcap) in [
        (0, None, Some(1.5)),
        (3, None, None),
        (0, Some(10), None),
        (0, Some(6), None),
    ] {
        let capacity = keys + 4;
        let [k, v] = [(); 2].map(|()| {
            let x = draw(&mut rng, batch * kv_heads * capacity * width, 2.0);
            let x = tensor(&x, &device).reshape([batch, kv_heads, capacity, width]);
            let prefix = x.clone().slice([0..1, 0..kv_heads, start..end, 0..width]);
            let x = x.slice_assign([2..3, 0..kv_heads, start..end, 0..width], prefix);
            x.narrow(2, 0, keys)
        });
        let by_token = v.clone().swap_dims(1, 2).into_data();
        let by_token = Tensor::<4>::from_data(by_token, &device);
        let mask = (start > 0 || window.is_some())
            .then(|| cached_mask(&[start, 2, start], keys - 1, 1, window, &device));
        let options = ScoreOptions {
            softcap,
            ..ScoreOptions::of_width(width)
        };
        for v in [v, by_token.swap_dims(1, 2)] {
            let of = |prefixes| {
                let (q, k, v) = (q.clone(), k.clone(), v.clone());
                let out = attention(q, k, v, mask.clone(), prefixes, options);
                out.into_data().try_into_vec::<f32>().unwrap()
            };
            assert_eq!(of(Some(prefixes.into())), of(None));
        }
    }
}

/// More queries than a kernel takes at once, so that a block begins in one text and ends in another.
#[test]
fn several_texts_in_one_row() {
    let s = Shape::new([1, 70, 70, 1, 1, 2]);
    let lengths = [3, 50, 17];
    let text: Vec<usize> = (0..3).flat_map(|text| vec![text; lengths[text]]).collect();
    let positions: Vec<usize> = lengths.into_iter().flat_map(|length| 0..length).collect();
    for window in [None, Some(5)] {
        let mask = packed_mask(&positions, 70, window, &test_device());
        let sees = |_: usize, query: usize, key: usize| {
            let near = key <= query && window.is_none_or(|window| query < key + window);
            hidden_unless(near && text[query] == text[key])
        };
        check_mask("packed attention", s, &inputs(s), Some(mask), &sees);
    }
}

/// Each query sees the three last keys up to its own, the nearer the better. What is hidden is
/// as low as f32 goes, as in transformers.
#[test]
fn a_sliding_window_and_a_bias() {
    let s = Shape::new([1, 4, 7, 2, 1, 6]);
    let bias = |_: usize, query: usize, key: usize| match (3 + query).checked_sub(key) {
        Some(back @ 0..3) => -0.25 * back as f64,
        _ => f64::NEG_INFINITY,
    };
    let mask = mask(s, f32::MIN, &bias);
    check_mask("biased attention", s, &inputs(s), Some(mask), &bias);

    let sees =
        |_: usize, query: usize, key: usize| hidden_unless((query + 1..=query + 3).contains(&key));
    let mask = causal_mask(3, 4, Some(3), &test_device());
    check_mask("windowed attention", s, &inputs(s), Some(mask), &sees);
}

/// Scores of another scale, held within ±1.5.
#[test]
fn a_soft_cap() {
    let s = Shape {
        options: ScoreOptions {
            scale: 0.7,
            softcap: Some(1.5),
        },
        ..Shape::new([2, 3, 5, 4, 2, 6])
    };
    let mask = causal_mask(2, 3, None, &test_device());
    check_mask(
        "capped attention",
        s,
        &inputs(s),
        Some(mask),
        &|_, query, key| hidden_unless(key <= 2 + query),
    );
}

/// Scores of up to ±128, exact in f32, so that a softmax is 1, 0 or a tie.
#[test]
fn saturated_scores() {
    let s = Shape::new([1, 4, 4, 4, 2, 4]);
    let (queries, keys) = s.sizes();
    let mut rng = generator(5);
    let inputs = [
        draw_whole(&mut rng, queries, 8),
        draw_whole(&mut rng, keys, 8),
        draw(&mut rng, keys, 2.0),
    ];
    let mask = causal_mask(0, s.queries, None, &test_device());
    check_mask(
        "saturated attention",
        s,
        &inputs,
        Some(mask),
        &|_, query, key| hidden_unless(key <= query),
    );
}

//! Words and pairs of words, hashed.

use std::collections::BTreeMap;

use super::words::words;

/// Number of buckets that n-grams are hashed into.
pub const BUCKETS: u32 = 1 << 18;

/// The words and pairs of neighbouring words of `text` as `(bucket, weight)`, ascending by bucket,
/// each bucket once.
///
/// A weight is the number of occurrences, scaled so that the squares of a text's weights sum to 1;
/// a text without words has none. Buckets are below [`BUCKETS`] and the same on every machine and
/// in every version: FNV-1a of the UTF-8 bytes, a space between the words of a pair. Different
/// n-grams may share a bucket.
pub fn ngrams(text: &str) -> Vec<(u32, f32)> {
    let words = words(text);
    let mut counts: BTreeMap<u32, f32> = BTreeMap::new();
    for word in &words {
        *counts.entry(bucket(&[word])).or_default() += 1.0;
    }
    for pair in words.windows(2) {
        *counts
            .entry(bucket(&[&pair[0], " ", &pair[1]]))
            .or_default() += 1.0;
    }
    let length = counts
        .values()
        .map(|count| count * count)
        .sum::<f32>()
        .sqrt();
    counts
        .into_iter()
        .map(|(bucket, count)| (bucket, count / length))
        .collect()
}

/// Both halves of the hash, folded into the buckets.
fn bucket(parts: &[&str]) -> u32 {
    let hash = fnv_1a(parts.iter().flat_map(|part| part.bytes()));
    // Below BUCKETS after the mask, so the cast loses nothing.
    ((hash ^ (hash >> 32)) & u64::from(BUCKETS - 1)) as u32
}

fn fnv_1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // From the reference's published test vectors.
        assert_eq!(fnv_1a(b"".iter().copied()), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"a".iter().copied()), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a(b"foobar".iter().copied()), 0x8594_4171_f739_67e8);
        // 0xaf63dc4c ^ 0x8601ec8c = 0x296230c0, of which 18 bits: 0x230c0.
        assert_eq!(ngrams("A"), [(0x2_30c0, 1.0)]);
    }

    #[test]
    fn words_and_pairs_are_counted() {
        // a twice, b once, "a b" once, "b a" once: length sqrt(4 + 1 + 1 + 1).
        let found = ngrams("a b, A!");
        let weight = |parts: &[&str]| {
            let entry = found.iter().find(|entry| entry.0 == bucket(parts));
            entry.unwrap().1 * 7.0_f32.sqrt()
        };
        assert_eq!(found.len(), 4);
        assert!((weight(&["a"]) - 2.0).abs() < 1e-6 && (weight(&["b"]) - 1.0).abs() < 1e-6);
        assert!((weight(&["a", " ", "b"]) - 1.0).abs() < 1e-6);
        assert!((weight(&["b", " ", "a"]) - 1.0).abs() < 1e-6);
        assert!(found.is_sorted_by(|one, next| one.0 < next.0));
        assert!(found.iter().all(|entry| entry.0 < BUCKETS));
        assert!(ngrams("").is_empty() && ngrams("?!").is_empty());
    }

    #[test]
    fn texts_have_unit_length() {
        let found = ngrams("the cat sat on the mat and the dog sat on the cat, für Élise 日本");
        let length: f32 = found.iter().map(|entry| entry.1 * entry.1).sum();
        assert!((length - 1.0).abs() < 1e-6);
    }
}

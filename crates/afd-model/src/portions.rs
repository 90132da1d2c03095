//! Which answers are drawn together: requests cut into parts, each for a call of [`generate`](crate::generate()).

use std::ops::Range;

use crate::GenerationRequest;

/// Answers below which there are no more parts.
const FEWEST: usize = 32;

/// Parts that have to remain where they are given more answers than rows.
const REMAINING: usize = 16;

/// How many times as many answers as rows a part has at most.
const MOST: usize = 8;

/// Some of the answers to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// Its place among the requests.
    pub request: usize,
    /// Places of their seeds.
    pub answers: Range<usize>,
}

impl Portion {
    /// The request for these answers alone.
    ///
    /// # Panics
    /// When it is of other `requests`.
    pub fn of(&self, requests: &[GenerationRequest]) -> GenerationRequest {
        let request = &requests[self.request];
        GenerationRequest {
            prompt_ids: request.prompt_ids.clone(),
            seeds: request.seeds[self.answers.clone()].to_vec(),
        }
    }
}

/// Cuts requests into parts, each for a call of [`generate`](crate::generate()) with `max_rows`.
///
/// Parts are for those who work in parallel or are interrupted: `parts` of them, or as many as there are
/// batches of `max_rows` if those are more, and fewer if they had less than 32 answers each. Of very many
/// batches, up to eight make a part, so that answers join others, as long as 16 parts remain, and
/// `parts`. Parts are as equal as portions allow, and prompts of a part of similar length. A portion is a whole
/// request, unless that has more answers than a batch or than an equal share of all for each of `parts`, 32 at least:
/// those are cut where one part ends and the next begins. Portions of a request come in the order of its answers.
pub fn plan_batches(
    requests: &[GenerationRequest],
    max_rows: usize,
    parts: usize,
) -> Vec<Vec<Portion>> {
    let answers = |i: usize| requests[i].seeds.len();
    let total: usize = (0..requests.len()).map(answers).sum();
    let rows = total
        .div_ceil(parts.max(1))
        .max(FEWEST)
        .min(max_rows)
        .max(1);
    let batches = (total / rows / REMAINING.max(parts)).clamp(1, MOST);
    let count = total.div_ceil(rows * batches);
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| requests[i].prompt_ids.len());
    let part = |place: usize| (place * count / total.max(1)).min(count.saturating_sub(1));
    let (mut before, mut placed) = (0, Vec::new());
    for request in order {
        let all = answers(request);
        let mut start = 0;
        loop {
            // A whole request belongs where its first answer does when all answers are cut into equal parts.
            let part = part(before + start);
            let end = match all > rows {
                true => all.min(((part + 1) * total).div_ceil(count) - before),
                false => all,
            };
            let answers = start..end;
            placed.push((part, Portion { request, answers }));
            start = end;
            if start == all {
                break;
            }
        }
        before += all;
    }
    placed
        .chunk_by(|(part, _), (next, _)| part == next)
        .map(|part| part.iter().map(|(_, portion)| portion.clone()).collect())
        .collect()
}

/// The answers to each of so many `requests`, in their order, of parts drawn as `plan` says: `drawn` holds the answers
/// of each portion of each part.
pub fn by_request<T>(
    plan: &[Vec<Portion>],
    drawn: impl IntoIterator<Item = Vec<Vec<T>>>,
    requests: usize,
) -> Vec<Vec<T>> {
    let mut of: Vec<Vec<T>> = (0..requests).map(|_| Vec::new()).collect();
    for (answers, portion) in drawn.into_iter().flatten().zip(plan.iter().flatten()) {
        of[portion.request].extend(answers);
    }
    of
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The parts of requests with these lengths of their prompts and numbers of answers.
    fn plan(sizes: &[(usize, usize)], max_rows: usize, parts: usize) -> Vec<Vec<Portion>> {
        let request = |&(length, answers)| GenerationRequest {
            prompt_ids: vec![5; length],
            seeds: vec![0; answers],
        };
        let requests: Vec<_> = sizes.iter().map(request).collect();
        plan_batches(&requests, max_rows, parts)
    }

    fn portion(request: usize, answers: Range<usize>) -> Portion {
        Portion { request, answers }
    }

    #[test]
    fn parts_are_of_neighbouring_lengths_and_as_many_as_is_wanted() {
        let few = [(3, 2), (2, 2), (3, 2), (3, 9), (2, 1)];
        let whole = [1, 4, 0, 2, 3].map(|i| portion(i, 0..few[i].1));
        for parts in [1, 9] {
            assert_eq!(plan(&few, 64, parts), [whole.to_vec()]);
        }
        // Sixteen answers in four parts, and a request that is larger than one.
        let cut = [
            whole[..3].to_vec(),
            vec![portion(2, 0..2), portion(3, 0..1)],
            vec![portion(3, 1..5)],
            vec![portion(3, 5..9)],
        ];
        assert_eq!(plan(&few, 4, 1), cut);
        let sizes = |plan: Vec<Vec<Portion>>| plan.iter().map(Vec::len).collect::<Vec<_>>();
        // At least 32 answers in a part, and parts as equal as can be.
        assert_eq!(sizes(plan(&[(2, 8); 8], 64, 8)), [4, 4]);
        assert_eq!(sizes(plan(&[(2, 8); 101], 1000, 4)), [26, 25, 25, 25]);
        // 1024 answers in 16 batches, or in 128, of which eight make a part, or four if 32 parts are wanted.
        let many = [(2, 8); 128];
        assert_eq!(sizes(plan(&many, 64, 4)), [8; 16]);
        assert_eq!(sizes(plan(&many, 8, 4)), [8; 16]);
        assert_eq!(sizes(plan(&many, 8, 32)), [4; 32]);
        assert_eq!(plan(&[], 8, 4), Vec::<Vec<Portion>>::new());
    }

    #[test]
    fn many_answers_to_one_prompt_are_parts_too() {
        let halves = [vec![portion(0, 0..32)], vec![portion(0, 32..64)]];
        assert_eq!(plan(&[(7, 64)], 64, 8), halves);
        // One part where that is what is wanted.
        assert_eq!(plan(&[(7, 64)], 64, 1), [[portion(0, 0..64)]]);
        // Two of 48 are three parts of 32.
        let thirds = [
            vec![portion(0, 0..32)],
            vec![portion(0, 32..48), portion(1, 0..16)],
            vec![portion(1, 16..48)],
        ];
        assert_eq!(plan(&[(7, 48); 2], 64, 8), thirds);
        // A request without answers is there, also behind all others.
        assert_eq!(plan(&[(7, 0)], 64, 8), [[portion(0, 0..0)]]);
        let last = [
            vec![portion(0, 0..32)],
            vec![portion(0, 32..64), portion(1, 0..0)],
        ];
        assert_eq!(plan(&[(7, 64), (8, 0)], 64, 8), last);
    }

    #[test]
    fn a_portion_is_a_request_of_its_own() {
        let request = GenerationRequest {
            prompt_ids: vec![1, 2],
            seeds: vec![10, 11, 12],
        };
        let part = portion(1, 1..3).of(&[request.clone(), request]);
        assert_eq!((part.prompt_ids, part.seeds), (vec![1, 2], vec![11, 12]));
    }

    #[test]
    fn answers_come_back_to_their_requests() {
        let few = vec![(3, 9), (1, 2), (2, 0), (2, 5)];
        let many: Vec<_> = (0..90)
            .map(|i| (i % 9, [1, 0, 70, 500, 33][i % 5]))
            .collect();
        let cases = [(4, 1), (2, 1), (64, 1), (64, 8), (7, 3)];
        for (sizes, (max_rows, parts)) in [few, many].iter().flat_map(|s| cases.map(|c| (s, c))) {
            let plan = plan(sizes, max_rows, parts);
            for part in &plan {
                let mut there = HashSet::new();
                assert!(part.iter().all(|portion| there.insert(portion.request)));
            }
            let of = |p: &Portion| p.answers.clone().map(|i| (p.request, i)).collect();
            let drawn = plan.iter().map(|part| part.iter().map(of).collect());
            let all = |(i, size): (usize, &(usize, usize))| (0..size.1).map(move |k| (i, k));
            let wanted: Vec<Vec<_>> = sizes
                .iter()
                .enumerate()
                .map(all)
                .map(Iterator::collect)
                .collect();
            assert_eq!(by_request(&plan, drawn, sizes.len()), wanted);
        }
    }
}

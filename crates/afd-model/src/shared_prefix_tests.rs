//! Sequences that share a prompt: which do, and that their numbers are those of each run whole.

use afd_backend::device::test_device;
use burn::module::Module;

use crate::{
    CausalLm, Error, Head, Pretrained, SaveOptions, Sequence, SequenceClassifier, Side,
    families_tests::{dir, names},
    shared_prefix::{Chunk, plan},
    tests::{assert_close, host, model},
};

/// Largest difference between numbers computed twice on one device, by other batches.
const SAME: f32 = 1e-5;

/// Ids and length of a prompt of `prompt` tokens, another for each `k`, with an answer of `answer`
/// tokens, another for each `n`.
fn text(k: usize, prompt: usize, n: usize, answer: usize) -> (Vec<u32>, usize) {
    let asked = (0..prompt).map(|i| ((7 * i + 5 * k + 3) % 23 + 1) as u32);
    let answered = (0..answer).map(|i| ((11 * i + 3 * n + k) % 24) as u32);
    (asked.chain(answered).collect(), prompt)
}

/// Several answers to several prompts in no order, none longer than 22 tokens: one prompt is a
/// beginning of another, one has a single token and one has none; answers are of any length, one is
/// empty and some are there twice.
fn texts() -> Vec<(Vec<u32>, usize)> {
    let prompts: [(usize, usize, &[usize]); 7] = [
        (0, 15, &[3, 5, 4, 0, 6, 1]),
        (1, 14, &[6, 7, 2]),
        (0, 13, &[4, 4, 8, 4]),
        (2, 6, &[1, 1]),
        (3, 1, &[5, 3]),
        (4, 0, &[6, 4, 6]),
        (5, 9, &[4]),
    ];
    let answer = |n: usize| {
        let of = move |&(k, prompt, answers): &(usize, usize, &'static [usize])| {
            answers.get(n).map(|&answer| text(k, prompt, n / 2, answer))
        };
        prompts.into_iter().filter_map(move |prompt| of(&prompt))
    };
    (0..6).flat_map(answer).collect()
}

fn sequences(texts: &[(Vec<u32>, usize)]) -> Vec<Sequence<'_>> {
    let sequences = texts.iter().map(|(ids, prompt_len)| Sequence {
        ids,
        prompt_len: *prompt_len,
    });
    sequences.collect()
}

/// How many of a sequence's tokens a language model must read.
fn ends(sequences: &[Sequence<'_>]) -> Vec<usize> {
    let read = sequences.iter().map(|row| row.predictors());
    read.map(|read| if read.is_empty() { 0 } else { read.end })
        .collect()
}

/// How many tokens a chunk runs, padding included.
fn tokens(chunk: &Chunk, sequences: &[Sequence<'_>], ends: &[usize]) -> usize {
    let longest = chunk.rows().map(|i| match chunk.prefix {
        0 => sequences[i].ids.len(),
        prefix => ends[i] - prefix,
    });
    chunk.prefix * chunk.groups.len() + chunk.rows().count() * longest.max().unwrap()
}

#[test]
fn a_prompt_is_shared_where_fewer_tokens_are_run_on_paper() {
    let shared = |prompt: usize, answers: &[usize], batch: usize, until: Option<usize>| {
        let texts: Vec<_> = answers.iter().map(|&a| text(0, prompt, 0, a)).collect();
        let sequences = sequences(&texts);
        let ends = ends(&sequences);
        let chunks = plan(&sequences, &ends, batch, until);
        let mut rows: Vec<usize> = chunks.iter().flat_map(Chunk::rows).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..answers.len()).collect::<Vec<_>>());
        let run = chunks.iter().map(|chunk| tokens(chunk, &sequences, &ends));
        (chunks.clone(), run.collect::<Vec<_>>())
    };
    let one = |prefix, rows: &[usize]| Chunk {
        prefix,
        groups: vec![rows.to_vec()],
    };
    // Of 4·(50 + 11) tokens the prompt and 4·10 remain: the last of an answer predicts nothing.
    let found = shared(50, &[11; 4], 8, None);
    assert_eq!(found, (vec![one(50, &[0, 1, 2, 3])], vec![90]));
    // A long answer does not pad the others; it is run whole.
    let found = shared(50, &[11, 200, 9, 10], 8, None);
    let whole = Chunk::whole(vec![1]);
    assert_eq!(found, (vec![one(50, &[2, 3, 0]), whole], vec![80, 250]));
    // Two at a time read the prompt twice, and one is left.
    let (chunks, run) = shared(100, &[6; 5], 2, None);
    let alone = Chunk::whole(vec![4]);
    assert_eq!(chunks, [one(100, &[0, 1]), one(100, &[2, 3]), alone]);
    assert_eq!(run, [110, 110, 106]);
    // A short prompt is worth no second call, one answer none, nor is there a prompt in plain text.
    for (prompt, answers) in [(5, vec![6; 4]), (100, vec![6]), (0, vec![90; 4])] {
        let (chunks, _) = shared(prompt, &answers, 8, None);
        assert_eq!(chunks, [Chunk::whole((0..answers.len()).collect())]);
    }
    assert_eq!(shared(50, &[11; 4], 1, None).1, [61; 4]);
    // Where a text's length turns its positions otherwise, nobody may be longer.
    assert_eq!(shared(50, &[11; 4], 8, Some(61)).1, [90]);
    assert_eq!(shared(50, &[11; 4], 8, Some(60)).1, [244]);
}

#[test]
fn prompts_of_other_lengths_are_read_together_as_far_as_the_shortest_goes() {
    let texts: Vec<_> = [(0, 42), (1, 40), (2, 40), (0, 42), (1, 40), (2, 40)]
        .map(|(k, prompt)| text(k, prompt, k, 11))
        .into();
    let sequences = sequences(&texts);
    let ends = ends(&sequences);
    let chunk = Chunk {
        prefix: 40,
        groups: vec![vec![1, 4], vec![2, 5], vec![0, 3]],
    };
    assert_eq!(tokens(&chunk, &sequences, &ends), 3 * 40 + 6 * 12);
    assert_eq!(plan(&sequences, &ends, 8, None), [chunk]);
    // Not more than the batch holds.
    let chunks = plan(&sequences, &ends, 4, None);
    assert!(chunks.iter().all(|chunk| chunk.rows().count() <= 4));
    assert_eq!(chunks[0].groups, [[1, 4], [2, 5]]);
}

#[test]
fn what_nobody_reads_is_not_run() {
    let texts = [text(0, 9, 0, 0), text(0, 9, 0, 2), text(0, 1, 0, 0)];
    let sequences = sequences(&texts);
    let chunks = plan(&sequences, &ends(&sequences), 8, None);
    assert_eq!(chunks, [Chunk::whole(vec![1])]);
}

/// How many tokens of each prompt are shared in a batch of 16, none longer than 24 tokens.
fn prefixes(sequences: &[Sequence<'_>], ends: &[usize]) -> Vec<usize> {
    let chunks = plan(sequences, ends, 16, Some(24)).into_iter();
    let shared = chunks.filter(|chunk| chunk.prefix > 0);
    shared
        .flat_map(|chunk| vec![chunk.prefix; chunk.groups.len()])
        .collect()
}

#[test]
fn log_probs_of_every_family_are_those_of_each_sequence_alone() {
    let texts = texts();
    let sequences = sequences(&texts);
    // Of three prompts, two of them longer: otherwise nothing would be tried.
    assert_eq!(prefixes(&sequences, &ends(&sequences)), [13, 13, 13]);
    for name in names(Head::LanguageModel) {
        let model = CausalLm::load(&dir(&name), &test_device().into()).unwrap();
        let scored = model.score_log_probs(&sequences, 16).unwrap();
        assert_eq!(scored.len(), sequences.len());
        for (scored, sequence) in scored.iter().zip(&sequences) {
            if sequence.targets() == 0 {
                assert!(scored.is_empty());
                continue;
            }
            let alone = host(model.log_probs(&[*sequence], Side::Right));
            assert_close(scored, &alone, SAME);
        }
    }
}

#[test]
fn scores_of_every_family_are_those_of_each_sequence_alone() {
    let mut texts = texts();
    // The last token that is no padding stands in the prompt, and not at its end.
    let padded = [text(6, 10, 0, 0).0, vec![0; 7]].concat();
    texts.extend([(padded.clone(), 15), (padded, 15)]);
    let sequences = sequences(&texts);
    let whole: Vec<usize> = sequences.iter().map(|row| row.ids.len()).collect();
    assert_eq!(prefixes(&sequences, &whole), [13; 5]);
    for name in names(Head::Score) {
        let model = SequenceClassifier::load(&dir(&name), 9, &test_device().into()).unwrap();
        let scores = model.score_all(&sequences, 16).unwrap();
        let tokens = model.score_tokens(&sequences, 16).unwrap();
        let values = model.value_tokens(&sequences, 16).unwrap();
        let embeddings = model.model.embed_all(&sequences, 16).unwrap();
        for (i, sequence) in sequences.iter().enumerate() {
            let alone = &[*sequence];
            assert_close(&scores[i..=i], &host(model.scores(alone)), SAME);
            assert_eq!(tokens[i].len(), sequence.answer_len());
            assert_eq!(values[i].len(), sequence.targets());
            if sequence.answer_len() > 0 {
                assert_close(&tokens[i], &host(model.token_scores(alone)), SAME);
            }
            if sequence.targets() > 0 {
                assert_close(&values[i], &host(model.state_values(alone)), SAME);
            }
            let last = sequence.ids.len() - 1;
            let alone = model.model.hidden_at(alone, Side::Left, |_| last..last + 1);
            assert_close(&embeddings[i], &host(alone), SAME);
        }
    }
}

#[test]
fn a_text_too_long_for_fixed_positions_is_not_cut() {
    let model = CausalLm::load(&dir("llama-rope-dynamic"), &test_device().into()).unwrap();
    let until = model.config().fixed_until().unwrap();
    let texts: Vec<_> = (0..4).map(|n| text(0, until, n, 5)).collect();
    let sequences = sequences(&texts);
    // Cut, the prompt would be read as the short text it is alone.
    let chunk = Chunk {
        prefix: until,
        groups: vec![(0..4).collect()],
    };
    let cut = model
        .model
        .hidden_sharing(&sequences, &chunk, |row| row.predictors());
    let whole = model
        .model
        .hidden_at(&sequences, Side::Right, |row| row.predictors());
    let furthest = host((cut - whole).abs().max());
    assert!(furthest[0] > 100.0 * SAME, "{furthest:?}");

    let scored = model.score_log_probs(&sequences, 16).unwrap().concat();
    let whole = host(model.log_probs(&sequences, Side::Right));
    assert_close(&scored, &whole, SAME);
}

#[test]
fn a_model_that_tracks_gradients_shares_too() {
    let texts = texts();
    let sequences = sequences(&texts);
    let model = model();
    let scored = model.score_log_probs(&sequences, 16).unwrap().concat();
    let tracked = model.train().score_log_probs(&sequences, 16).unwrap();
    assert_close(&tracked.concat(), &scored, SAME);
}

#[test]
fn what_cannot_be_read_is_refused_as_ever() {
    let mut texts = texts();
    let model = model();
    let refusal = |texts: &[(Vec<u32>, usize)]| {
        let error = model.score_log_probs(&sequences(texts), 16);
        error.unwrap_err()
    };
    texts.push(text(0, 15, 0, 18));
    let error = refusal(&texts);
    let long = matches!(
        error,
        Error::ContextLength {
            prompt: 15,
            new: 18,
            context: 32
        }
    );
    assert!(long, "{error}");
    texts.pop();
    texts[0].0[15] = 24;
    let error = refusal(&texts);
    assert!(matches!(error, Error::TokenId { id: 24, .. }), "{error}");
}

#[test]
fn a_model_that_answers_nan_is_refused_by_way_of_a_prompt_too() {
    let dir = tempfile::tempdir().unwrap();
    model().save(dir.path(), SaveOptions::default()).unwrap();
    let model = SequenceClassifier::load(dir.path(), 5, &test_device().into()).unwrap();
    let broken = model.with_temperature(f64::MIN_POSITIVE);
    let texts: Vec<_> = (0..4).map(|n| text(0, 24, n, 5)).collect();
    let error = broken.score_all(&sequences(&texts), 8).unwrap_err();
    assert!(matches!(error, Error::NonFinite), "{error}");
}

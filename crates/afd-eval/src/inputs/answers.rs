//! What is kept of a policy's answers: figures, and of the prompts that are shown the texts.

use std::collections::{BTreeMap, BTreeSet};

use afd_data::records::Sample;
use rayon::prelude::*;

use super::{asked::SampleFile, groups::Groups};
use crate::{
    Error,
    texts::{Demonstrated, PromptTexts, TextFigures, TextReader},
};

/// A policy's answers; vectors are `[prompt][answer]`.
pub(crate) struct Answers {
    pub(crate) tokens: Vec<Vec<f64>>,
    /// 1 for an answer that the token limit cut off.
    pub(crate) cut: Vec<Vec<f64>>,
    /// Sums of the stored log-probabilities.
    pub(crate) log_probs: Vec<Vec<f64>>,
    pub(crate) texts: TextFigures,
    /// The first answers to each prompt that is shown, by its number.
    pub(crate) shown: BTreeMap<usize, Vec<String>>,
}

/// What is looked for in all policies' answers.
pub(super) struct Look<'a> {
    /// So many answers to a prompt are compared.
    pub(super) compared: usize,
    pub(super) demonstrated: Demonstrated<'a>,
    /// Numbers of prompts.
    pub(super) shown: &'a BTreeSet<usize>,
}

/// What is kept of the answers to a prompt.
struct OfPrompt {
    tokens: Vec<f64>,
    cut: Vec<f64>,
    log_probs: Vec<f64>,
    texts: PromptTexts,
    shown: Option<Vec<String>>,
}

/// Reads `file`, which was checked, and looks at some prompts at a time, one on each processor. `kept` texts are kept of
/// the answers to a prompt that is shown.
pub(super) fn read(file: &SampleFile<'_>, look: &Look<'_>, kept: usize) -> Result<Answers, Error> {
    let reader = TextReader::new(look.compared, &look.demonstrated);
    let groups = Groups::open(file.path)?.enumerate().par_bridge();
    let each = groups.map(|(number, group)| {
        let kept = look.shown.contains(&number).then_some(kept);
        Ok((number, of_prompt(group?, &reader, kept)))
    });
    // They come as they are done; the map brings them in order.
    let prompts: BTreeMap<usize, OfPrompt> = each.collect::<Result<_, Error>>()?;

    let (mut tokens, mut cut, mut log_probs) = (Vec::new(), Vec::new(), Vec::new());
    let (mut texts, mut shown) = (Vec::new(), BTreeMap::new());
    for (number, prompt) in prompts {
        tokens.push(prompt.tokens);
        cut.push(prompt.cut);
        log_probs.push(prompt.log_probs);
        texts.push(prompt.texts);
        shown.extend(prompt.shown.map(|texts| (number, texts)));
    }
    Ok(Answers {
        tokens,
        cut,
        log_probs,
        texts: reader.figures(&texts),
        shown,
    })
}

fn of_prompt(samples: Vec<Sample>, reader: &TextReader<'_>, kept: Option<usize>) -> OfPrompt {
    let each = |value: fn(&Sample) -> f64| samples.iter().map(value).collect();
    let texts: Vec<&str> = samples.iter().map(|s| s.completion.as_str()).collect();
    OfPrompt {
        tokens: each(|sample| sample.completion_ids.len() as f64),
        cut: each(|sample| f64::from(u8::from(sample.finish_reason == "length"))),
        log_probs: each(|sample| sample.logprobs.iter().copied().map(f64::from).sum()),
        texts: reader.read(&texts),
        shown: kept.map(|kept| {
            let first = samples.iter().take(kept);
            first.map(|sample| sample.completion.clone()).collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use afd_data::records::JsonlWriter;

    use super::*;

    /// Two answers each to so many prompts: of as many tokens as the prompt's number says, and of one.
    fn write(path: &Path, prompts: usize) {
        let mut writer = JsonlWriter::create(path).unwrap();
        for number in 1..=prompts {
            for (index, tokens) in [(0, number), (1, 1)] {
                let sample = Sample {
                    prompt: number.to_string(),
                    index,
                    completion: format!("answer {index} to {number}"),
                    completion_ids: vec![1; tokens],
                    logprobs: vec![-0.5; tokens],
                    sampler_logprobs: None,
                    finish_reason: if index == 0 { "length" } else { "stop" }.to_owned(),
                };
                writer.write(&sample).unwrap();
            }
        }
        writer.finish().unwrap();
    }

    #[test]
    fn prompts_stand_in_their_order_whoever_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        write(&path, 300);
        let file = SampleFile {
            policy: "p",
            path: &path,
            answers: 2,
        };
        let look = Look {
            compared: 1,
            demonstrated: Demonstrated::by(["answer 0", "answer 1"].into_iter()),
            shown: &BTreeSet::from([0, 150]),
        };
        let answers = read(&file, &look, 2).unwrap();
        let expected: Vec<Vec<f64>> = (1..=300).map(|n| vec![f64::from(n), 1.0]).collect();
        assert_eq!(answers.tokens, expected);
        assert_eq!(answers.log_probs[299], [-150.0, -0.5]);
        assert!(answers.cut.iter().all(|cut| *cut == [1.0, 0.0]));
        let shown: Vec<(&usize, &String)> = answers
            .shown
            .iter()
            .map(|(n, texts)| (n, &texts[1]))
            .collect();
        let texts = ["answer 1 to 1".to_owned(), "answer 1 to 151".to_owned()];
        assert_eq!(shown, [(&0, &texts[0]), (&150, &texts[1])]);
        let first = read(&file, &look, 1).unwrap().shown;
        assert!(first.values().all(|texts| texts.len() == 1), "{first:?}");
        // The first answer alone is compared: it has one of the two pairs, and "0 to", "to N".
        assert_eq!(answers.texts.coverage, Some(0.5));
        assert_eq!(answers.texts.precision, Some(0.333333));
        assert_eq!(answers.texts.self_bleu, None);
    }
}

//! The samples in a file, those of one prompt at a time.

use std::path::Path;

use afd_data::records::{JsonlReader, Sample};

use crate::Error;

/// The samples of each prompt in turn: numbered from 0, as many as the first prompt has, each with a
/// log-probability for every token. Ends after an error.
pub(crate) struct Groups<'a> {
    path: &'a Path,
    rows: JsonlReader<Sample>,
    row: usize,
    /// The sample that was read last and begins the next prompt.
    next: Option<Sample>,
    prompts: usize,
    /// Samples of the first prompt.
    expected: Option<usize>,
    failed: bool,
}

impl<'a> Groups<'a> {
    /// Starts at the first prompt.
    pub(crate) fn open(path: &'a Path) -> Result<Self, Error> {
        Ok(Self {
            path,
            rows: JsonlReader::open(path)?,
            row: 0,
            next: None,
            prompts: 0,
            expected: None,
            failed: false,
        })
    }

    /// The next prompt's samples; none at the end.
    fn group(&mut self) -> Result<Vec<Sample>, Error> {
        let mut group: Vec<Sample> = self.next.take().into_iter().collect();
        while let Some(sample) = self.rows.next().transpose()? {
            self.row += 1;
            // Index 0 begins a prompt, even should it be the same text again.
            let goes_on = sample.index != 0
                && group
                    .first()
                    .is_some_and(|first| first.prompt == sample.prompt);
            let expected = if goes_on { group.len() as u32 } else { 0 };
            if sample.index != expected {
                return Err(Error::SampleOrder {
                    path: self.path.into(),
                    row: self.row,
                    expected,
                    got: sample.index,
                });
            }
            if !goes_on && !group.is_empty() {
                self.next = Some(sample);
                break;
            }
            group.push(sample);
        }
        Ok(group)
    }

    fn checked(&mut self) -> Result<Option<Vec<Sample>>, Error> {
        let group = self.group()?;
        if group.is_empty() {
            return Ok(None);
        }
        self.prompts += 1;
        let expected = *self.expected.get_or_insert(group.len());
        if group.len() != expected {
            return Err(Error::SampleCount {
                path: self.path.into(),
                prompt: self.prompts,
                expected,
                got: group.len(),
            });
        }
        for sample in &group {
            let (tokens, logprobs) = (sample.completion_ids.len(), sample.logprobs.len());
            if tokens != logprobs || tokens == 0 {
                return Err(Error::LogProbs {
                    path: self.path.into(),
                    prompt: self.prompts,
                    index: sample.index as usize,
                    tokens,
                    logprobs,
                });
            }
        }
        Ok(Some(group))
    }
}

impl Iterator for Groups<'_> {
    type Item = Result<Vec<Sample>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let group = self.checked();
        self.failed = group.is_err();
        group.transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Prompt, index and number of tokens.
    type Row = (&'static str, u32, usize);

    /// Numbers of samples of each prompt that is read, and the error that ends the reading.
    fn read(rows: &[Row]) -> (Vec<usize>, Option<String>) {
        let row = |(prompt, index, tokens): &Row| {
            let (ids, logprobs) = (vec![1; *tokens], vec![-0.5; *tokens]);
            serde_json::json!({
                "prompt": prompt, "index": index, "completion": "x", "completion_ids": ids,
                "logprobs": logprobs, "finish_reason": "stop",
            })
            .to_string()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        fs::write(&path, rows.iter().map(row).collect::<Vec<_>>().join("\n")).unwrap();
        let (mut counts, mut error) = (Vec::new(), None);
        for group in Groups::open(&path).unwrap() {
            assert_eq!(error, None, "the error is the last");
            match group {
                Ok(group) => {
                    assert!(group.iter().all(|sample| sample.prompt == group[0].prompt));
                    counts.push(group.len());
                }
                Err(found) => error = Some(found.to_string()),
            }
        }
        (counts, error)
    }

    #[test]
    fn prompts_come_one_by_one() {
        assert_eq!(read(&[]), (vec![], None));
        assert_eq!(read(&[("a", 0, 1)]), (vec![1], None));
        let two = [("a", 0, 1), ("a", 1, 3), ("b", 0, 1), ("b", 1, 2)];
        assert_eq!(read(&two), (vec![2, 2], None));
        // The same prompt twice is two prompts.
        let again = [("a", 0, 1), ("a", 1, 3), ("a", 0, 1), ("a", 1, 2)];
        assert_eq!(read(&again), (vec![2, 2], None));
    }

    #[test]
    fn what_is_wrong_is_named_where_it_stands_and_ends_the_reading() {
        let cases: [(&[Row], usize, &str); 6] = [
            (
                &[("a", 1, 1)],
                0,
                "row 1 has the sample index 1, expected 0",
            ),
            (
                &[("a", 0, 1), ("b", 0, 1), ("b", 2, 1), ("c", 0, 1)],
                1,
                "row 3 has the sample index 2, expected 1",
            ),
            // Another prompt begins at 0.
            (
                &[("a", 0, 1), ("b", 1, 1)],
                0,
                "row 2 has the sample index 1, expected 0",
            ),
            (
                &[("a", 0, 1), ("b", 0, 1), ("b", 1, 1), ("c", 0, 1)],
                1,
                "prompt 2 has 2 samples, prompt 1 has 1",
            ),
            (
                &[("a", 0, 1), ("a", 1, 1), ("b", 0, 1)],
                1,
                "prompt 2 has 1 samples, prompt 1 has 2",
            ),
            (
                &[("a", 0, 1), ("b", 0, 0), ("c", 0, 1)],
                1,
                "answer 0 to prompt 2 has 0 tokens and 0 log-prob",
            ),
        ];
        for (rows, before, expected) in cases {
            let (counts, error) = read(rows);
            assert_eq!(counts.len(), before, "{rows:?}");
            let error = error.unwrap();
            assert!(error.contains(expected), "{rows:?}: {error}");
        }
    }
}

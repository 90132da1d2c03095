//! The records that stages exchange, one JSON object a line, and their reading and writing.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use afd_stage::fs::AtomicFile;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, chat::Message};

/// A prompt with whatever answers the source has for it.
///
/// The prompt ends with `\n\nAssistant:` and answers begin with one space, unless both are in the
/// form of a chat template; answers hold no end token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The dialogue up to the answer.
    pub prompt: String,
    /// The demonstration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// The preferred answer of a preference pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// The dispreferred answer of a preference pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// The dialogue with the demonstration, where a chat template wrote the texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Where it came from: `file:line`, or `world:123`.
    pub source: String,
}

/// One answer drawn from a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The prompt answered.
    pub prompt: String,
    /// The answer's number among those for this prompt, from 0.
    pub index: u32,
    /// The answer as text, without end token.
    pub completion: String,
    /// The ids as sampled, with the end token if one was drawn.
    pub completion_ids: Vec<u32>,
    /// Log-probability of each id in nats under the policy itself, at temperature 1.
    pub logprobs: Vec<f32>,
    /// Log-probability of each id in nats under what drew it, where that is not the policy itself:
    /// at another temperature, cut, or led away from another policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler_logprobs: Option<Vec<f32>>,
    /// `"stop"` (end token or stop string) or `"length"` (cut off).
    pub finish_reason: String,
}

impl Sample {
    /// Log-probability of each id in nats under what drew it. The sum over an answer of these less
    /// [`logprobs`](Self::logprobs) has the expectation `KL(sampler ‖ policy)`.
    pub fn sampler_logprobs(&self) -> &[f32] {
        self.sampler_logprobs.as_deref().unwrap_or(&self.logprobs)
    }
}

/// An ordinary preference row plus who wrote each side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferenceRow {
    /// The prompt answered.
    pub prompt: String,
    /// The side with label 1.
    pub chosen: String,
    /// The side with label 0.
    pub rejected: String,
    /// The prompt that `rejected` answers, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_prompt: Option<String>,
    /// Who wrote `chosen`, e.g. `sft`; who reads a file of preferences knows no better than
    /// `chosen`.
    #[serde(default = "chosen")]
    pub chosen_source: String,
    /// Who wrote `rejected`, e.g. `init`.
    #[serde(default = "rejected")]
    pub rejected_source: String,
}

impl PreferenceRow {
    /// The prompt that `rejected` answers.
    pub fn rejected_prompt(&self) -> &str {
        self.rejected_prompt.as_deref().unwrap_or(&self.prompt)
    }
}

fn chosen() -> String {
    "chosen".to_owned()
}

fn rejected() -> String {
    "rejected".to_owned()
}

/// The rewards of all samples for one prompt: row k is prompt k of the samples file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// The prompt answered.
    pub prompt: String,
    /// One score for each sample index.
    pub scores: Vec<f32>,
    /// How far the members of an ensemble are apart on each: their standard deviation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<f32>,
    /// What each token of each sample adds to its score, where the reward knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Vec<f32>>,
}

/// A row that was left out, as written to `dropped.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DroppedRow {
    /// `file:line` of the row.
    pub source: String,
    /// The kind of problem.
    pub reason: DropReason,
    /// The figures behind it; empty where the reason says all.
    pub detail: String,
}

/// Why a row was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DropReason {
    /// The prompt holds no text.
    #[serde(rename = "empty prompt")]
    EmptyPrompt,
    /// An answer holds no text.
    #[serde(rename = "empty answer")]
    EmptyAnswer,
    /// The dialogue does not end with the assistant's turn, or there is no answer at all.
    #[serde(rename = "no answer")]
    NoAnswer,
    /// The two dialogues of a pair do not share their prompt.
    #[serde(rename = "chosen and rejected differ in the prompt")]
    PromptsDiffer,
    /// A message by somebody else than system, user or assistant.
    #[serde(rename = "unknown role")]
    UnknownRole,
    /// The prompt does not begin with the prefix to strip.
    #[serde(rename = "prefix missing")]
    PrefixMissing,
    /// The chat template raised an exception.
    #[serde(rename = "refused by the chat template")]
    TemplateRefused,
    /// The prompt as rendered is not the beginning of the whole dialogue as rendered, or the
    /// answer's end cannot be told.
    #[serde(rename = "the chat template does not continue the prompt")]
    TemplateMismatch,
    /// The same prompt with the same answers was there before.
    #[serde(rename = "duplicate")]
    Duplicate,
    /// Both answers of a preference pair are the same.
    #[serde(rename = "chosen and rejected are equal")]
    EqualAnswers,
    /// The prompt has too many tokens.
    #[serde(rename = "prompt too long")]
    PromptTooLong,
    /// An answer has too many tokens.
    #[serde(rename = "answer too long")]
    AnswerTooLong,
    /// An answer has too few tokens.
    #[serde(rename = "answer too short")]
    AnswerTooShort,
    /// The test split has one row a prompt, and this prompt had its row.
    #[serde(rename = "prompt already in test")]
    PromptInTest,
    /// The split had reached its largest size.
    #[serde(rename = "over the cap")]
    OverCap,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A unit variant serialises as its name, which is the text wanted here.
        self.serialize(f)
    }
}

/// Reads all records of a JSON Lines file; blank lines are skipped.
///
/// # Errors
/// The file cannot be read, or a line is not a `T`: file, line and serde's message.
pub fn read_jsonl<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    JsonlReader::open(path)?.collect()
}

/// The records of a JSON Lines file one after the other; blank lines are skipped.
///
/// An error names file and line. It does not end the reading: the next line may be whole.
#[derive(Debug)]
pub struct JsonlReader<T> {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
    bytes: Vec<u8>,
    record: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonlReader<T> {
    /// Starts at the first line.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
            number: 0,
            bytes: Vec::new(),
            record: PhantomData,
        })
    }

    /// The line of the record that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.number
    }
}

impl<T: DeserializeOwned> Iterator for JsonlReader<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.bytes.clear();
            match self.reader.read_until(b'\n', &mut self.bytes) {
                Ok(0) => return None,
                Ok(_) => self.number += 1,
                Err(error) => return Some(Err(Error::io("read", &self.path)(error))),
            }
            let record = self.bytes.trim_ascii_end();
            if !record.is_empty() {
                let record = serde_json::from_slice(record);
                return Some(record.map_err(|e| Error::json(&self.path, self.number, &e)));
            }
        }
    }
}

/// Writes records of one type; the file appears, complete, on [`finish`](Self::finish).
///
/// A writer that is dropped unfinished leaves nothing behind.
#[derive(Debug)]
pub struct JsonlWriter<T> {
    path: PathBuf,
    file: AtomicFile,
    rows: u64,
    record: PhantomData<fn(&T)>,
}

impl<T: Serialize> JsonlWriter<T> {
    /// Starts a file that will be named `path`.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = AtomicFile::create(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            rows: 0,
            record: PhantomData,
        })
    }

    /// Appends one record.
    ///
    /// # Errors
    /// The file cannot be written (no space, for example).
    pub fn write(&mut self, record: &T) -> Result<(), Error> {
        serde_json::to_writer(&mut self.file, record)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(Error::io("write", &self.path))?;
        self.rows += 1;
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Flushes to disk and gives the file its name; returns the number of rows.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub fn finish(self) -> Result<u64, Error> {
        self.file.commit()?;
        Ok(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompt: &str) -> PreferenceRow {
        PreferenceRow {
            prompt: prompt.to_owned(),
            chosen: " a\nb".to_owned(),
            rejected: " ü\u{2028}".to_owned(),
            rejected_prompt: None,
            chosen_source: "sft".to_owned(),
            rejected_source: "init".to_owned(),
        }
    }

    #[test]
    fn written_records_are_read_back_and_only_after_finish() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.jsonl");
        let mut writer = JsonlWriter::create(&path).unwrap();
        writer.write(&row("p")).unwrap();
        writer.write(&row("q")).unwrap();
        assert!(!path.exists());
        assert_eq!(writer.finish().unwrap(), 2);
        assert_eq!(
            read_jsonl::<PreferenceRow>(&path).unwrap(),
            [row("p"), row("q")]
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_writer_keeps_the_old_file_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.jsonl");
        std::fs::write(&path, "old").unwrap();
        let mut writer = JsonlWriter::create(&path).unwrap();
        writer.write(&row("p")).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_bad_line_is_named_with_file_line_and_cause() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scores.jsonl");
        std::fs::write(
            &path,
            "{\"prompt\":\"p\",\"scores\":[1]}\n\n{\"prompt\":\"q\"}\n",
        )
        .unwrap();
        let message = read_jsonl::<Scores>(&path).unwrap_err().to_string();
        assert!(
            message.contains("scores.jsonl:3:14: missing field `scores`;"),
            "{message}"
        );
    }

    #[test]
    fn sample_log_probabilities_survive_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let logprobs: Vec<f32> = (1..500).map(|i| -(i as f32).sqrt() / 7.3).collect();
        let sample = Sample {
            prompt: "p".to_owned(),
            index: 3,
            completion: " a".to_owned(),
            completion_ids: vec![1, 2],
            logprobs,
            sampler_logprobs: None,
            finish_reason: "stop".to_owned(),
        };
        let mut writer = JsonlWriter::create(&path).unwrap();
        writer.write(&sample).unwrap();
        writer.finish().unwrap();
        assert_eq!(
            read_jsonl::<Sample>(&path).unwrap(),
            std::slice::from_ref(&sample)
        );
        // What is not there is the same, and leaves no trace in the file.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("sampler_logprobs"), "{text}");
        assert_eq!(sample.sampler_logprobs(), sample.logprobs);
    }

    #[test]
    fn a_reason_reads_the_same_in_text_and_in_json() {
        let json = serde_json::to_string(&DropReason::OverCap).unwrap();
        assert_eq!(json, format!("\"{}\"", DropReason::OverCap));
    }
}

//! Answers by prompt, left on disk.

use std::{
    collections::HashMap,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::Answerer;
use crate::Error;

/// The key of a row under which its answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `completion`: demonstrations, and answers of policies.
    Completion,
    /// `chosen` of a preference row.
    Chosen,
    /// `rejected` of a preference row.
    Rejected,
}

/// What is read of a row, whatever else it holds.
#[derive(Deserialize)]
struct Row {
    prompt: String,
    #[serde(default)]
    completion: Option<String>,
    #[serde(default)]
    chosen: Option<String>,
    #[serde(default)]
    rejected: Option<String>,
}

impl Row {
    /// Prompt and answer. A preference counts with both of its sides or not at all, so that the k-th
    /// of one side to a prompt is of the same row as the k-th of the other.
    fn answer(self, field: Field) -> (String, Option<String>) {
        let empty = |side: &Option<String>| side.as_ref().is_none_or(|text| text.trim().is_empty());
        let torn = empty(&self.chosen) || empty(&self.rejected);
        let answer = match field {
            Field::Completion => self.completion,
            Field::Chosen if !torn => self.chosen,
            Field::Rejected if !torn => self.rejected,
            Field::Chosen | Field::Rejected => None,
        };
        (self.prompt, answer)
    }
}

/// Where the answers to each prompt stand in some files.
pub(super) struct Answers {
    files: Vec<(PathBuf, BufReader<File>)>,
    field: Field,
    /// Rows of each prompt, in the order of the files: file and offset. Prompts of equal hash share
    /// an entry; reading a row tells them apart.
    places: HashMap<u64, Vec<Place>>,
    /// The first row of each prompt, in the same order.
    firsts: Vec<Place>,
    answers: usize,
    empty: usize,
}

type Place = (u32, u64);

impl Answers {
    /// Reads the files once.
    pub(super) fn index(from: &Answerer) -> Result<Self, Error> {
        let mut answers = Self {
            files: Vec::new(),
            field: from.field,
            places: HashMap::new(),
            firsts: Vec::new(),
            answers: 0,
            empty: 0,
        };
        for path in &from.files {
            answers.add(path)?;
        }
        if answers.answers == 0 {
            return Err(Error::EmptyClass {
                side: from.name.clone(),
                paths: from.files.clone(),
            });
        }
        Ok(answers)
    }

    fn add(&mut self, path: &Path) -> Result<(), Error> {
        let file = File::open(path).map_err(afd_data::Error::io("open", path))?;
        let mut reader = BufReader::new(file);
        let (mut offset, mut line, mut number) = (0, Vec::new(), 0);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line);
            let bytes = read.map_err(afd_data::Error::io("read", path))?;
            if bytes == 0 {
                break;
            }
            number += 1;
            if !line.trim_ascii().is_empty() {
                let (prompt, answer) = self.parse(path, number, &line)?;
                match answer {
                    Some(answer) if answer.trim().is_empty() => self.empty += 1,
                    Some(_) => {
                        let place = (self.files.len() as u32, offset);
                        self.note(&prompt, place);
                    }
                    None => {}
                }
            }
            offset += bytes as u64;
        }
        self.files.push((path.to_owned(), reader));
        Ok(())
    }

    fn parse(
        &self,
        path: &Path,
        number: u64,
        line: &[u8],
    ) -> Result<(String, Option<String>), Error> {
        let row: Row = serde_json::from_slice(line.trim_ascii())
            .map_err(|error| afd_data::Error::json(path, number, &error))?;
        Ok(row.answer(self.field))
    }

    fn note(&mut self, prompt: &str, place: Place) {
        let places = self.places.entry(hash(prompt)).or_default();
        if places.is_empty() {
            self.firsts.push(place);
        }
        places.push(place);
        self.answers += 1;
    }

    /// Answers in all, empty ones left out.
    pub(super) fn len(&self) -> usize {
        self.answers
    }

    /// Answers left out because they hold no text.
    pub(super) fn empty(&self) -> usize {
        self.empty
    }

    /// Distinct prompts.
    pub(super) fn prompts(&self) -> usize {
        self.firsts.len()
    }

    /// Whether there are answers to a prompt.
    pub(super) fn has(&self, prompt: &str) -> bool {
        self.places.contains_key(&hash(prompt))
    }

    /// Prompt `number` and its answers, in their order.
    pub(super) fn read(&mut self, number: usize) -> Result<(String, Vec<String>), Error> {
        let (prompt, _) = self.row(self.firsts[number])?;
        let answers = self.to(&prompt)?;
        Ok((prompt, answers))
    }

    /// The answers to a prompt, in their order.
    pub(super) fn to(&mut self, prompt: &str) -> Result<Vec<String>, Error> {
        let places = self.places.get(&hash(prompt)).cloned().unwrap_or_default();
        let mut answers = Vec::new();
        for place in places {
            let (of, answer) = self.row(place)?;
            answers.extend(answer.filter(|_| of == prompt));
        }
        Ok(answers)
    }

    fn row(&mut self, (file, offset): Place) -> Result<(String, Option<String>), Error> {
        let (path, reader) = &mut self.files[file as usize];
        let mut line = Vec::new();
        // Most rows follow one another, and what is in the buffer is not read again.
        let here = reader.stream_position();
        here.and_then(|here| reader.seek_relative(offset as i64 - here as i64))
            .and_then(|()| reader.read_until(b'\n', &mut line))
            .map_err(afd_data::Error::io("read", path))?;
        let path = path.clone();
        self.parse(&path, 0, &line)
    }
}

fn hash(prompt: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    prompt.hash(&mut hasher);
    hasher.finish()
}

/// Whether two lists of files hold the same bytes.
pub(super) fn same_content(a: &[PathBuf], b: &[PathBuf]) -> Result<bool, Error> {
    let length = |path: &PathBuf| {
        let metadata = std::fs::metadata(path);
        Ok(metadata.map_err(afd_data::Error::io("read", path))?.len())
    };
    let lengths = |paths: &[PathBuf]| paths.iter().map(length).collect::<Result<Vec<_>, Error>>();
    if lengths(a)? != lengths(b)? {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        let open = |path: &Path| -> Result<_, Error> {
            let file = File::open(path).map_err(afd_data::Error::io("open", path))?;
            Ok(BufReader::new(file).bytes().map(|byte| byte.ok()))
        };
        if !open(a)?.eq(open(b)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(lines: &str) -> Result<Answers, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.jsonl");
        std::fs::write(&path, lines).unwrap();
        Answers::index(&Answerer {
            name: "somebody".into(),
            files: vec![path],
            field: Field::Completion,
        })
    }

    #[test]
    fn answers_are_found_by_prompt_wherever_they_stand() {
        let mut answers = answers(concat!(
            "{\"prompt\":\"p\",\"completion\":\" a\",\"index\":0}\n\n",
            "{\"prompt\":\"q\",\"completion\":\" b\"}\n",
            "{\"prompt\":\"q\",\"completion\":\"  \"}\n",
            "{\"prompt\":\"r\",\"chosen\":\" none of ours\"}\n",
            "{\"prompt\":\"p\",\"completion\":\" c\"}",
        ))
        .unwrap();
        assert_eq!(
            (answers.len(), answers.empty(), answers.prompts()),
            (3, 1, 2)
        );
        let owned = |prompt: &str, texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            (prompt.to_owned(), texts)
        };
        assert_eq!(answers.read(1).unwrap(), owned("q", &[" b"]));
        assert_eq!(answers.read(0).unwrap(), owned("p", &[" a", " c"]));
        assert!(answers.to("r").unwrap().is_empty() && !answers.has("r"));
    }

    #[test]
    fn a_file_without_answers_is_an_empty_class() {
        let error = answers("{\"prompt\":\"p\",\"chosen\":\" a\"}\n").err();
        let message = error.unwrap().to_string();
        assert!(message.contains("somebody"), "{message}");
        assert!(message.contains("answers.jsonl"), "{message}");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = answers("{\"prompt\":\"p\",\"completion\":\" a\"}\n{\"prompt\":1}\n").err();
        let message = error.unwrap().to_string();
        assert!(message.contains("answers.jsonl:2"), "{message}");
    }
}

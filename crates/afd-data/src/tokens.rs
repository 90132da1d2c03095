//! Token rows: the ids of prompt and answer, and where the answer begins.

use crate::{Error, Tokenizer};

/// A sequence to train on or to score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Prompt, answer and, unless the answer was cut off, the end token.
    pub ids: Vec<u32>,
    /// The answer is the positions from here on, end token included.
    pub prompt_len: usize,
}

impl TokenRow {
    /// Prompt, completion and end token; `None` if that is longer than `max_length` tokens.
    ///
    /// # Errors
    /// The tokenizer does not know a character.
    pub fn example(
        tokenizer: &Tokenizer,
        prompt: &str,
        completion: &str,
        max_length: usize,
    ) -> Result<Option<Self>, Error> {
        let prompt = tokenizer.encode_prompt(prompt)?;
        let mut completion = tokenizer.encode_completion(completion)?;
        completion.push(tokenizer.eos_id());
        let row = Self::from_sample(&prompt, &completion);
        Ok((row.ids.len() <= max_length).then_some(row))
    }

    /// A whole text and the end token, for plain language modelling: everything but the begin
    /// token, where the model has one, is answer. `None` if longer than `max_length` tokens.
    ///
    /// # Errors
    /// The tokenizer does not know a character.
    pub fn text(
        tokenizer: &Tokenizer,
        text: &str,
        max_length: usize,
    ) -> Result<Option<Self>, Error> {
        let mut ids = tokenizer.encode_prompt(text)?;
        ids.push(tokenizer.eos_id());
        let prompt_len = tokenizer.prefix().len();
        Ok((ids.len() <= max_length).then_some(Self { ids, prompt_len }))
    }

    /// A prompt and an answer as sampled: the ids are taken as they are, because encoding the
    /// answer's text again may split it otherwise. An answer cut by length has no end token, and
    /// none is added.
    pub fn from_sample(prompt_ids: &[u32], completion_ids: &[u32]) -> Self {
        Self {
            ids: [prompt_ids, completion_ids].concat(),
            prompt_len: prompt_ids.len(),
        }
    }

    /// The ids of the answer, with the end token unless the answer was cut off.
    pub fn answer(&self) -> &[u32] {
        &self.ids[self.prompt_len..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(dir: &std::path::Path) -> Tokenizer {
        let texts = ["How are you? You could walk. You could read."];
        Tokenizer::train_bpe(texts.map(str::to_owned).into_iter(), 270, dir).unwrap()
    }

    #[test]
    fn an_example_is_prompt_completion_and_end_token() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(dir.path());
        let prompt = "\n\nHuman: How are you?\n\nAssistant:";
        let row = TokenRow::example(&tokenizer, prompt, " You could read.", 100)
            .unwrap()
            .unwrap();
        assert_eq!(
            row.ids[..row.prompt_len],
            tokenizer.encode_prompt(prompt).unwrap()
        );
        assert_eq!(row.answer().last(), Some(&0));
        assert_eq!(tokenizer.decode(row.answer()).unwrap(), " You could read.");

        let length = row.ids.len();
        let fits = |max| {
            TokenRow::example(&tokenizer, prompt, " You could read.", max)
                .unwrap()
                .is_some()
        };
        assert!(fits(length) && !fits(length - 1));
    }

    #[test]
    fn a_text_is_all_answer() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(dir.path());
        let row = TokenRow::text(&tokenizer, "How are you?", 100)
            .unwrap()
            .unwrap();
        assert_eq!(row.prompt_len, 0);
        assert_eq!(row.answer().last(), Some(&0));
    }

    #[test]
    fn a_cut_sample_gets_no_end_token() {
        let row = TokenRow::from_sample(&[5, 6], &[7, 8]);
        assert_eq!(
            row,
            TokenRow {
                ids: vec![5, 6, 7, 8],
                prompt_len: 2
            }
        );
    }
}

//! Token rows: the ids of prompt and answer, and where the answer begins.

use std::ops::Range;

use rayon::prelude::*;

use crate::{Error, Tokenizer, chat::Message};

/// A sequence to train on or to score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRow {
    /// Prompt, answer and, unless the answer was cut off, the end token.
    pub ids: Vec<u32>,
    /// The answer is the positions from here on, end token included.
    pub prompt_len: usize,
    /// The positions trained on, in order, of a dialogue with several answers; the first is
    /// `prompt_len`. Empty: all from `prompt_len` on.
    pub trained: Vec<Range<usize>>,
}

impl TokenRow {
    /// Prompt, completion and end token (with a chat template in use, that of its turns); `None` if
    /// that is longer than `max_length` tokens.
    ///
    /// # Errors
    /// The tokenizer does not know a character.
    pub fn example(
        tokenizer: &Tokenizer,
        prompt: &str,
        completion: &str,
        max_length: usize,
    ) -> Result<Option<Self>, Error> {
        let prompt_ids = tokenizer.encode_prompt(prompt)?;
        let mut completion = tokenizer.encode_answer((prompt, &prompt_ids), completion)?;
        completion.push(tokenizer.eos_id());
        let row = Self::from_sample(&prompt_ids, &completion);
        Ok((row.ids.len() <= max_length).then_some(row))
    }

    /// As [`example`](Self::example), for what reads rather than writes: prompt and completion are
    /// encoded as one text, as transformers and TRL do for a reward model. `example` has a token
    /// end where the prompt does, as in sampling, and a space before an answer where the tokenizer
    /// puts one before every text. A token across that place counts as answer. `None` if that is
    /// longer than `max_length` tokens.
    ///
    /// # Errors
    /// The tokenizer does not know a character.
    pub fn joined(
        tokenizer: &Tokenizer,
        prompt: &str,
        completion: &str,
        max_length: usize,
    ) -> Result<Option<Self>, Error> {
        let (text, places) = tokenizer.encode_places(&format!("{prompt}{completion}"))?;
        let begin = match text.starts_with(tokenizer.prefix()) {
            true => &[],
            false => tokenizer.prefix(),
        };
        let of_prompt = places.iter().take_while(|place| place.end <= prompt.len());
        let row = Self {
            prompt_len: begin.len() + of_prompt.count(),
            ids: [begin, &text, &[tokenizer.eos_id()]].concat(),
            trained: Vec::new(),
        };
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
        let row = Self {
            ids,
            prompt_len,
            trained: Vec::new(),
        };
        Ok((row.ids.len() <= max_length).then_some(row))
    }

    /// A whole dialogue as the chat template writes it, trained on all of the assistant's words:
    /// each token that overlaps a `{% generation %}` block of the template. `None` if longer than
    /// `max_length` tokens.
    ///
    /// Nothing is added to the text: a turn's end token is trained on where the block holds it.
    ///
    /// # Errors
    /// The tokenizer has no chat template in use, the template has no such blocks or fails, or
    /// the tokenizer does not know a character.
    pub fn dialogue(
        tokenizer: &Tokenizer,
        messages: &[Message],
        max_length: usize,
    ) -> Result<Option<Self>, Error> {
        let Some(template) = tokenizer.chat_template() else {
            let dir = tokenizer.dir().to_owned();
            return Err(Error::NoChatTemplate { dir });
        };
        if !template.marks_answers() {
            let origin = template.origin().to_owned();
            return Err(Error::NoGenerationBlocks { origin });
        }
        let dialogue = template.render(messages, false)?;
        let (ids, places) = tokenizer.encode_places(&dialogue.text)?;
        let overlaps = |place: &Range<usize>| {
            let mut blocks = dialogue.assistant.iter();
            blocks.any(|block| place.start < block.end && block.start < place.end)
        };
        let trained = runs(places.iter().map(overlaps));
        let row = Self {
            prompt_len: trained.first().map_or(ids.len(), |first| first.start),
            ids,
            trained,
        };
        Ok((row.ids.len() <= max_length).then_some(row))
    }

    /// A prompt and an answer as sampled: the ids are taken as they are, because encoding the
    /// answer's text again may split it otherwise. An answer cut by length has no end token, and
    /// none is added.
    pub fn from_sample(prompt_ids: &[u32], completion_ids: &[u32]) -> Self {
        Self {
            ids: [prompt_ids, completion_ids].concat(),
            prompt_len: prompt_ids.len(),
            trained: Vec::new(),
        }
    }

    /// Whether each position is trained on.
    pub fn mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.ids.len()];
        match self.trained.as_slice() {
            [] => mask[self.prompt_len..].fill(true),
            ranges => ranges
                .iter()
                .for_each(|range| mask[range.clone()].fill(true)),
        }
        mask
    }

    /// The ids of the answer (of a dialogue, from the first one on), with the end token unless the
    /// answer was cut off.
    pub fn answer(&self) -> &[u32] {
        &self.ids[self.prompt_len..]
    }
}

/// What `encode` makes of each of `items`, by all processors; their order is kept.
///
/// # Errors
/// That of the first item that has one.
pub fn encode_all<T: Sync, R: Send, E: Send>(
    items: &[T],
    encode: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let results: Vec<Result<R, E>> = items.par_iter().map(&encode).collect();
    results.into_iter().collect()
}

/// The stretches of positions that hold.
fn runs(holds: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in holds.enumerate().filter(|&(_, holds)| holds) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_encoded_in_order_and_the_first_error_is_told() {
        let numbers: Vec<u32> = (0..1000).collect();
        let twice = encode_all(&numbers, |n| Ok::<_, u32>(2 * n)).unwrap();
        assert!(twice.iter().copied().eq((0..1000).map(|n| 2 * n)));
        let odd = |n: &u32| if n % 7 == 3 { Err(*n) } else { Ok(()) };
        assert_eq!(encode_all(&numbers, odd), Err(3));
    }

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
    fn what_is_read_is_one_text() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(dir.path());
        let row = |prompt: &str, answer: &str| {
            let row = TokenRow::joined(&tokenizer, prompt, answer, 100).unwrap();
            row.unwrap()
        };
        let apart = TokenRow::example(&tokenizer, "How are you?", " You", 100).unwrap();
        assert_eq!(Some(row("How are you?", " You")), apart);
        // A token across the place where the prompt ends is the answer's first.
        let whole = tokenizer.encode_prompt("You could").unwrap();
        let joined = row("You cou", "ld");
        assert_eq!(joined.ids, [&whole[..], &[0]].concat());
        let first = tokenizer.decode(&joined.answer()[..1]).unwrap();
        assert!(" could".starts_with(&first) && first.len() > " cou".len());
        assert_eq!(row("You", "").answer(), [0]);
        assert_eq!(row("", "").ids, [0]);
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
                prompt_len: 2,
                trained: Vec::new(),
            }
        );
    }
}

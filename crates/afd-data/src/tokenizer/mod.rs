//! A Hugging Face tokenizer directory: text to ids and back, with the special ids of a decoder.

mod bpe;
mod special;

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use self::special::SpecialIds;
use crate::{
    Error,
    chat::{Chat, ChatTemplate, EndOfTurn},
};

/// The files that belong to a tokenizer; all but the first are optional.
const FILES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
];

/// How a dialogue becomes a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialogueForm {
    /// `\n\nHuman: …\n\nAssistant: …`, as in Anthropic's HH data, for models without a template.
    #[default]
    Hh,
    /// As the checkpoint's chat template has it.
    ChatTemplate,
}

/// Texts and their ids, as transformers sees them.
#[derive(Clone)]
pub struct Tokenizer {
    dir: PathBuf,
    inner: tokenizers::Tokenizer,
    /// The chat template, where it is in use.
    chat: Option<Chat>,
    special: SpecialIds,
    // Kept as read, so that saving works after the directory has moved and changes no byte.
    files: BTreeMap<&'static str, Vec<u8>>,
    vocab_size: usize,
    /// What the tokenizer puts before a text: nothing, or the begin token.
    prefix: Vec<u32>,
    /// SentencePiece's dummy prefix: a space is put before each text by the tokenizer itself.
    prepends_space: bool,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size)
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and the special tokens from `tokenizer_config.json`,
    /// `special_tokens_map.json`, `generation_config.json` and `config.json`, in this order.
    ///
    /// Ids are those of transformers' `AutoTokenizer`, but where that builds a tokenizer of its own
    /// in place of the one in `tokenizer.json`: `LlamaTokenizer` of transformers 5 puts the first
    /// space of a text by other rules than Llama 2's file. Here the file counts, as in version 4.
    ///
    /// # Errors
    /// `tokenizer.json` is missing or malformed, a special token is none of its tokens, or no end
    /// token is named anywhere: file and key.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for name in FILES {
            let path = dir.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => drop(files.insert(name, bytes)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && name != FILES[0] => {}
                Err(e) => return Err(Error::io("read", &path)(e)),
            }
        }
        let mut inner = tokenizers::Tokenizer::from_bytes(&files[FILES[0]])
            .map_err(|e| file_error(&dir.join(FILES[0]), &*e))?;
        // A file may carry the settings of its last batch; they would cut or pad every text.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| file_error(&dir.join(FILES[0]), &*e))?;

        let special = SpecialIds::read(dir, &inner)?;
        special::mark(dir, &mut inner)?;
        let vocab = inner.get_vocab(true);
        let vocab_size = vocab
            .values()
            .max()
            .map_or(0, |&highest| highest as usize + 1);
        let mut tokenizer = Self {
            dir: dir.to_owned(),
            inner,
            chat: None,
            special,
            files,
            vocab_size,
            prefix: Vec::new(),
            prepends_space: false,
        };
        tokenizer.probe()?;
        Ok(tokenizer)
    }

    /// [`load`](Self::load), for dialogues written in `form`.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`with_chat`](Self::with_chat); [`Error::NoChatTemplate`] when
    /// there is none and `form` asks for it.
    pub fn open(dir: &Path, form: DialogueForm) -> Result<Self, Error> {
        let tokenizer = Self::load(dir)?;
        if form == DialogueForm::Hh {
            return Ok(tokenizer);
        }
        let tokenizer = tokenizer.with_chat()?;
        match tokenizer.chat {
            Some(_) => Ok(tokenizer),
            None => Err(Error::NoChatTemplate { dir: dir.into() }),
        }
    }

    /// Takes the tokenizer's chat template into use, if there is one: for rows in its form.
    ///
    /// The token that the template writes after an assistant's words becomes
    /// [`eos_id`](Self::eos_id), unless it writes none; the other end tokens still stop sampling.
    /// No begin token is added any more, because the template writes what belongs into the text:
    /// so it is in transformers' `apply_chat_template`.
    ///
    /// # Errors
    /// The template does not parse, or fails on a question and an answer: file, line and cause.
    pub fn with_chat(mut self) -> Result<Self, Error> {
        let read = |name: &str| Ok(self.files.get(name).cloned());
        let Some(template) = ChatTemplate::find(&self.dir, read)? else {
            return Ok(self);
        };
        let chat = Chat::new(template, self.end_candidates())?;
        if let Some(end) = chat.end() {
            self.special.pad = Some(self.pad_id());
            self.special.eos.retain(|&id| id != end.id);
            self.special.eos.insert(0, end.id);
        }
        self.prefix.clear();
        self.chat = Some(chat);
        Ok(self)
    }

    /// Learns a byte-level BPE from texts, writes it to `dir` and loads it.
    ///
    /// `<|endoftext|>` is id 0 and the end token, `<|pad|>` id 1, the 256 bytes follow, then the
    /// merges; there is no begin token. The result depends on the texts alone, not on their order.
    /// The vocabulary is smaller than asked where no pair occurs twice any more.
    ///
    /// # Errors
    /// `vocab_size` has no room for the specials and the bytes (258), or `dir` cannot be written.
    pub fn train_bpe(
        texts: impl Iterator<Item = String> + Send,
        vocab_size: usize,
        dir: &Path,
    ) -> Result<Self, Error> {
        bpe::train(texts, vocab_size, dir)?;
        Self::load(dir)
    }

    /// Writes the files as they were read, byte for byte.
    ///
    /// # Errors
    /// The directory cannot be created or written.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        for (name, bytes) in &self.files {
            afd_stage::fs::write_atomic(&dir.join(name), bytes)?;
        }
        Ok(())
    }

    /// The ids of a prompt: the begin token once, if the model has one, then the text.
    ///
    /// # Errors
    /// The text holds a character unknown to a tokenizer without unknown token.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, Error> {
        let ids = self.encode(text)?;
        match ids.starts_with(&self.prefix) {
            true => Ok(ids),
            false => Ok([self.prefix.as_slice(), &ids].concat()),
        }
    }

    /// The ids of an answer: no special token is added, no end token either.
    ///
    /// # Errors
    /// As [`encode_prompt`](Self::encode_prompt).
    pub fn encode_completion(&self, text: &str) -> Result<Vec<u32>, Error> {
        // The tokenizer adds the space with which answers begin; ours would be a second one.
        let text = if self.prepends_space {
            text.strip_prefix(' ').unwrap_or(text)
        } else {
            text
        };
        self.encode(text)
    }

    /// The ids of an answer to this prompt.
    ///
    /// In the form of a chat template both are one text, which is encoded as one where that begins
    /// with the prompt's ids: an answer need not begin with a space there, and a tokenizer that
    /// puts one before a text must not do so in its middle.
    pub(crate) fn encode_answer(
        &self,
        (prompt, prompt_ids): (&str, &[u32]),
        answer: &str,
    ) -> Result<Vec<u32>, Error> {
        if self.chat.is_some() {
            let both = self.encode(&format!("{prompt}{answer}"))?;
            if let Some(ids) = both.strip_prefix(prompt_ids) {
                return Ok(ids.to_vec());
            }
        }
        self.encode_completion(answer)
    }

    /// The ids of a text as it is, and each one's place in it in bytes.
    pub(crate) fn encode_places(&self, text: &str) -> Result<(Vec<u32>, Vec<Range<usize>>), Error> {
        let encoding = self.inner.encode(text, false).map_err(encode_error(text))?;
        let places = encoding
            .get_offsets()
            .iter()
            .map(|&(start, end)| start..end);
        Ok((encoding.get_ids().to_vec(), places.collect()))
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// The tokenizer's decoder fails. Ids outside the vocabulary are skipped.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.inner.decode(ids, true).map_err(|e| Error::Tokenize {
            action: "decode",
            what: format!("{} ids", ids.len()),
            message: e.to_string(),
        })
    }

    /// As [`decode`](Self::decode), for ids that continue a prompt.
    ///
    /// The two differ for tokenizers in the manner of SentencePiece, which take the first space
    /// of a text for their own.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_completion(&self, ids: &[u32]) -> Result<String, Error> {
        let text = self.decode(ids)?;
        let spaced = |id| {
            self.inner
                .id_to_token(id)
                .is_some_and(|token| token.starts_with('▁'))
        };
        match self.prepends_space && ids.first().is_some_and(|&id| spaced(id)) {
            true => Ok(format!(" {text}")),
            false => Ok(text),
        }
    }

    /// The highest id plus one: the least number of rows an embedding must have.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Whether an id is the same token in both.
    pub fn same_vocabulary(&self, other: &Self) -> bool {
        let tokens = |of: &Self| of.inner.get_vocab(true);
        self.vocab_size == other.vocab_size && tokens(self) == tokens(other)
    }

    /// The chat template with the end of its turns, where [`with_chat`](Self::with_chat) found one.
    pub fn chat(&self) -> Option<&Chat> {
        self.chat.as_ref()
    }

    /// The chat template in use.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat().map(Chat::template)
    }

    /// The directory it was read from, for messages.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id that ends an answer in training: with a chat template in use, an assistant's turn.
    pub fn eos_id(&self) -> u32 {
        self.special.eos[0]
    }

    /// All ids that stop sampling, [`eos_id`](Self::eos_id) first.
    pub fn eos_ids(&self) -> &[u32] {
        &self.special.eos
    }

    /// The id that fills up batches; the end token where the model has no other.
    pub fn pad_id(&self) -> u32 {
        self.special.pad.unwrap_or(self.special.eos[0])
    }

    /// The begin token that [`encode_prompt`](Self::encode_prompt) puts first, if any.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// The tokens that may end an assistant's turn: special and added ones.
    fn end_candidates(&self) -> Vec<EndOfTurn> {
        let added = self.inner.get_added_tokens_decoder();
        let added = added.into_iter().map(|(id, token)| (id, token.content));
        let eos = self.special.eos.iter();
        let eos = eos.filter_map(|&id| Some((id, self.inner.id_to_token(id)?)));
        added
            .chain(eos)
            .map(|(id, text)| EndOfTurn { id, text })
            .collect()
    }

    /// Finds out what the tokenizer adds to a text of its own accord.
    ///
    /// `tokenizer.json` alone says so, whatever `add_bos_token` in `tokenizer_config.json` is: so
    /// it is in transformers 5.
    fn probe(&mut self) -> Result<(), Error> {
        const PROBE: &str = "a";
        let bare = self.encode(PROBE)?;
        let full = self
            .inner
            .encode(PROBE, true)
            .map_err(encode_error(PROBE))?;
        let full = full.get_ids();
        let begin = full
            .windows(bare.len().max(1))
            .position(|window| window == bare);
        self.prefix = full[..begin.unwrap_or(0)].to_vec();
        let first = bare.first().and_then(|&id| self.inner.id_to_token(id));
        self.prepends_space = first.is_some_and(|token| token.starts_with('▁'));
        Ok(())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(encode_error(text))?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn encode_error(text: &str) -> impl FnOnce(tokenizers::Error) -> Error {
    move |e| Error::Tokenize {
        action: "encode",
        what: format!("{:?}…", text.chars().take(40).collect::<String>()),
        message: e.to_string(),
    }
}

fn file_error(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::TokenizerFile {
        path: PathBuf::from(path),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod parity_tests;
#[cfg(test)]
mod tests;

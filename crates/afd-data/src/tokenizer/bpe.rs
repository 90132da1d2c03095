//! Learning a byte-level BPE and writing it as transformers expects it.

use std::path::Path;

use serde_json::json;
use tokenizers::{
    AddedToken,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
    },
    pre_tokenizers::byte_level::ByteLevel,
};

use super::file_error;
use crate::Error;

const EOS: &str = "<|endoftext|>";
const PAD: &str = "<|pad|>";
/// A pair seen less often is not worth an id.
const MIN_FREQUENCY: u64 = 2;

/// Learns the merges and writes the files that transformers' `AutoTokenizer` loads.
pub(super) fn train(
    texts: impl Iterator<Item = String> + Send,
    vocab_size: usize,
    dir: &Path,
) -> Result<(), Error> {
    let special = [EOS, PAD].map(|token| AddedToken::from(token, true));
    let alphabet = ByteLevel::alphabet();
    let least = special.len() + alphabet.len();
    if vocab_size < least {
        return Err(Error::Config {
            key: "vocab_size".to_owned(),
            got: vocab_size.to_string(),
            expected: format!("at least {least}: the special tokens and 256 bytes"),
        });
    }
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(MIN_FREQUENCY)
        .special_tokens(special.to_vec())
        .initial_alphabet(alphabet.into_iter().collect())
        .show_progress(false)
        .build();

    let byte_level = ByteLevel::new(false, false, true);
    let mut tokenizer = tokenizers::Tokenizer::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(Some(byte_level))
        .with_decoder(Some(byte_level));
    let path = dir.join("tokenizer.json");
    let json = tokenizer
        .train(&mut TrainerWrapper::from(trainer), texts)
        .and_then(|tokenizer| tokenizer.to_string(true))
        .map_err(|e| file_error(&path, &*e))?;

    let special = json!({ "eos_token": EOS, "pad_token": PAD });
    let config = json!({
        "clean_up_tokenization_spaces": false,
        "eos_token": EOS,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let write = |name: &str, text: String| {
        afd_stage::fs::write_atomic(&dir.join(name), (text + "\n").as_bytes())
    };
    write("tokenizer_config.json", format!("{config:#}"))?;
    write("special_tokens_map.json", format!("{special:#}"))?;
    write("tokenizer.json", json)?;
    Ok(())
}

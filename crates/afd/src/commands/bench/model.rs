//! The model that is measured, and the tokens it is given.

use afd_data::TokenRow;
use afd_model::DecoderConfig;

use crate::args::{BenchArgs, Shape};

impl Shape {
    /// A Llama of this shape with room for `context` tokens.
    pub(super) fn decoder(self, context: usize) -> DecoderConfig {
        DecoderConfig {
            vocab_size: self.vocabulary,
            hidden_size: self.width,
            intermediate_size: self.intermediate(),
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            max_position_embeddings: context,
            tie_word_embeddings: true,
            ..DecoderConfig::llama(self.width / self.heads)
        }
    }

    /// Three matrices of this size have as many weights as two of 4 × the width.
    fn intermediate(self) -> usize {
        self.width * 8 / 3
    }

    /// Weights of linear layers, the tied head among them; norms do not show.
    pub(super) fn parameters(self) -> usize {
        let attention = 4 * self.width * self.width;
        let mlp = 3 * self.width * self.intermediate();
        self.layers * (attention + mlp) + self.vocabulary * self.width
    }
}

/// Rows of the length asked for, of which all but the first token count as answer.
pub(super) fn rows(args: &BenchArgs, count: usize) -> Vec<TokenRow> {
    let length = args.length.get();
    let token = |n: usize| (n * 7919 % args.shape.vocabulary) as u32;
    let row = |i: usize| (0..length).map(|t| token(i * length + t)).collect();
    let rows = (0..count).map(row);
    rows.map(|ids| TokenRow {
        ids,
        prompt_len: 1,
        trained: Vec::new(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_on_paper() {
        let shape: Shape = "12/2/2/10".parse().unwrap();
        // Twice 4·12² + 3·12·32, and 10·12.
        assert_eq!(shape.parameters(), 2 * (576 + 1152) + 120);
        assert_eq!(shape.decoder(8).intermediate_size, 32);
    }
}

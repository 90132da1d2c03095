//! The interface by which stages meet anything that judges an answer.

/// Gives an answer a reward; higher is better.
///
/// It takes text, not ids: a reward model may have another tokenizer than the policy.
pub trait Scorer {
    /// One reward per pair of prompt and completion, in their order.
    ///
    /// # Errors
    /// Whatever keeps this scorer from reading a pair.
    fn score(
        &self,
        pairs: &[(&str, &str)],
    ) -> Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>>;
}

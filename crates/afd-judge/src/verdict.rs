//! From what a judge wrote to who won.

use serde::{Deserialize, Serialize};

use crate::cache::Reply;

/// What became of one comparison, the answers in one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The answer shown first.
    First,
    /// The answer shown second.
    Second,
    /// Neither.
    Tie,
    /// The judge declined.
    Refused,
    /// It said something else.
    Unparsable,
    /// There was no reply.
    Failed,
}

impl Verdict {
    /// The last of the words `[[A]]`, `[[B]]` and `[[C]]` in a reply counts: judges think aloud first.
    ///
    /// Source: the form of MT-Bench, Zheng et al., arXiv 2306.05685, appendix A.
    pub(crate) fn of(reply: &Reply) -> Self {
        if reply.refused {
            return Self::Refused;
        }
        let words = [
            ("[[A]]", Self::First),
            ("[[B]]", Self::Second),
            ("[[C]]", Self::Tie),
        ];
        let last = words
            .into_iter()
            .filter_map(|(word, verdict)| Some((reply.content.rfind(word)?, verdict)))
            .max_by_key(|(place, _)| *place);
        last.map_or(Self::Unparsable, |(_, verdict)| verdict)
    }

    /// What it is worth to the answer shown first; none without a verdict.
    pub fn to_first(self) -> Option<f64> {
        match self {
            Self::First => Some(1.0),
            Self::Second => Some(0.0),
            Self::Tie => Some(0.5),
            Self::Refused | Self::Unparsable | Self::Failed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let of = |content: &str| {
            Verdict::of(&Reply {
                content: content.to_owned(),
                refused: false,
                input_tokens: 0,
                output_tokens: 0,
            })
        };
        assert_eq!(of("[[A]]"), Verdict::First);
        assert_eq!(of("At first [[A]], but no: [[B]]."), Verdict::Second);
        assert_eq!(of("Both are fine. [[C]]"), Verdict::Tie);
        assert_eq!(of("A is better."), Verdict::Unparsable);
        assert_eq!(of(""), Verdict::Unparsable);
        let refused = Reply {
            content: "[[A]]".to_owned(),
            refused: true,
            input_tokens: 0,
            output_tokens: 0,
        };
        assert_eq!(Verdict::of(&refused), Verdict::Refused);
        assert_eq!(Verdict::Tie.to_first(), Some(0.5));
        assert_eq!(Verdict::Refused.to_first(), None);
    }
}

//! Numbers as people read them.

use crate::summary::Summary;

/// How many decimals golden rewards are shown with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    decimals: usize,
}

impl Numbers {
    /// As many decimals as the intervals' widths allow, between 2 and 5.
    pub(crate) fn of(summary: &Summary) -> Self {
        let mut halves: Vec<f64> = summary
            .rows
            .iter()
            .map(|row| half(row.golden_ci95))
            .collect();
        halves.sort_by(f64::total_cmp);
        let median = halves.get(halves.len() / 2).copied().unwrap_or(0.0);
        let decimals = if median > 0.0 {
            -median.log10().floor()
        } else {
            2.0
        };
        Self {
            decimals: decimals.clamp(2.0, 5.0) as usize,
        }
    }

    /// `0.52`
    pub(crate) fn plain(self, value: f64) -> String {
        fixed(value, self.decimals)
    }

    /// `+0.52`
    pub(crate) fn signed(self, value: f64) -> String {
        let text = self.plain(value);
        if text.starts_with('−') {
            text
        } else {
            format!("+{text}")
        }
    }

    /// `0.52 ± 0.06`
    pub(crate) fn with_half(self, value: f64, interval: [f64; 2]) -> String {
        format!("{} ± {}", self.plain(value), self.plain(half(interval)))
    }

    /// `[0.46, 0.58]`
    pub(crate) fn interval(self, [low, high]: [f64; 2]) -> String {
        format!("[{}, {}]", self.plain(low), self.plain(high))
    }
}

/// Half of an interval's width.
pub(crate) fn half([low, high]: [f64; 2]) -> f64 {
    (high - low) / 2.0
}

/// With a true minus sign, which is as wide as a plus, and none before a zero.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(size) if size.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) => format!("−{size}"),
        Some(size) => size.to_owned(),
        None => text,
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(fixed(-0.004, 2), "0.00");
        assert_eq!(fixed(-0.006, 2), "−0.01");
        let numbers = Numbers { decimals: 2 };
        assert_eq!(numbers.signed(0.5), "+0.50");
        assert_eq!(numbers.signed(-0.5), "−0.50");
        assert_eq!(numbers.with_half(1.0, [0.9, 1.1]), "1.00 ± 0.10");
        assert_eq!(numbers.interval([-1.0, 2.0]), "[−1.00, 2.00]");
    }

    #[test]
    fn decimals_follow_the_intervals() {
        let mut summary = crate::sample_summary::summary();
        assert_eq!(Numbers::of(&summary).decimals, 2);
        for row in &mut summary.rows {
            row.golden_ci95 = [0.0, 0.0002];
        }
        assert_eq!(Numbers::of(&summary).decimals, 4);
    }

    #[test]
    fn lists_are_sentences() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&items), "a, b and c");
        assert_eq!(list(&items[..2]), "a and b");
        assert_eq!(list(&items[..1]), "a");
    }
}

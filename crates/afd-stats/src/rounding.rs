//! Figures as files hold them.

/// Rounded to 6 significant decimals, which is what files hold: the last bits of a sum are noise.
pub fn six_digits(value: f64) -> f64 {
    // Decimal formatting rounds correctly, on every machine alike; `+ 0.0` drops the sign of -0.
    format!("{value:.5e}").parse::<f64>().unwrap_or(value) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_are_kept() {
        assert_eq!(six_digits(1.0 / 3.0), 0.333333);
        assert_eq!(six_digits(-123_456_789.0), -123_457_000.0);
        assert_eq!(six_digits(-0.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(
            serde_json::to_string(&six_digits(2.0 / 3e7)).unwrap(),
            "6.66667e-8"
        );
    }
}

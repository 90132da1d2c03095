//! How often one policy's answer beats another's.

/// For each of `values`, its chance to beat one of `others` drawn at random; a tie counts half.
pub fn win_rates(values: &[f64], others: &[f64]) -> Vec<f64> {
    let mut ascending = others.to_vec();
    ascending.sort_by(f64::total_cmp);
    let rate = |value: &f64| {
        let below = ascending.partition_point(|other| other < value);
        let not_above = ascending.partition_point(|other| other <= value);
        (below + not_above) as f64 / (2 * ascending.len()) as f64
    };
    values.iter().map(rate).collect()
}

#[cfg(test)]
mod tests {
    use crate::moments::mean;

    use super::*;

    #[test]
    fn ties_count_half() {
        assert_eq!(
            win_rates(&[0.0, 1.0, 2.0], &[1.0, 1.0, 0.0, 5.0]),
            [0.125, 0.5, 0.75]
        );
        // Against itself a policy wins half of the time, whatever the ties.
        assert_eq!(
            mean(&win_rates(&[1.0, 3.0, 3.0, 2.0], &[1.0, 3.0, 3.0, 2.0])),
            0.5
        );
    }
}

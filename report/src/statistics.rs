//! Mean, deviation, quartiles, and the noise of few measurements.

/// Some measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// How many.
    pub count: usize,
    /// Their arithmetic mean.
    pub mean: f64,
    /// Their standard deviation, of the sample (over `count - 1`); 0 for one.
    pub deviation: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Sample {
    /// `None` without measurements.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            count,
            mean,
            deviation: if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 },
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// The variance of the mean.
    fn error_squared(&self) -> f64 {
        self.deviation.powi(2) / self.count as f64
    }
}

/// How some measurements of one thing are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lower quartile.
    pub lower: f64,
    /// The upper quartile.
    pub upper: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// `None` without measurements. Between two of them quantiles are interpolated linearly.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let quantile = |part: f64| {
            let place = part * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            low + place.fract() * (high - low)
        };
        let (median, lower, upper) = (quantile(0.5), quantile(0.25), quantile(0.75));
        Some(Self { median, lower, upper, min, max })
    }
}

/// The ratios of measurements that were taken side by side.
///
/// # Panics
///
/// When one side has more than the other.
pub fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    assert_eq!(over.len(), under.len(), "measurements stand side by side");
    over.iter().zip(under).map(|(over, under)| over / under).collect()
}

/// The number with so many digits that count, at least one.
pub fn significant(number: f64, digits: usize) -> f64 {
    format!("{number:.*e}", digits - 1).parse().expect("a number reads back")
}

/// By how much the means of two samples may differ by chance alone: half the width of the 95%
/// confidence interval of their difference, after Welch, which does not ask for equal deviations.
/// `None` where a sample has fewer than two measurements, which tell nothing of noise.
pub fn noise(a: &Sample, b: &Sample) -> Option<f64> {
    if a.count < 2 || b.count < 2 {
        return None;
    }
    let (a_squared, b_squared) = (a.error_squared(), b.error_squared());
    let sum = a_squared + b_squared;
    // Welch's and Satterthwaite's degrees of freedom.
    let freedom = sum.powi(2)
        / (a_squared.powi(2) / (a.count - 1) as f64 + b_squared.powi(2) / (b.count - 1) as f64);
    Some(student_95(if freedom.is_finite() { freedom } else { 1.0 }) * sum.sqrt())
}

/// The two-sided 95% quantile of Student's distribution, for so many degrees of freedom; of those
/// that stand in the usual table, the next lower, so that noise is not told too small.
fn student_95(freedom: f64) -> f64 {
    const TABLE: [(f64, f64); 17] = [
        (1.0, 12.706),
        (2.0, 4.303),
        (3.0, 3.182),
        (4.0, 2.776),
        (5.0, 2.571),
        (6.0, 2.447),
        (7.0, 2.365),
        (8.0, 2.306),
        (9.0, 2.262),
        (10.0, 2.228),
        (12.0, 2.179),
        (15.0, 2.131),
        (20.0, 2.086),
        (30.0, 2.042),
        (60.0, 2.000),
        (120.0, 1.980),
        (1_000.0, 1.962),
    ];
    let lower = TABLE.iter().rev().find(|(row, _)| *row <= freedom);
    lower.unwrap_or(&TABLE[0]).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_up() {
        let sample = Sample::of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((sample.count, sample.mean, sample.min, sample.max), (8, 5.0, 2.0, 9.0));
        assert!((sample.deviation - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(Sample::of([3.0]).unwrap().deviation, 0.0);
        assert_eq!(Sample::of([]), None);
    }

    #[test]
    fn noise_is_that_of_the_textbook() {
        // Equal samples of 3 with deviation 1: 4 degrees of freedom, 2.776 * sqrt(2/3).
        let a = Sample::of([1.0, 2.0, 3.0]).unwrap();
        assert!((noise(&a, &a).unwrap() - 2.776 * (2.0_f64 / 3.0).sqrt()).abs() < 1e-9);
        // One that never varies leaves the other's 2 degrees.
        let b = Sample::of([5.0, 5.0, 5.0]).unwrap();
        assert!((noise(&a, &b).unwrap() - 4.303 * (1.0_f64 / 3.0).sqrt()).abs() < 1e-9);
        assert_eq!(noise(&b, &b), Some(0.0));
        assert_eq!(noise(&a, &Sample::of([1.0]).unwrap()), None);
    }

    #[test]
    fn spreads_are_those_by_hand() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.5]).unwrap();
        assert_eq!((spread.median, spread.lower, spread.upper), (2.75, 2.125, 3.25));
        assert_eq!((spread.min, spread.max), (1.0, 4.0));
        let alone = Spread::of(&[7.0]).unwrap();
        assert_eq!((alone.median, alone.lower, alone.upper), (7.0, 7.0, 7.0));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_side_by_side() {
        assert_eq!(ratios(&[10.0, 40.0], &[2.0, 5.0]), [5.0, 8.0]);
        assert!(std::panic::catch_unwind(|| ratios(&[1.0, 2.0], &[1.0])).is_err());
    }

    #[test]
    fn digits_that_do_not_count_go() {
        let rounded = [123_456.0, 0.001_234_56, -1.25e9, 0.0].map(|it| significant(it, 2));
        assert_eq!(rounded, [120_000.0, 0.001_2, -1.2e9, 0.0]);
        assert_eq!(significant(17_196_666.666_666_668, 10), 17_196_666.67);
    }

    #[test]
    fn quantiles_err_on_the_wide_side() {
        let quantiles = [0.5, 1.0, 1.9, 11.0, 1e9].map(student_95);
        assert_eq!(quantiles, [12.706, 12.706, 12.706, 2.228, 1.962]);
    }
}

//! What a run must reach: `ops_s>=5000,p99_us<=5000`.
//!
//! A list of `NAME OPERATOR VALUE`, separated by commas; spaces do not matter. Names are those of
//! [`crate::metrics`], operators are `>=`, `<=`, `>`, `<` and `==`. A value is a number in the
//! figure's own unit; `k`, `M` and `G` behind it stand for thousands, millions and thousand
//! millions. A figure that a run does not have is a miss, never a pass.

use std::fmt;
use std::str::FromStr;

use crate::cluster::ClusterResult;
use crate::metrics::{Metric, UnknownMetric};

/// All that a run must reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirements(Vec<Requirement>);

/// One thing that a run must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Requirement {
    metric: Metric,
    operator: Operator,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    AtLeast,
    AtMost,
    More,
    Less,
    Equal,
}

/// In this order: the longer ones first, because the shorter ones begin like them.
const OPERATORS: [(&str, Operator); 5] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("==", Operator::Equal),
    (">", Operator::More),
    ("<", Operator::Less),
];

/// Why a text is no list of requirements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequireError {
    /// Nothing is required, or nothing stands between two commas.
    #[error("a requirement is empty; write e.g. ops_s>=5000,p99_us<=5000")]
    Empty,
    /// No comparison stands in a requirement.
    #[error(
        "{text:?} compares nothing; write a name, one of >= <= > < ==, and a number, \
        e.g. ops_s>=5000"
    )]
    NoOperator {
        /// The requirement.
        text: String,
    },
    /// The name is no figure's.
    #[error(transparent)]
    Name(#[from] UnknownMetric),
    /// What stands behind the operator is no number.
    #[error(
        "{value:?} in {text:?} is not a number; write it in the figure's own unit{}, \
        e.g. {name}>=5000 or {name}>=5k",
        unit(name)
    )]
    Value {
        /// The requirement.
        text: String,
        /// The name in it.
        name: String,
        /// What should be a number.
        value: String,
    },
}

fn unit(name: &str) -> String {
    match Metric::named(name) {
        Ok(metric) if !metric.unit.is_empty() => format!(", {}", metric.unit),
        _ => String::new(),
    }
}

impl FromStr for Requirements {
    type Err = RequireError;

    fn from_str(text: &str) -> Result<Self, RequireError> {
        text.split(',').map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

fn requirement(text: &str) -> Result<Requirement, RequireError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(RequireError::Empty);
    }
    // The first operator in the text; at one place the longest.
    let place = text.find(['<', '>', '=']);
    let found = place.and_then(|place| {
        let (name, rest) = text.split_at(place);
        let starts = |(sign, operator)| Some((name, operator, rest.strip_prefix(sign)?));
        OPERATORS.into_iter().find_map(starts)
    });
    let Some((name, operator, value)) = found else {
        return Err(RequireError::NoOperator { text: text.to_owned() });
    };
    let metric = Metric::named(name.trim())?;
    let value = value.trim();
    let wrong = || RequireError::Value {
        text: text.to_owned(),
        name: metric.name.to_owned(),
        value: value.to_owned(),
    };
    Ok(Requirement { metric, operator, value: number(value).ok_or_else(wrong)? })
}

/// A finite number, with `k`, `M` or `G` behind it at will.
fn number(text: &str) -> Option<f64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'G' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    // Rust also reads words such as inf and nan.
    let is_number =
        digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    digits.parse::<f64>().ok().map(|number| number * factor).filter(|n| is_number && n.is_finite())
}

impl Requirements {
    /// What a run missed, in words, e.g. `ops_s>=5000: it is 3210`.
    pub fn misses(&self, result: &ClusterResult) -> Vec<String> {
        let misses = |requirement: &Requirement| match requirement.metric.of(result) {
            None => Some(format!("{requirement}: the run does not have it")),
            Some(value) if requirement.is_met_by(value) => None,
            Some(value) => Some(format!("{requirement}: it is {}", plain(value))),
        };
        self.0.iter().filter_map(misses).collect()
    }
}

impl Requirement {
    fn is_met_by(&self, value: f64) -> bool {
        match self.operator {
            Operator::AtLeast => value >= self.value,
            Operator::AtMost => value <= self.value,
            Operator::More => value > self.value,
            Operator::Less => value < self.value,
            Operator::Equal => value == self.value,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = OPERATORS.iter().find(|(_, operator)| *operator == self.operator);
        let (sign, _) = sign.expect("every operator has a sign");
        write!(f, "{}{sign}{}", self.metric.name, self.value)
    }
}

/// With as many decimals as tell it from what was required, not more.
fn plain(value: f64) -> String {
    if value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::compute;
    use crate::run_folder::RunFolder;
    use crate::run_folder::tests::whole_run;

    /// Misses of a run of 2,000 op/s, p99 350 us, hit ratio 1.
    fn misses(requirements: &str) -> Vec<String> {
        let folder = whole_run("require");
        let result = compute(&RunFolder::read(&folder.0).unwrap()).unwrap();
        requirements.parse::<Requirements>().unwrap().misses(&result)
    }

    #[test]
    fn what_is_reached_passes() {
        for met in [
            "ops_s>=2000",
            "ops_s<=2000",
            "ops_s==2000",
            "ops_s>1999.9",
            "ops_s<2001",
            "ops_s>=2k",
            "ops_s<0.1M,ops_s<1G",
            " ops_s >= 2e3 , p99_us <= 350 ,hit_ratio==1,errors<=0",
        ] {
            assert_eq!(misses(met), [""; 0], "{met}");
        }
    }

    #[test]
    fn what_is_missed_is_named() {
        for missed in ["ops_s>=2001", "ops_s<=1999", "ops_s==1", "ops_s>2000", "ops_s<2k"] {
            let told = misses(missed);
            assert!(told[0].ends_with(": it is 2000"), "{told:?}");
        }
        let told = misses("ops_s>=1, p99_us <= 349.5, errors>0");
        assert_eq!(told, ["p99_us<=349.5: it is 350", "errors>0: it is 0"]);
        assert_eq!(misses("linearizable==1"), ["linearizable==1: the run does not have it"]);
    }

    #[test]
    fn what_cannot_be_read_is_answered_with_the_mend() {
        for (text, told) in [
            ("", "is empty"),
            ("ops_s>=1,", "is empty"),
            (" , ", "is empty"),
            ("ops_s", "compares nothing"),
            ("ops_s=5000", "compares nothing"),
            ("ops_s=>5000", "compares nothing"),
            ("ops_s>=", "\"\" in"),
            ("ops_s>=fast", "\"fast\" in"),
            ("ops_s>=inf", "is not a number"),
            ("ops_s>=1e999", "is not a number"),
            ("ops_s>==5", "\"=5\" in"),
            ("p99_us<=5ms", "in the figure's own unit, us"),
            ("throughput>=5", "there is no figure \"throughput\"; the figures are ops_s, "),
            (">=5", "there is no figure \"\""),
        ] {
            let error = text.parse::<Requirements>().unwrap_err();
            assert!(error.to_string().contains(told), "{text:?}: {error}");
        }
    }
}

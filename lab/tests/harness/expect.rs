//! What texts must and must not say.

use regex::Regex;
use serde_json::Value;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"))
}

/// Some line of the text matches.
#[track_caller]
pub(crate) fn expect(text: &str, pattern: &str) {
    let regex = regex(pattern);
    assert!(text.lines().any(|line| regex.is_match(line)), "no line like {pattern} in:\n{text}");
}

/// No line of the text matches.
#[track_caller]
pub(crate) fn expect_not(text: &str, pattern: &str) {
    let regex = regex(pattern);
    let found = text.lines().find(|line| regex.is_match(line));
    assert!(found.is_none(), "a line like {pattern}: {}", found.unwrap_or_default());
}

/// The text is one line, which matches.
#[track_caller]
pub(crate) fn expect_one_line(text: &str, pattern: &str) {
    expect(text, pattern);
    assert!(text.lines().count() == 1, "more than one line:\n{text}");
}

/// The sum of all numbers that bear the name, however deep they lie.
pub(crate) fn sum(json: &Value, name: &str) -> f64 {
    match json {
        Value::Array(values) => values.iter().map(|value| sum(value, name)).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| match value.as_f64() {
                Some(number) if key == name => number,
                _ => sum(value, name),
            })
            .sum(),
        _ => 0.0,
    }
}

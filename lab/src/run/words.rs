//! Words, as users, shells and the environment have them.

use std::env;

/// A variable of the environment; empty if it is not set.
pub(crate) fn variable(name: &str) -> String {
    env::var_os(name).map_or_else(String::new, |value| value.to_string_lossy().into_owned())
}

/// The words of a string of flags.
pub(crate) fn split(text: Option<&String>) -> Vec<String> {
    text.map_or_else(Vec::new, |text| text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The last line that says something.
pub(crate) fn last_line(text: &str) -> String {
    let mut lines = text.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// A word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_stays_one() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}

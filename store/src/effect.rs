//! What each action does to a key: the one place where the rules of the operations stand.

use model::operation::Action;
use model::outcome::Outcome;

/// What a store has to do for one operation, given its key's current value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<'current, 'new> {
    /// Nothing changes.
    Answer(Outcome<&'current [u8]>),
    /// The key's value becomes this one.
    Write(&'new [u8], Outcome<&'static [u8]>),
    /// The key, which is there, goes; the outcome is [`Outcome::Done`].
    Remove,
}

/// The effect of `action` on a key whose value is `current`. `digits` has room for the number that
/// an INCR writes.
#[inline]
pub(crate) fn effect<'current, 'new>(
    action: Action<'new>,
    current: Option<&'current [u8]>,
    digits: &'new mut itoa::Buffer,
) -> Effect<'current, 'new> {
    match action {
        Action::Get => Effect::Answer(current.map_or(Outcome::Missing, Outcome::Value)),
        Action::Put { value } => Effect::Write(value, Outcome::Done),
        Action::Delete if current.is_some() => Effect::Remove,
        Action::Delete => Effect::Answer(Outcome::Missing),
        Action::CompareAndSwap { expected, value } if expected == current => {
            Effect::Write(value, Outcome::Done)
        }
        Action::CompareAndSwap { .. } => Effect::Answer(Outcome::Mismatch(current)),
        Action::Increment { by } => {
            let Some(count) = current.map_or(Some(0), parse_integer) else {
                return Effect::Answer(Outcome::NotAnInteger);
            };
            match count.checked_add(by) {
                Some(sum) => Effect::Write(digits.format(sum).as_bytes(), Outcome::Counter(sum)),
                None => Effect::Answer(Outcome::Overflow),
            }
        }
    }
}

/// Longest decimal text of an `i64`, in bytes: that of [`i64::MIN`].
const INTEGER_BYTES_MAX: usize = 20;

/// Reads the decimal text of an `i64`, in the one form that INCR itself writes: an optional minus
/// and digits, without plus, spaces, leading zeros or "-0". Redis draws the same line.
fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0', ..] => text == b"0",
        _ => text.len() <= INTEGER_BYTES_MAX && digits.iter().all(u8::is_ascii_digit),
    };
    // What is left to fail is a number outside the range of an i64.
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(action: Action<'_>, current: Option<&[u8]>, expected: &Effect<'_, '_>) {
        assert_eq!(effect(action, current, &mut itoa::Buffer::new()), *expected, "{action:?}");
    }

    #[test]
    fn reads_writes_and_deletes() {
        check(Action::Get, Some(b"v"), &Effect::Answer(Outcome::Value(b"v")));
        check(Action::Get, None, &Effect::Answer(Outcome::Missing));
        check(Action::Put { value: b"" }, None, &Effect::Write(b"", Outcome::Done));
        check(Action::Put { value: b"w" }, Some(b"v"), &Effect::Write(b"w", Outcome::Done));
        check(Action::Delete, Some(b"v"), &Effect::Remove);
        check(Action::Delete, None, &Effect::Answer(Outcome::Missing));
    }

    #[test]
    fn compare_and_swap_writes_on_a_match_only() {
        let swap = |expected| Action::CompareAndSwap { expected, value: b"new" };
        let written = Effect::Write(b"new", Outcome::Done);
        check(swap(None), None, &written);
        check(swap(Some(b"v")), Some(b"v"), &written);
        check(swap(Some(b"")), Some(b""), &written);
        let mismatch = |current| Effect::Answer(Outcome::Mismatch(current));
        check(swap(None), Some(b""), &mismatch(Some(b"")));
        check(swap(Some(b"")), None, &mismatch(None));
        check(swap(Some(b"v")), Some(b"vv"), &mismatch(Some(b"vv")));
    }

    #[test]
    fn increments_count_from_zero_and_stay_in_range() {
        let by = |by| Action::Increment { by };
        check(by(-7), None, &Effect::Write(b"-7", Outcome::Counter(-7)));
        check(by(3), Some(b"-7"), &Effect::Write(b"-4", Outcome::Counter(-4)));
        let least = i64::MIN.to_string();
        check(
            by(i64::MIN + 1),
            Some(b"-1"),
            &Effect::Write(least.as_bytes(), Outcome::Counter(i64::MIN)),
        );
        check(by(-1), Some(least.as_bytes()), &Effect::Answer(Outcome::Overflow));
        check(by(1), Some(b"9223372036854775807"), &Effect::Answer(Outcome::Overflow));
        check(by(1), Some(b"many"), &Effect::Answer(Outcome::NotAnInteger));
    }

    #[test]
    fn integers_have_one_form() {
        for number in [0, 1, -1, 10, i64::MIN, i64::MAX] {
            assert_eq!(parse_integer(number.to_string().as_bytes()), Some(number));
        }
        let refused = [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-01",
            "-0",
            "00",
            "--1",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "100000000000000000000",
            "\u{663}",
        ];
        for text in refused {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_integer(&[b'1', 0xff]), None);
    }
}

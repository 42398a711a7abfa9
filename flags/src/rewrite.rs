//! The rewriting of arguments, before clap sees them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Rewrites the names of Go-style flags to clap's long form: `-batch-size=10` becomes
/// `--batch_size=10`.
///
/// The first argument is the program's name and stays as it is; so do values, negative numbers,
/// a lone `-`, and everything from `--` on.
pub fn go_style<I>(arguments: I) -> Vec<OsString>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let mut arguments = arguments.into_iter().map(Into::into);
    let mut rewritten: Vec<OsString> = arguments.next().into_iter().collect();
    for argument in arguments.by_ref() {
        if argument == "--" {
            rewritten.push(argument);
            break;
        }
        rewritten.push(canonical(argument));
    }
    rewritten.extend(arguments);
    rewritten
}

/// One argument: a flag gets two dashes and underscores, anything else stays.
fn canonical(argument: OsString) -> OsString {
    let bytes = argument.as_bytes();
    let name_start = bytes.iter().take_while(|byte| **byte == b'-').count();
    let is_flag =
        matches!(name_start, 1 | 2) && bytes.get(name_start).is_some_and(u8::is_ascii_alphabetic);
    if !is_flag {
        return argument;
    }
    let flag = &bytes[name_start..];
    let name_end = flag.iter().position(|byte| *byte == b'=').unwrap_or(flag.len());
    let (name, value) = flag.split_at(name_end);
    let mut rewritten = b"--".to_vec();
    rewritten.extend(name.iter().map(|byte| if *byte == b'-' { b'_' } else { *byte }));
    rewritten.extend(value);
    OsString::from_vec(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(line: &str) -> String {
        let rewritten = go_style(line.split(' '));
        rewritten.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_spelling_becomes_the_canonical_one() {
        for spelling in ["-batch_size", "--batch_size", "-batch-size", "--batch-size"] {
            assert_eq!(rewrite(&format!("p {spelling} 9")), "p --batch_size 9");
            assert_eq!(rewrite(&format!("p {spelling}=9")), "p --batch_size=9");
        }
        assert_eq!(rewrite("p -n 5 ping"), "p --n 5 ping");
    }

    #[test]
    fn values_are_left_alone() {
        assert_eq!(rewrite("p -run_id a-b -x-y=a-b=c-d"), "p --run_id a-b --x_y=a-b=c-d");
        assert_eq!(rewrite("p -listen unix:/a-b"), "p --listen unix:/a-b");
        for value in ["-5", "-1.5", "-.5", "-1e-3", "-", "", "a-b", "---x", "-=x", "--=x"] {
            assert_eq!(rewrite(&format!("p -x {value}")), format!("p --x {value}"));
        }
    }

    #[test]
    fn the_program_and_what_follows_two_dashes_are_left_alone() {
        assert_eq!(rewrite("-my-shell -x-y"), "-my-shell --x_y");
        assert_eq!(rewrite("p -x-y -- -x-y -- -z"), "p --x_y -- -x-y -- -z");
        assert_eq!(go_style(Vec::<OsString>::new()), Vec::<OsString>::new());
    }

    #[test]
    fn values_need_not_be_text() {
        let argument = OsString::from_vec(b"-port-file=/a-\xff".to_vec());
        let rewritten = go_style([OsString::from("p"), argument]);
        assert_eq!(rewritten[1], OsString::from_vec(b"--port_file=/a-\xff".to_vec()));
    }
}

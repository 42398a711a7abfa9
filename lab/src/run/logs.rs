//! What the launcher reads in the logs of processes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Of a log only so much of its end is read for what is newest.
const TAIL_BYTES: u64 = 16 << 10;

/// The longest line that is told of a log, in letters.
const TOLD_LETTERS_MAX: usize = 300;

/// The address behind `listening on`, once a server has told it.
pub(crate) fn listening(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let told = lines.find_map(|line| line.strip_prefix("listening on "))?;
    Some(told.split_whitespace().next()?.to_owned())
}

/// The newest line of progress, such as `measure 12 s  9.81 Mop/s ..`.
pub(crate) fn progress(log: &Path) -> Option<String> {
    let text = tail(log)?;
    let is_progress = |line: &&str| {
        let mut words = line.split_whitespace();
        let phase = words.next().unwrap_or_default();
        let seconds = words.next().unwrap_or_default();
        phase.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            && !seconds.is_empty()
            && seconds.bytes().all(|byte| byte.is_ascii_digit())
            && words.next() == Some("s")
    };
    text.lines().rev().take(5).find(is_progress).map(str::to_owned)
}

/// The last line in which a binary, a panic or the system tells of an error, without colours.
pub(crate) fn last_error(log: &Path) -> Option<String> {
    let text = tail(log)?;
    text.lines().rev().map(without_colours).find(|line| tells_of_an_error(line)).map(|line| {
        let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
        line.chars().take(TOLD_LETTERS_MAX).map(shown).collect()
    })
}

fn tells_of_an_error(line: &str) -> bool {
    let of_ours = line.strip_prefix("kvs-").is_some_and(|rest| {
        let name = rest.split(": ").next().unwrap_or_default();
        name.len() < rest.len() && name.bytes().all(|byte| byte.is_ascii_lowercase())
    });
    of_ours || ["panicked", "error: ", " ERROR "].iter().any(|sign| line.contains(sign))
}

/// Without the sequences that set colours, such as `ESC [ 31 m`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.starts_with('[').then(|| part.find('m')).flatten();
        text.push_str(end.map_or(part, |end| &part[end + 1..]));
    }
    text
}

/// The end of a log; `None` if it can't be read.
fn tail(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, of: impl Fn(&Path) -> Option<String>) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        of(file.path())
    }

    #[test]
    fn a_server_tells_where_it_listens() {
        let told = "a\nlistening on 127.0.0.1:80 shard 1/2\n";
        assert_eq!(with(told, listening).as_deref(), Some("127.0.0.1:80"));
        assert_eq!(with("listening on 127.0.0.1:8", listening), None, "the line has no end yet");
    }

    #[test]
    fn the_newest_progress_is_found() {
        let log = "measure 1 s  2 kop/s\nstats {}\nmeasure 2 s  3 kop/s\nstats {}\n";
        assert_eq!(with(log, progress).as_deref(), Some("measure 2 s  3 kop/s"));
        assert_eq!(with("stats {}\nMeasure 2 s x\nmeasure 2s\n", progress), None);
    }

    #[test]
    fn errors_are_found_without_their_colours() {
        let log =
            "kvs-server: first\n\u{1b}[2mtime\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m server: x\nbye\n";
        assert_eq!(with(log, last_error).as_deref(), Some("time ERROR server: x"));
        assert_eq!(
            with("kvs-client: no\tluck\n", last_error).as_deref(),
            Some("kvs-client: no luck")
        );
        assert_eq!(with("kvs-client 1: fine\nall is well\n", last_error), None);
    }
}

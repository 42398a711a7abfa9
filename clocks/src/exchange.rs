//! The questions and the answers. A question is an empty line; its answer is a line with the two
//! clocks of a [`Reading`], in nanoseconds.

use std::io::{BufRead, Write};

use crate::estimate::{Reading, Round};

/// Why the clocks of another host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The channel broke.
    #[error("the connection to the other clock broke: {0}")]
    Broken(#[from] std::io::Error),
    /// The other side is gone.
    #[error("the other clock ended without an answer; look at what the command prints by hand")]
    Ended,
    /// The other side says something else.
    #[error("the other clock answered {0:?}; the command must answer with that host's clocks")]
    Answer(String),
}

/// Answers questions until there are no more.
///
/// # Errors
///
/// The channel's own.
pub fn serve(questions: impl BufRead, mut answers: impl Write) -> std::io::Result<()> {
    for question in questions.lines() {
        question?;
        let Reading { monotonic_ns, wall_ns } = Reading::now();
        writeln!(answers, "{monotonic_ns} {wall_ns}")?;
        answers.flush()?;
    }
    Ok(())
}

/// Asks `count` times, one question after the other.
///
/// # Errors
///
/// [`ExchangeError`] if any answer stays away or is none.
pub fn probe(
    mut questions: impl Write,
    mut answers: impl BufRead,
    count: u32,
) -> Result<Vec<Round>, ExchangeError> {
    let mut rounds = Vec::new();
    let mut line = String::new();
    for _ in 0..count {
        let before = Reading::now();
        questions.write_all(b"\n")?;
        questions.flush()?;
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err(ExchangeError::Ended);
        }
        let after = Reading::now();
        let other = reading(&line).ok_or_else(|| ExchangeError::Answer(line.clone()))?;
        rounds.push(Round { before, other, after });
    }
    Ok(rounds)
}

fn reading(line: &str) -> Option<Reading> {
    let (monotonic, wall) = line.trim_end().split_once(' ')?;
    Some(Reading { monotonic_ns: monotonic.parse().ok()?, wall_ns: wall.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Estimate;

    #[test]
    fn every_question_is_answered() {
        let mut answers = Vec::new();
        serve(&b"\n\n\n"[..], &mut answers).unwrap();
        let text = String::from_utf8(answers).unwrap();
        let readings: Vec<Reading> = text.lines().map(|line| reading(line).unwrap()).collect();
        assert_eq!(readings.len(), 3);
        assert!(readings.is_sorted_by_key(|reading| reading.monotonic_ns));
    }

    #[test]
    fn answers_become_rounds() {
        let rounds = probe(Vec::new(), &b"5 7\n6 8\n"[..], 2).unwrap();
        assert_eq!(rounds[1].other, Reading { monotonic_ns: 6, wall_ns: 8 });
        assert!(rounds[0].after.monotonic_ns >= rounds[0].before.monotonic_ns);
        assert!(Estimate::of(&rounds).is_some());
    }

    #[test]
    fn an_answer_that_stays_away_is_told() {
        assert!(matches!(probe(Vec::new(), &b"5 7\n"[..], 2), Err(ExchangeError::Ended)));
        for wrong in ["\n", "5\n", "5 x\n", "bash: no such file\n"] {
            let error = probe(Vec::new(), wrong.as_bytes(), 1).unwrap_err();
            assert!(error.to_string().contains("must answer"), "{error}");
        }
    }
}

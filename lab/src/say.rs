//! Lines on stdout for who measures. A reader that is gone ends the program, quietly; what was started
//! and made for the measurement goes with it.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

/// Thrown when stdout takes no more.
struct Unheard;

/// Prints a line, as `println!` does.
macro_rules! say {
    () => { $crate::say::line(format_args!("")) };
    ($($words:tt)*) => { $crate::say::line(format_args!($($words)*)) };
}
pub(crate) use say;

/// What [`say!`] does.
pub(crate) fn line(words: Arguments<'_>) {
    let mut out = stdout().lock();
    let Err(error) = writeln!(out, "{words}").and_then(|()| out.flush()) else { return };
    if error.kind() != ErrorKind::BrokenPipe {
        // Nobody may read that either.
        let _ = writeln!(stderr(), "kvs-lab: cannot write to stdout: {error}");
    }
    resume_unwind(Box::new(Unheard));
}

/// Does what may print; 1 if nobody heard it.
pub(crate) fn heard(work: impl FnOnce() -> ExitCode) -> ExitCode {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(status) => status,
        Err(thrown) if thrown.is::<Unheard>() => ExitCode::FAILURE,
        Err(thrown) => resume_unwind(thrown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unheard_line_is_quiet() {
        let failed = heard(|| resume_unwind(Box::new(Unheard)));
        assert_eq!(format!("{failed:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(catch_unwind(|| heard(|| resume_unwind(Box::new("another")))).is_err());
    }
}

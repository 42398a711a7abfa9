//! Parsing, help and errors.

use std::ffi::OsString;
use std::io::Write;

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, Command, Parser};

use crate::rewrite::go_style;

/// Why parsing ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The user asked for this text, the help or the version.
    #[error("{0}")]
    Asked(String),
    /// The arguments are wrong: one line that begins with the program's name.
    #[error("{0}")]
    Wrong(String),
}

/// Parses the arguments of this process.
///
/// Does not return when there is nothing to go on with: help and version are printed on stdout and
/// the process exits 0; an error is one line on stderr and exits 2.
///
/// # Panics
///
/// As [`try_parse_from`].
pub fn parse<T: Parser>() -> T {
    match try_parse_from(std::env::args_os()) {
        Ok(flags) => flags,
        Err(Stop::Asked(text)) => {
            // Who closes the pipe early, as `head` does, has read what they wanted.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            std::process::exit(0)
        }
        Err(Stop::Wrong(line)) => {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
            std::process::exit(2)
        }
    }
}

/// Parses `arguments`, the first of which is the program's name.
///
/// # Errors
///
/// [`Stop::Asked`] for `-help`, `-h` and `-version`, [`Stop::Wrong`] for anything that is refused.
///
/// # Panics
///
/// When `T` declares a short flag, or a name with a hyphen, which no user could type.
pub fn try_parse_from<T, I>(arguments: I) -> Result<T, Stop>
where
    T: Parser,
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let command = prepared(T::command());
    let name = command.get_name().to_owned();
    let matches = command.try_get_matches_from(go_style(arguments));
    let parsed = matches.and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Stop::Asked(as_typed(&error.render().to_string()))
        }
        _ => Stop::Wrong(format!("{name}: {}", one_line(&error))),
    })
}

/// The command with Go's habits in place of clap's.
fn prepared(command: Command) -> Command {
    for argument in command.get_arguments() {
        assert!(argument.get_short().is_none(), "flags have no short forms: {}", argument.get_id());
        let hyphen = argument
            .get_long_and_visible_aliases()
            .unwrap_or_default()
            .into_iter()
            .chain(argument.get_all_aliases().unwrap_or_default())
            .find(|name| name.contains('-'));
        assert_eq!(hyphen, None, "names of flags are written with underscores");
    }
    let has_version = command.get_version().is_some();
    let help = Arg::new("help")
        .long("help")
        .alias("h")
        .action(ArgAction::HelpLong)
        .help("Print this help");
    let version =
        Arg::new("version").long("version").action(ArgAction::Version).help("Print the version");
    let mut command = command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .next_line_help(true)
        .max_term_width(100)
        .mut_subcommands(prepared)
        .arg(help);
    if has_version {
        command = command.arg(version);
    }
    command
}

/// Text of clap's with its flags as users type them: one dash, at Go's indentation.
fn as_typed(text: &str) -> String {
    let mut typed = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim_end();
        // clap leaves room for a short flag.
        let line = match line.strip_prefix("      --") {
            Some(flag) => format!("  -{flag}"),
            None => line.to_owned(),
        };
        typed.push_str(&single_dashes(&line));
        typed.push('\n');
    }
    typed
}

/// Turns `--name` into `-name` wherever a word begins with it.
fn single_dashes(text: &str) -> String {
    let mut single = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("--") {
        let (before, flag) = rest.split_at(at);
        single.push_str(before);
        let begins = !single.ends_with(|last: char| last.is_alphanumeric() || last == '-');
        let named = flag[2..].starts_with(|first: char| first.is_ascii_alphabetic());
        single.push_str(if begins && named { "-" } else { "--" });
        rest = &flag[2..];
    }
    single + rest
}

/// What is wrong, in one line.
fn one_line(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(|value| single_dashes(&value.to_string()));
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(wrong) = context(ContextKind::InvalidArg)
    {
        return if wrong.starts_with('-') {
            let meant = context(ContextKind::SuggestedArg)
                .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            format!("unknown flag {wrong}{meant} (-help lists all)")
        } else {
            format!("unexpected argument {wrong}; flags begin with a dash (-help lists all)")
        };
    }
    // clap's sentence stands in front of the usage; lists in it take lines of their own.
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .unwrap_or(text.len());
    let words: Vec<&str> = text[..end].split_whitespace().collect();
    single_dashes(&words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves things.
    #[derive(Debug, PartialEq, Parser)]
    #[command(name = "server", version = "1.2.3")]
    struct Cli {
        /// Port to listen on; 8080 is what the scripts expect.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Operations in a batch.
        #[arg(long = "batch_size", value_name = "N", visible_alias = "batch_operations")]
        batch_size: Option<i64>,
        /// Offset.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        offset: i64,
        /// Which store.
        #[arg(long, default_value = "fast", value_parser = ["fast", "slow"])]
        store: String,
        /// Say more.
        #[arg(long)]
        verbose: bool,
        /// What to do.
        task: Option<String>,
    }

    fn parse_line(line: &str) -> Result<Cli, Stop> {
        try_parse_from(format!("server {line}").split_whitespace())
    }

    fn wrong(line: &str) -> String {
        match parse_line(line) {
            Err(Stop::Wrong(text)) => {
                assert!(!text.contains('\n') && text.starts_with("server: "), "{text}");
                text
            }
            other => panic!("{line} is refused, not {other:?}"),
        }
    }

    fn asked(line: &str) -> String {
        match parse_line(line) {
            Err(Stop::Asked(text)) => text,
            other => panic!("{line} asks for a text, not {other:?}"),
        }
    }

    #[test]
    fn spellings_mean_the_same() {
        let expected = parse_line("--port 9 --batch_size 7 --verbose").unwrap();
        assert_eq!((expected.port, expected.batch_size, expected.verbose), (9, Some(7), true));
        for line in [
            "-port 9 -batch_size 7 -verbose",
            "-port=9 -batch-size=7 --verbose",
            "--port=9 --batch-size 7 -verbose",
            "-port 1 -verbose -batch_operations 7 -port 9",
        ] {
            assert_eq!(parse_line(line).as_ref(), Ok(&expected), "{line}");
        }
        assert_eq!(parse_line("-offset -5").unwrap().offset, -5);
        assert_eq!(parse_line("ping -port 1").unwrap().task.as_deref(), Some("ping"));
        assert_eq!(parse_line("-- -port").unwrap().task.as_deref(), Some("-port"));
    }

    #[test]
    fn an_unknown_flag_is_named_with_what_was_meant() {
        assert_eq!(
            wrong("-prot 9"),
            "server: unknown flag -prot; did you mean -port? (-help lists all)"
        );
        assert_eq!(wrong("-prot=9"), wrong("--prot=9"));
        assert_eq!(wrong("-zzz"), "server: unknown flag -zzz (-help lists all)");
        assert_eq!(wrong("-p 9"), "server: unknown flag -p; did you mean -port? (-help lists all)");
        let surplus = wrong("ping pong");
        assert!(surplus.contains("unexpected argument pong; flags begin with a dash"), "{surplus}");
    }

    #[test]
    fn a_bad_value_is_named_with_its_flag() {
        for (line, said) in [
            ("-port abc", "invalid value 'abc' for '-port <PORT>': invalid digit"),
            ("-port 99999", "99999"),
            ("-port -5", "unknown flag -5"),
            ("-port", "a value is required for '-port <PORT>'"),
            ("-port -verbose", "a value is required for '-port <PORT>'"),
            ("-batch_size -x", "unknown flag -x"),
            (
                "-store odd",
                "invalid value 'odd' for '-store <STORE>' [possible values: fast, slow]",
            ),
            ("-verbose=maybe", "'-verbose'"),
        ] {
            let text = wrong(line);
            assert!(text.contains(said), "{line}: {text}");
            assert!(!text.contains("--"), "{line}: {text}");
        }
    }

    #[test]
    fn help_shows_flags_as_they_are_typed() {
        let help = asked("-help");
        assert_eq!(
            [asked("--help"), asked("-h"), asked("-port 1 -help")],
            [&*help, &*help, &*help]
        );
        for line in ["  -port <PORT>", "  -batch_size <N>", "  -verbose", "  -help", "  -version"] {
            assert!(help.lines().any(|found| found == line), "{line} stands in\n{help}");
        }
        assert!(help.contains("8080 is what the scripts expect"), "{help}");
        assert!(help.contains("[default: 8080]"), "{help}");
        assert!(!help.contains("--"), "{help}");
        assert_eq!(asked("-version"), "server 1.2.3\n");
    }

    #[test]
    fn dashes_inside_words_and_rules_stay() {
        assert_eq!(
            single_dashes("'--a' a--b [--c, --d] -- --- --5"),
            "'-a' a--b [-c, -d] -- --- --5"
        );
    }

    #[derive(Debug, Parser)]
    struct Hyphened {
        #[arg(long)]
        batch_size: Option<u32>,
    }

    #[derive(Debug, Parser)]
    struct Short {
        #[arg(long, short)]
        port: Option<u32>,
    }

    #[test]
    #[should_panic(expected = "names of flags are written with underscores")]
    fn a_declared_hyphen_is_our_mistake() {
        let _ = try_parse_from::<Hyphened, _>(["p"]).map(|flags| flags.batch_size);
    }

    #[test]
    #[should_panic(expected = "flags have no short forms")]
    fn a_declared_short_flag_is_our_mistake() {
        let _ = try_parse_from::<Short, _>(["p"]).map(|flags| flags.port);
    }
}

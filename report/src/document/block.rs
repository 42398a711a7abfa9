//! How blocks are found in a document.

use crate::plots::{Bars, Curve};

/// What ends every block.
pub(super) const END: &str = "<!-- end -->";

/// How a plot is written.
const PLOT_USAGE: &str = "write <!-- plot: PICTURE NAME x=COLUMN y=COLUMN -->, if wanted with \
    by=COLUMN, and low=COLUMN high=COLUMN or deviation=COLUMN; or y=COLUMN,COLUMN.. alone";

/// A stretch of a document.
#[derive(Debug, PartialEq)]
pub(super) enum Part<'a> {
    /// Prose.
    Text(&'a str),
    /// A block; what stood in it is left out.
    Block {
        /// The line that it begins in, from 1.
        line: usize,
        /// Its first comment.
        begin: &'a str,
        /// What it shows.
        kind: Kind,
        /// Whether it stands inside a line.
        inline: bool,
    },
}

/// What a block shows.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// A measured table.
    Table { name: String },
    /// A picture of a measured table.
    Plot { picture: String, name: String, curve: Curve },
    /// A run with its pictures.
    Run { name: String },
    /// What a run's costs predict for a testbed.
    Capacity { name: String },
    /// A picture that a script leaves in the folder `images/`.
    Image { file: String },
    /// A cell of a measured table.
    Value { name: String, column: String, keys: Vec<(String, String)> },
}

/// The document in its order; or the line in which it is wrong, and why.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, (usize, String)> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("<!-- ") {
        let begin = at + found;
        let line = 1 + text[..begin].matches('\n').count();
        let Some(length) = text[begin..].find("-->") else {
            return Err((line, "a comment has no end; write -->".to_owned()));
        };
        let comment = &text[begin..begin + length + 3];
        if comment == END {
            return Err((line, format!("{END} ends no block; remove it")));
        }
        let words: Vec<&str> = comment[4..length].split_whitespace().collect();
        let Some(kind) = kind(&words).map_err(|reason| (line, reason))? else {
            parts.push(Part::Text(&text[at..begin + comment.len()]));
            at = begin + comment.len();
            continue;
        };
        let inside = begin + comment.len();
        let Some(length) = text[inside..].find("<!-- ") else {
            return Err((line, format!("the block has no end; write {END} behind it")));
        };
        if !text[inside + length..].starts_with(END) {
            return Err((line, format!("another comment stands in the block; write {END} first")));
        }
        parts.push(Part::Text(&text[at..begin]));
        let inline = matches!(kind, Kind::Value { .. });
        parts.push(Part::Block { line, begin: comment, kind, inline });
        at = inside + length + END.len();
    }
    parts.push(Part::Text(&text[at..]));
    Ok(parts)
}

/// What a comment's words name; `None` for a comment that is no block.
fn kind(words: &[&str]) -> Result<Option<Kind>, String> {
    let name = |word: &str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        let good = !word.is_empty() && word.chars().all(plain);
        good.then(|| word.to_owned())
            .ok_or_else(|| format!("'{word}' is no name; use letters, digits, _ and -"))
    };
    let pairs = |words: &[&str]| {
        let pair = |word: &&str| {
            let (key, value) =
                word.split_once('=').ok_or_else(|| format!("'{word}' is no KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        words.iter().map(pair).collect::<Result<Vec<_>, String>>()
    };
    Ok(Some(match words {
        ["table:", table] => Kind::Table { name: name(table)? },
        ["table:", ..] => return Err("write <!-- table: NAME -->".to_owned()),
        ["run:", run] => Kind::Run { name: name(run)? },
        ["run:", ..] => return Err("write <!-- run: NAME -->".to_owned()),
        ["capacity:", run] => Kind::Capacity { name: name(run)? },
        ["capacity:", ..] => return Err("write <!-- capacity: NAME -->".to_owned()),
        ["image:", file] if file.ends_with(".svg") => {
            let plain = file.trim_end_matches(".svg");
            Kind::Image { file: format!("{}.svg", name(plain)?) }
        }
        ["image:", ..] => return Err("write <!-- image: NAME.svg -->".to_owned()),
        ["plot:", picture, table, rest @ ..] => {
            let mut columns = pairs(rest)?;
            let mut take = |key: &str| {
                let place = columns.iter().position(|(known, _)| known == key)?;
                Some(columns.remove(place).1)
            };
            let (x, y, by) = (take("x"), take("y"), take("by"));
            let bars = match (take("low"), take("high"), take("deviation")) {
                (None, None, None) => Bars::Repeats,
                (Some(low), Some(high), None) => Bars::Ends(low, high),
                (None, None, Some(deviation)) => Bars::Deviation(deviation),
                _ => return Err(PLOT_USAGE.to_owned()),
            };
            let (Some(x), Some(y), true) = (x, y, columns.is_empty()) else {
                return Err(PLOT_USAGE.to_owned());
            };
            let y: Vec<String> = y.split(',').map(str::to_owned).collect();
            // Several columns are lines of their own, with bars from repeats alone.
            if y.iter().any(String::is_empty)
                || y.len() > 1 && (by.is_some() || bars != Bars::Repeats)
            {
                return Err(PLOT_USAGE.to_owned());
            }
            let curve = Curve { x, y, by, bars };
            Kind::Plot { picture: name(picture)?, name: name(table)?, curve }
        }
        ["plot:", ..] => return Err(PLOT_USAGE.to_owned()),
        ["value:", table, column, keys @ ..] => {
            Kind::Value { name: name(table)?, column: (*column).to_owned(), keys: pairs(keys)? }
        }
        ["value:", ..] => return Err("write <!-- value: NAME COLUMN KEY=VALUE -->".to_owned()),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_prose() {
        let text = "a\n<!-- note -->\n<!-- table: t1 -->\nold\n<!-- end -->\n\
            is <!-- value: t1 ops_s batch_size=1 -->7<!-- end --> high\n";
        let parts = parts(text).unwrap();
        assert_eq!(parts.len(), 6);
        assert_eq!(parts[0], Part::Text("a\n<!-- note -->"));
        assert_eq!(
            parts[2],
            Part::Block {
                line: 3,
                begin: "<!-- table: t1 -->",
                kind: Kind::Table { name: "t1".to_owned() },
                inline: false,
            }
        );
        assert_eq!(parts[3], Part::Text("\nis "));
        let Part::Block { kind: Kind::Value { column, keys, .. }, inline: true, .. } = &parts[4]
        else {
            panic!("{parts:?}")
        };
        assert_eq!((column.as_str(), keys[0].1.as_str()), ("ops_s", "1"));
        assert_eq!(parts[5], Part::Text(" high\n"));
    }

    #[test]
    fn plots_name_their_columns() {
        let plot = |words: &str| kind(&words.split(' ').collect::<Vec<_>>());
        let Ok(Some(Kind::Plot { curve, .. })) = plot("plot: p t x=a y=b by=c") else { panic!() };
        assert_eq!((curve.x.as_str(), curve.by.as_deref()), ("a", Some("c")));
        let Ok(Some(Kind::Plot { curve, .. })) = plot("plot: p t x=a y=b low=c high=d") else {
            panic!()
        };
        assert_eq!(curve.bars, Bars::Ends("c".to_owned(), "d".to_owned()));
        let Ok(Some(Kind::Plot { curve, .. })) = plot("plot: p t x=a y=b,c") else { panic!() };
        assert_eq!(curve.y, ["b", "c"]);
        for wrong in [
            "plot: p t x=a",
            "plot: p t x=a y=b,",
            "plot: p t x=a y=b,c by=d",
            "plot: p t x=a y=b,c deviation=d",
            "plot: p t x=a y=b low=c",
            "plot: p t x=a y=b z=c",
            "plot: p t x y=b",
            "plot: p",
        ] {
            assert!(plot(wrong).is_err(), "{wrong}");
        }
        assert!(plot("plot: ../p t x=a y=b").unwrap_err().contains("no name"));
    }

    #[test]
    fn what_is_no_block_is_told_with_its_line() {
        for (text, line, told) in [
            ("a\n<!-- table: t", 2, "no end"),
            ("<!-- end -->", 1, "ends no block"),
            ("\n\n<!-- table: t -->\n", 3, "no end"),
            ("<!-- table: t -->\n<!-- table: u -->\n<!-- end -->", 1, "another comment"),
            ("<!-- table: a b -->\n<!-- end -->", 1, "table: NAME"),
            ("<!-- table: ../a -->\n<!-- end -->", 1, "no name"),
            ("<!-- image: ../a.svg -->\n<!-- end -->", 1, "no name"),
            ("<!-- image: a.png -->\n<!-- end -->", 1, "image: NAME.svg"),
        ] {
            let (found, reason) = parts(text).unwrap_err();
            assert!(found == line && reason.contains(told), "{text}: {found} {reason}");
        }
    }
}

//! A violation as a timeline: one bar per operation, from invocation to response.

use std::fmt::Write as _;

use crate::verdict::{ShownOperation, Violation};

/// Operations in one picture; a larger contradiction shows its first ones.
const ROWS_MAX: usize = 60;
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 76.0;
const ROW: f64 = 34.0;
/// Narrowest bar, so that an instant can be seen.
const BAR_LEAST: f64 = 3.0;
/// Width of a letter of 12 pixels, for deciding on which side of a bar its text stands.
const LETTER: f64 = 6.8;

/// Draws a violation as an SVG document.
pub fn timeline(violation: &Violation) -> String {
    let rows = &violation.operations[..violation.operations.len().min(ROWS_MAX)];
    let ends = rows.iter().map(|row| row.res_us.unwrap_or(row.inv_us));
    let last = ends.fold(0.0, f64::max).max(0.001);
    // Room at the end for operations that never had a response.
    let scale = (WIDTH - LEFT - RIGHT) / (last * 1.08);
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 48.0;
    let mut svg = String::new();
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="28" font-size="17" font-weight="bold" fill="#1a1a1a">Key {}</text>
<text x="16" y="50" font-size="13" fill="#444444">{}</text>
"##,
        escape(&format!("{:?}", violation.key)),
        escape(&violation.meaning),
    );
    axis(&mut svg, last, scale, bottom);
    for (index, row) in rows.iter().enumerate() {
        bar(&mut svg, row, TOP + ROW * index as f64, scale);
    }
    let hidden = violation.operations.len() - rows.len();
    let more = if hidden > 0 { format!("; {hidden} more operations") } else { String::new() };
    let _ = writeln!(
        svg,
        r##"<text x="{LEFT}" y="{}" fill="#444444">microseconds since the first invocation; blue changes the key, green reads it, dashed has no response{more}</text>
</svg>"##,
        bottom + 38.0,
    );
    svg
}

fn axis(svg: &mut String, last: f64, scale: f64, bottom: f64) {
    let rough = last / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let mut tick = 0.0;
    while tick <= last * 1.08 {
        let x = LEFT + tick * scale;
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="#e2e2e2"/><text x="{x:.1}" y="{:.1}" text-anchor="middle" fill="#666666">{tick:.decimals$}</text>"##,
            TOP - 6.0,
            bottom + 16.0,
        );
        tick += step;
    }
}

fn bar(svg: &mut String, row: &ShownOperation, top: f64, scale: f64) {
    let start = LEFT + row.inv_us * scale;
    let end = row.res_us.map_or(WIDTH - RIGHT, |res| LEFT + res * scale).max(start + BAR_LEAST);
    let (fill, stroke) =
        if row.is_mutation { ("#cfe0f7", "#2b66b8") } else { ("#d6eed8", "#2f8a3b") };
    let dashes = if row.res_us.is_none() { r#" stroke-dasharray="5 4""# } else { "" };
    let text = escape(&row.operation);
    let needed = row.operation.chars().count() as f64 * LETTER + 12.0;
    let (x, anchor) = if end - start >= needed {
        (start + 6.0, "start")
    } else if end + needed <= WIDTH {
        (end + 6.0, "start")
    } else {
        (start - 6.0, "end")
    };
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="{:.1}" text-anchor="end" fill="#1a1a1a">{}</text><rect x="{start:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="3" fill="{fill}" stroke="{stroke}"{dashes}/><text x="{x:.1}" y="{:.1}" text-anchor="{anchor}" fill="#1a1a1a">{text}</text>"##,
        LEFT - 12.0,
        top + 19.0,
        escape(&row.who()),
        top + 4.0,
        end - start,
        ROW - 10.0,
        top + 20.0,
    );
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no form for most control characters.
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Rule;

    fn operation(operation: &str, inv_us: f64, res_us: Option<f64>) -> ShownOperation {
        ShownOperation {
            client: 1,
            worker: Some(2),
            stamp: Some(3),
            operation: operation.into(),
            inv_us,
            res_us,
            outcome: "ok",
            is_mutation: operation.starts_with("put"),
        }
    }

    #[test]
    fn every_operation_has_a_bar_inside_the_picture() {
        let violation = Violation {
            key: "<k&\"\u{1}>".into(),
            rule: Rule::Crossing,
            meaning: "m".into(),
            operations: vec![
                operation("put <1>", 0.0, Some(10.0)),
                operation("get = 1", 5.0, None),
                operation("get = 2", 1e7, Some(1e7)),
            ],
        };
        let svg = timeline(&violation);
        assert_eq!(svg.matches("<rect x=").count(), 3);
        assert_eq!(svg.matches("stroke-dasharray").count(), 1);
        assert!(svg.contains("put &lt;1&gt;") && !svg.contains("<1>") && !svg.contains('\u{1}'));
        for x in svg.split(" x=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let x: f64 = x.parse().unwrap();
            assert!((0.0..=WIDTH).contains(&x), "{x}");
        }
        assert!(!timeline(&Violation { operations: vec![], ..violation }).contains("NaN"));
    }
}

//! Throughput over time, one line per server, drawn from the servers' logs alone.
//!
//! The figure is made for one column of a paper: 84 mm wide, black axes with units, a palette that
//! colour-blind readers can tell apart, a legend that covers no line. Each server's median is a dashed
//! line in its colour. Where the measured window is known it is shaded. The same figure is written twice: `ops.svg` for papers, `ops.png` for everything else.

use std::path::{Path, PathBuf};
use std::sync::Once;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::cluster::{Window, median_rate};
use crate::run_folder::RunFolder;
use crate::server_log::{Interval, ServerLog};

/// The palette of Okabe and Ito, *Color Universal Design* (2008), without black and yellow, which
/// are taken by the axes and hard to see on paper.
const OKABE_ITO: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// What the measured window is shaded with.
const WINDOW: RGBColor = RGBColor(236, 236, 236);

/// Entries of the legend in one row, and a row's height.
const LEGEND_COLUMNS: usize = 3;
const LEGEND_ROW_POINTS: f64 = 18.0;

/// Width and height in points. Set at 84 mm, the axes' texts come out at 7 points.
const SIZE: (u32, u32) = (360, 240);

/// Pixels per point of the two forms; the PNG has 435 pixels per inch at a width of 84 mm.
const SCALE_SVG: f64 = 1.0;
const SCALE_PNG: f64 = 4.0;

/// DejaVu Sans, reduced to Latin-1; its licence stands beside it.
const FONT: &[u8] = include_bytes!("../fonts/DejaVuSans-Latin1.ttf");

/// The name under which the font is registered. SVG viewers know it by the same name.
const FONT_NAME: &str = "sans-serif";

/// Why a plot could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The logs have no interval to draw.
    #[error("no server wrote a whole second to its log, so there is nothing to draw; \
        see the logs in {}", folder.display())]
    NothingToDraw {
        /// The run's folder.
        folder: PathBuf,
    },
    /// The picture could not be written.
    #[error("cannot draw {}: {reason}", path.display())]
    Draw {
        /// The picture.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Draws `ops.svg` and `ops.png` into the run's folder.
pub fn draw(run: &RunFolder, window: Option<Window>) -> Result<(), PlotError> {
    let figure = Figure::of(&run.servers, window)
        .ok_or_else(|| PlotError::NothingToDraw { folder: run.path.clone() })?;
    register_font();
    let failed = |path: &Path, error: &dyn std::fmt::Display| PlotError::Draw {
        path: path.to_owned(),
        reason: error.to_string(),
    };

    let svg = run.path.join("ops.svg");
    let area = SVGBackend::new(&svg, SIZE).into_drawing_area();
    figure.draw(&area, SCALE_SVG).map_err(|error| failed(&svg, &error))?;

    let png = run.path.join("ops.png");
    let pixels = |points: u32| (f64::from(points) * SCALE_PNG) as u32;
    let area = BitMapBackend::new(&png, (pixels(SIZE.0), pixels(SIZE.1))).into_drawing_area();
    figure.draw(&area, SCALE_PNG).map_err(|error| failed(&png, &error))
}

fn register_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let registered = plotters::style::register_font(FONT_NAME, FontStyle::Normal, FONT);
        assert!(registered.is_ok(), "the bundled font is a TrueType font");
    });
}

/// What is drawn, in the figure's own units: seconds, and operations per second times [`Unit`].
struct Figure {
    lines: Vec<Line>,
    seconds: (f64, f64),
    rate_max: f64,
    unit: Unit,
    window: Option<(f64, f64)>,
}

/// One server.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    median: Option<f64>,
}

/// The rate axis's unit, so that its numbers stay short.
#[derive(Clone, Copy)]
struct Unit {
    operations: f64,
    name: &'static str,
}

impl Unit {
    fn of(rate_max: f64) -> Self {
        match rate_max {
            rate if rate >= 1e6 => Self { operations: 1e6, name: "million op/s" },
            rate if rate >= 1e3 => Self { operations: 1e3, name: "thousand op/s" },
            _ => Self { operations: 1.0, name: "op/s" },
        }
    }
}

impl Figure {
    /// `None` when no log has an interval. Time counts from the start of the window, or from the
    /// first interval.
    fn of(logs: &[ServerLog], window: Option<Window>) -> Option<Self> {
        let intervals = || logs.iter().flat_map(|log| &log.intervals);
        let least = |times: &mut dyn Iterator<Item = f64>| times.reduce(f64::min);
        let first = least(&mut intervals().map(Interval::start_unix_ms))?;
        let last = -least(&mut intervals().map(|interval| -interval.end_unix_ms()))?;
        let zero = window.map_or(first, |window| window.start_unix_ms as f64);
        let second = |unix_ms: f64| (unix_ms - zero) / 1e3;

        let rate_max = intervals().map(|i| i.operations_per_second).fold(1.0, f64::max);
        let unit = Unit::of(rate_max);
        let line = |(index, log): (usize, &ServerLog)| Line {
            name: format!("server {}", index + 1),
            points: log
                .intervals
                .iter()
                .map(|interval| {
                    let middle = f64::midpoint(interval.start_unix_ms(), interval.end_unix_ms());
                    (second(middle), interval.operations_per_second / unit.operations)
                })
                .collect(),
            median: median_rate(log, window).map(|rate| rate / unit.operations),
        };
        Some(Self {
            lines: logs.iter().enumerate().map(line).collect(),
            seconds: (second(first).min(0.0), second(last)),
            rate_max: rate_max / unit.operations,
            unit,
            window: window.map(|w| (second(w.start_unix_ms as f64), second(w.end_unix_ms as f64))),
        })
    }

    /// Draws on a backend with `scale` pixels per point.
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: f64,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let pixels = |points: f64| (points * scale).round() as i32;
        let stroke = |points: f64| (points * scale).round().max(1.0) as u32;
        let font = |size: f64| (FONT_NAME, size * scale).into_font().color(&BLACK);
        area.fill(&WHITE)?;
        let legend_rows = self.legend().len().div_ceil(LEGEND_COLUMNS);
        let mut chart = ChartBuilder::on(area)
            .margin(pixels(6.0))
            .margin_right(pixels(14.0))
            .margin_top(pixels(10.0 + LEGEND_ROW_POINTS * legend_rows as f64))
            .x_label_area_size(pixels(40.0))
            .y_label_area_size(pixels(50.0))
            .build_cartesian_2d(self.seconds.0..self.seconds.1, 0.0..self.rate_max * 1.1)?;
        if let Some((start, end)) = self.window {
            let corners = [(start, 0.0), (end, self.rate_max * 1.1)];
            chart.draw_series([Rectangle::new(corners, WINDOW.filled())])?;
        }
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15).stroke_width(stroke(0.5)))
            .axis_style(BLACK.stroke_width(stroke(1.0)))
            .set_all_tick_mark_size(pixels(4.0))
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|second| short(*second))
            .y_label_formatter(&|rate| short(*rate))
            .x_desc("time in s")
            .y_desc(format!("throughput in {}", self.unit.name))
            .axis_desc_style(font(14.0))
            .label_style(font(13.0))
            .draw()?;
        for (line, colour) in self.lines.iter().zip(OKABE_ITO.iter().cycle()) {
            let style = colour.stroke_width(stroke(1.4));
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
            if let Some(median) = line.median {
                let (from, to) = self.window.unwrap_or(self.seconds);
                let ends = [(from, median), (to, median)];
                let (dash, gap) = (pixels(6.0), pixels(4.0));
                let style = colour.stroke_width(stroke(1.0));
                chart.draw_series(DashedLineSeries::new(ends, dash, gap, style))?;
            }
        }
        self.draw_legend(area, scale)
    }

    /// The legend's entries: the servers as far as there is room, then the common signs.
    fn legend(&self) -> Vec<(String, Sign)> {
        let mut entries: Vec<(String, Sign)> = if self.lines.len() <= OKABE_ITO.len() {
            let lines = self.lines.iter().zip(OKABE_ITO);
            lines.map(|(line, colour)| (line.name.clone(), Sign::Line(colour))).collect()
        } else {
            vec![(format!("{} servers", self.lines.len()), Sign::Line(BLACK))]
        };
        if self.lines.iter().any(|line| line.median.is_some()) {
            entries.push(("median".to_owned(), Sign::Dashes));
        }
        if self.window.is_some() {
            entries.push(("measured".to_owned(), Sign::Window));
        }
        entries
    }

    /// Draws the legend above the axes, where it covers no line.
    fn draw_legend<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: f64,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let pixels = |points: f64| (points * scale).round() as i32;
        let stroke = |points: f64| (points * scale).round().max(1.0) as u32;
        let text = TextStyle::from((FONT_NAME, 13.0 * scale).into_font())
            .pos(Pos::new(HPos::Left, VPos::Center));
        for (index, (name, sign)) in self.legend().into_iter().enumerate() {
            let (row, column) = (index / LEGEND_COLUMNS, index % LEGEND_COLUMNS);
            let left = pixels(56.0 + 98.0 * column as f64);
            let middle = pixels(14.0 + LEGEND_ROW_POINTS * row as f64);
            let right = left + pixels(22.0);
            let ends = vec![(left, middle), (right, middle)];
            match sign {
                Sign::Line(colour) => {
                    area.draw(&PathElement::new(ends, colour.stroke_width(stroke(2.5))))?;
                }
                Sign::Dashes => {
                    let style = BLACK.stroke_width(stroke(1.25));
                    let (dash, gap) = (pixels(6.0), pixels(4.0));
                    area.draw(&DashedPathElement::new(ends, dash, gap, style))?;
                }
                Sign::Window => {
                    let half = pixels(5.0);
                    let corners = [(left, middle - half), (right, middle + half)];
                    area.draw(&Rectangle::new(corners, WINDOW.filled()))?;
                }
            }
            // Letters without descenders look centred a little below the middle of their box.
            let beside = (right + pixels(6.0), middle + pixels(1.5));
            area.draw(&Text::new(name, beside, text.clone()))?;
        }
        area.present()
    }
}

/// What stands before a name in the legend.
enum Sign {
    Line(RGBColor),
    Dashes,
    Window,
}

/// A number on an axis: no more digits than it needs.
fn short(number: f64) -> String {
    let text = format!("{number:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::tests::{START_UNIX_MS, server_log, whole_run};

    fn logs(count: usize) -> Vec<ServerLog> {
        let text = server_log("1/1");
        vec![ServerLog::parse(&text, Path::new("x.log")).unwrap(); count]
    }

    const WINDOW_4_S: Window =
        Window { start_unix_ms: START_UNIX_MS, end_unix_ms: START_UNIX_MS + 4_000 };

    #[test]
    fn both_pictures_are_drawn_from_the_logs_alone() {
        let folder = whole_run("plots-both");
        for number in 1..=2 {
            std::fs::remove_file(folder.0.join(format!("kvs-client-{number}.json"))).unwrap();
        }
        draw(&RunFolder::read(&folder.0).unwrap(), None).unwrap();
        let svg = std::fs::read_to_string(folder.0.join("ops.svg")).unwrap();
        for text in ["time in s", "throughput in thousand op/s", "server 1", "server 2", "median"] {
            assert!(svg.contains(text), "{text} is in the picture");
        }
        assert!(!svg.contains("measured"), "no window is known");
        let png = std::fs::read(folder.0.join("ops.png")).unwrap();
        assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
        assert!(png.len() > 10_000, "{} bytes", png.len());
    }

    #[test]
    fn a_known_window_is_shaded_and_bounds_the_medians() {
        let figure = Figure::of(&logs(1), Some(WINDOW_4_S)).unwrap();
        assert_eq!(figure.window, Some((0.0, 4.0)));
        assert_eq!(figure.seconds, (-1.0, 5.0));
        assert_eq!(figure.lines[0].median, Some(1.0));
        assert_eq!(figure.lines[0].points[0], (-0.5, 0.5));
        let names: Vec<String> = figure.legend().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["server 1", "median", "measured"]);
    }

    #[test]
    fn many_servers_share_one_legend_entry() {
        let names = |count| {
            let figure = Figure::of(&logs(count), None).unwrap();
            figure.legend().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(6).len(), 7);
        assert_eq!(names(7), ["7 servers", "median"]);
    }

    #[test]
    fn logs_without_a_second_are_told() {
        let folder = whole_run("plots-nothing");
        for number in 1..=2 {
            folder.file(&format!("kvs-server-{number}.log"), "error: port 8080 is taken\n");
        }
        let error = draw(&RunFolder::read(&folder.0).unwrap(), None).unwrap_err();
        assert!(matches!(error, PlotError::NothingToDraw { .. }), "{error}");
    }

    #[test]
    fn servers_that_did_nothing_are_drawn_at_zero() {
        let folder = whole_run("plots-idle");
        let text = server_log("1/2").replace("ops/s 1000.00", "ops/s 0.00");
        folder.file("kvs-server-1.log", &text);
        draw(&RunFolder::read(&folder.0).unwrap(), Some(WINDOW_4_S)).unwrap();
    }

    #[test]
    fn a_picture_that_cannot_be_written_is_named() {
        let folder = whole_run("plots-unwritable");
        let mut run = RunFolder::read(&folder.0).unwrap();
        run.path = folder.0.join("gone");
        let error = draw(&run, None).unwrap_err();
        assert!(matches!(error, PlotError::Draw { .. }), "{error}");
        assert!(error.to_string().contains("ops.svg"), "{error}");
    }

    #[test]
    fn numbers_on_the_axes_are_short() {
        assert_eq!(
            [0.0, -0.0, 2.0, 2.5, 0.25, 120.0].map(short),
            ["0", "0", "2", "2.5", "0.25", "120"]
        );
    }
}

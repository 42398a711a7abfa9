//! How a figure becomes a picture.
//!
//! A picture is made for one column of a paper: 84 mm wide, black axes with units, colours and
//! markers that colour-blind readers and grey printers can tell apart, a legend that covers no line.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::figure::{Figure, Form, Panel, SERIES_NAMED_MAX, Series, Sign};
use crate::wording;

/// The palette of Okabe and Ito, *Color Universal Design* (2008), yellow replaced by grey, which
/// paper shows better.
const OKABE_ITO: [RGBColor; SERIES_NAMED_MAX] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(120, 120, 120),
];

/// What the measured window is shaded with.
const WINDOW: RGBColor = RGBColor(236, 236, 236);

/// Width of every picture in points, and heights of the axes of one panel and of two.
const WIDTH_POINTS: u32 = 360;
const PANEL_POINTS: [f64; 2] = [180.0, 115.0];

/// What lies around the axes, in points.
const MARGIN_POINTS: f64 = 8.0;
const LEFT_POINTS: f64 = 58.0;
const EDGE_POINTS: f64 = 5.0;
const RIGHT_POINTS: f64 = 14.0;
const BELOW_POINTS: f64 = 40.0;
const BETWEEN_POINTS: f64 = 12.0;

/// Instead, around axes with rows: names stand in them, and values behind the bars.
const ROWS_LEFT_POINTS: f64 = 24.0;
const ROWS_RIGHT_POINTS: f64 = 48.0;

/// A row: its name, the bars of all series, and what is free below them.
const ROW_NAME_POINTS: f64 = 19.0;
const ROW_BAR_POINTS: f64 = 12.0;
const ROW_FREE_POINTS: f64 = 4.0;

/// The legend's rows, the sign before a name, and about how wide a letter is.
const LEGEND_ROW_POINTS: f64 = 17.0;
const SIGN_POINTS: f64 = 22.0;
const LETTER_POINTS: f64 = 6.9;
const ENTRY_GAP_POINTS: f64 = 12.0;

/// Sizes of letters. Set at 84 mm, the axes' texts come out at 7 points.
const TITLE_POINTS: f64 = 14.0;
const LABEL_POINTS: f64 = 13.0;

/// Markers along a time line.
const MARKERS_PER_LINE: usize = 6;

/// The name under which the font is registered. SVG viewers know it by the same name.
pub(super) const FONT_NAME: &str = "sans-serif";

/// Dashes and gaps of the medians and of the rules, in points.
const MEDIAN_DASHES: (f64, f64) = (6.0, 4.0);
const RULE_DASHES: [(f64, f64); 3] = [(10.0, 3.0), (2.0, 3.0), (10.0, 6.0)];

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;
type Area<B> = DrawingArea<B, Shift>;

/// A place in the picture, in pixels from its left upper corner.
type Pixel = (i32, i32);

/// An axis as plotters sees it: places, and labels where the axis wants them.
struct Places(Axis);

impl Ranged for Places {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (first, last): (i32, i32)) -> i32 {
        let (from, to) = self.0.places;
        first + ((place - from) / (to - from) * f64::from(last - first)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        // No lines but those of the labels.
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.0.ticks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.0.places.0..self.0.places.1
    }
}

impl ValueFormatter<f64> for Places {
    fn format_ext(&self, place: &f64) -> String {
        self.0.label(*place)
    }
}

/// A figure with pixels per point: it knows where everything lies.
pub(super) struct Renderer<'a> {
    figure: &'a Figure,
    scale: f64,
    legend: Vec<(String, Sign)>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(figure: &'a Figure, scale: f64) -> Self {
        Self { figure, scale, legend: figure.legend() }
    }

    /// Width and height in points.
    pub(super) fn size_points(&self) -> (u32, u32) {
        let panels = &self.figure.panels;
        let axes = panels.iter().map(|panel| self.panel_points(panel)).sum::<f64>()
            + (panels.len() - 1) as f64 * BETWEEN_POINTS;
        (WIDTH_POINTS, (self.above_points() + axes + BELOW_POINTS + MARGIN_POINTS) as u32)
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        let (width, height) = self.size_points();
        (self.stroke(f64::from(width)), self.stroke(f64::from(height)))
    }

    fn panel_points(&self, panel: &Panel) -> f64 {
        match panel.has_rows() {
            true => row_points(panel) * panel.y.ticks.len() as f64,
            false => PANEL_POINTS[(self.figure.panels.len() - 1).min(1)],
        }
    }

    /// Where each entry of the legend begins: its row, and points from the left. Entries follow each
    /// other like words in a text; those of equal length stand below each other.
    fn legend_places(&self) -> Vec<(usize, f64)> {
        let (mut row, mut left) = (0, LEFT_POINTS);
        let place = |(name, _): &(String, Sign)| {
            let width = SIGN_POINTS + 6.0 + LETTER_POINTS * name.chars().count() as f64;
            if left > LEFT_POINTS && left + width > f64::from(WIDTH_POINTS) - 2.0 {
                (row, left) = (row + 1, LEFT_POINTS);
            }
            let begins = (row, left);
            left += width + ENTRY_GAP_POINTS;
            begins
        };
        self.legend.iter().map(place).collect()
    }

    /// Height of what lies above the first axes: the legend.
    fn above_points(&self) -> f64 {
        let rows = self.legend_places().last().map_or(0, |(row, _)| row + 1);
        MARGIN_POINTS + LEGEND_ROW_POINTS * rows as f64 + 4.0
    }

    fn pixels(&self, points: f64) -> i32 {
        (points * self.scale).round() as i32
    }

    fn stroke(&self, points: f64) -> u32 {
        (points * self.scale).round().max(1.0) as u32
    }

    /// Draws everything on an area of [`Self::size`].
    pub(super) fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        area.fill(&WHITE)?;
        let last = self.figure.panels.len() - 1;
        let mut top = self.above_points();
        for (index, panel) in self.figure.panels.iter().enumerate() {
            let below = if index == last { BELOW_POINTS } else { 0.0 };
            let bottom = top + self.panel_points(panel) + below;
            self.draw_panel(area, panel, (top, bottom), index == last)?;
            top = bottom + BETWEEN_POINTS;
        }
        self.draw_legend(area)?;
        area.present()
    }

    /// Draws one pair of axes and what stands between them. Only the last one has labels below.
    fn draw_panel<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        panel: &Panel,
        (top, bottom): (f64, f64),
        last: bool,
    ) -> Drawn<B> {
        let height = area.dim_in_pixel().1 as i32;
        let part = area.margin(self.pixels(top), height - self.pixels(bottom), 0, 0);
        let has_rows = panel.has_rows();
        let (left, right, y) = match has_rows {
            // The names are drawn with the bars.
            true => {
                (ROWS_LEFT_POINTS, ROWS_RIGHT_POINTS, Axis { ticks: Vec::new(), ..panel.y.clone() })
            }
            false => (LEFT_POINTS, RIGHT_POINTS, panel.y.clone()),
        };
        let mut axes = ChartBuilder::on(&part)
            .margin_left(self.pixels(EDGE_POINTS))
            .margin_right(self.pixels(right))
            .x_label_area_size(if last { self.pixels(BELOW_POINTS) } else { 0 })
            .y_label_area_size(self.pixels(left - EDGE_POINTS))
            .build_cartesian_2d(Places(panel.x.clone()), Places(y))?;
        if let Some((start, end)) = panel.window {
            let corners = [(start, panel.y.places.0), (end, panel.y.places.1)];
            axes.draw_series([Rectangle::new(corners, WINDOW.filled())])?;
        }
        let font = |size: f64| (FONT_NAME, size * self.scale).into_font().color(&BLACK);
        let mut mesh = axes.configure_mesh();
        // Lines lead from the labels of what is measured alone.
        let mesh = if has_rows { mesh.disable_y_mesh() } else { mesh.disable_x_mesh() };
        mesh.bold_line_style(BLACK.mix(0.15).stroke_width(self.stroke(0.5)))
            .axis_style(BLACK.stroke_width(self.stroke(1.0)))
            .set_all_tick_mark_size(self.pixels(4.0))
            .x_labels(if last { panel.x.ticks.len() } else { 0 })
            .y_labels(panel.y.ticks.len())
            .x_desc(if last { panel.x.title.as_str() } else { "" })
            .y_desc(panel.y.title.as_str())
            .axis_desc_style(font(TITLE_POINTS))
            .label_style(font(LABEL_POINTS))
            .draw()?;
        // From here on all is drawn in pixels, where markers and error bars have their sizes.
        let inner = axes.plotting_area();
        let pixel = |x, y| inner.map_coordinate(&(panel.x.place(x), panel.y.place(y)));
        for (index, rule) in panel.rules.iter().enumerate() {
            let row = pixel(0.0, rule.y).1;
            let columns = inner.get_x_axis_pixel_range();
            let ends = [(columns.start, row), (columns.end, row)];
            self.draw_dashes(area, ends, BLACK, RULE_DASHES[index % RULE_DASHES.len()])?;
        }
        if has_rows {
            return self.draw_rows(area, panel, &pixel);
        }
        for (index, series) in panel.series.iter().enumerate() {
            self.draw_series(area, series, &pixel, (index, panel.series.len()))?;
            if let Some(median) = series.median {
                let columns = inner.get_x_axis_pixel_range();
                let (from, to) = panel.window.map_or((columns.start, columns.end), |window| {
                    (pixel(window.0, 0.0).0, pixel(window.1, 0.0).0)
                });
                let row = pixel(0.0, median).1;
                let ends = [(from, row), (to, row)];
                self.draw_dashes(area, ends, colour(series.look), MEDIAN_DASHES)?;
            }
        }
        Ok(())
    }

    /// Draws a series' points; `pixel` says where they lie.
    fn draw_series<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        series: &Series,
        pixel: &impl Fn(f64, f64) -> Pixel,
        (index, count): (usize, usize),
    ) -> Drawn<B> {
        let path = || series.points.iter().map(|point| pixel(point.x, point.y)).collect::<Vec<_>>();
        match series.form {
            Form::TimeLine => {
                let style = colour(series.look).stroke_width(self.stroke(1.4));
                area.draw(&PathElement::new(path(), style))?;
                // Shifted against those of the other lines, so that none hides another.
                let every = (series.points.len() / MARKERS_PER_LINE).max(1);
                for at in path().into_iter().skip(every * index / count).step_by(every) {
                    self.draw_marker(area, at, series.look)?;
                }
            }
            Form::Marks => {
                let style = colour(series.look).stroke_width(self.stroke(1.2));
                area.draw(&PathElement::new(path(), style))?;
                for (point, at) in series.points.iter().zip(path()) {
                    let (low, high) =
                        (pixel(point.x, point.bar.0).1, pixel(point.x, point.bar.1).1);
                    let half = self.pixels(3.0);
                    let whisker = |y| vec![(at.0 - half, y), (at.0 + half, y)];
                    if low != high {
                        for path in [vec![(at.0, low), (at.0, high)], whisker(low), whisker(high)] {
                            area.draw(&PathElement::new(path, style))?;
                        }
                    }
                    self.draw_marker(area, at, series.look)?;
                }
            }
            Form::Rows => unreachable!("rows are drawn together"),
            Form::Bars => {
                for point in &series.points {
                    let corners = [pixel(point.x - 0.3, 0.0), pixel(point.x + 0.3, point.y)];
                    area.draw(&Rectangle::new(corners, colour(series.look).filled()))?;
                }
            }
        }
        Ok(())
    }

    /// Draws each row: its name, below it a bar for each series, and behind the bar its value.
    fn draw_rows<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        panel: &Panel,
        pixel: &impl Fn(f64, f64) -> Pixel,
    ) -> Drawn<B> {
        let text = TextStyle::from((FONT_NAME, LABEL_POINTS * self.scale).into_font())
            .pos(Pos::new(HPos::Left, VPos::Center));
        let inside = |row: f64, points: f64| row - 0.5 + points / row_points(panel);
        let right_of = |(x, y): Pixel| (x + self.pixels(5.0), y + self.pixels(1.5));
        for (row, name) in &panel.y.ticks {
            let at = right_of(pixel(0.0, inside(*row, ROW_NAME_POINTS / 2.0)));
            area.draw(&Text::new(name.clone(), at, text.clone()))?;
        }
        for (index, series) in panel.series.iter().enumerate() {
            let top = ROW_NAME_POINTS + ROW_BAR_POINTS * index as f64;
            for point in &series.points {
                let at = |x: f64, points: f64| pixel(x, inside(point.y, top + points));
                let corners = [at(0.0, 0.0), at(point.x, ROW_BAR_POINTS - 1.0)];
                area.draw(&Rectangle::new(corners, colour(series.look).filled()))?;
                let middle = (ROW_BAR_POINTS - 1.0) / 2.0;
                let (low, high) = point.bar;
                if low != high {
                    let whisker = |x| vec![at(x, middle - 3.0), at(x, middle + 3.0)];
                    let along = vec![at(low, middle), at(high, middle)];
                    for path in [along, whisker(low), whisker(high)] {
                        let style = BLACK.stroke_width(self.stroke(1.0));
                        area.draw(&PathElement::new(path, style))?;
                    }
                }
                let value = wording::number(point.x);
                let behind = right_of(at(point.x.max(high), middle));
                area.draw(&Text::new(value, behind, text.clone()))?;
            }
        }
        Ok(())
    }

    fn draw_dashes<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        ends: [Pixel; 2],
        colour: RGBColor,
        (dash, gap): (f64, f64),
    ) -> Drawn<B> {
        let style = colour.stroke_width(self.stroke(1.0));
        area.draw(&DashedPathElement::new(ends, self.pixels(dash), self.pixels(gap), style))
    }

    /// A marker; its shape belongs to the look.
    fn draw_marker<B: DrawingBackend>(&self, area: &Area<B>, at: Pixel, look: usize) -> Drawn<B> {
        let style = colour(look).filled();
        let corners: &[(f64, f64)] = match look % 8 {
            0 => return area.draw(&Circle::new(at, self.pixels(2.8), style)),
            1 => &[(-2.5, -2.5), (2.5, -2.5), (2.5, 2.5), (-2.5, 2.5)],
            2 => &[(0.0, -3.4), (3.2, 2.4), (-3.2, 2.4)],
            3 => &[(0.0, -3.8), (3.2, 0.0), (0.0, 3.8), (-3.2, 0.0)],
            4 => &[(0.0, 3.4), (3.2, -2.4), (-3.2, -2.4)],
            5 => &[(-4.0, -1.5), (4.0, -1.5), (4.0, 1.5), (-4.0, 1.5)],
            6 => &[(-1.5, -4.0), (1.5, -4.0), (1.5, 4.0), (-1.5, 4.0)],
            _ => &[(-2.4, -3.2), (3.4, 0.0), (-2.4, 3.2)],
        };
        let place = |(x, y): &(f64, f64)| (at.0 + self.pixels(*x), at.1 + self.pixels(*y));
        area.draw(&Polygon::new(corners.iter().map(place).collect::<Vec<_>>(), style))
    }

    /// Draws the legend above the axes, where it covers no line.
    fn draw_legend<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let text = TextStyle::from((FONT_NAME, LABEL_POINTS * self.scale).into_font())
            .pos(Pos::new(HPos::Left, VPos::Center));
        for ((name, sign), (row, left)) in self.legend.iter().zip(self.legend_places()) {
            let left = self.pixels(left);
            let middle = self.pixels(MARGIN_POINTS + LEGEND_ROW_POINTS * (row as f64 + 0.5));
            let right = left + self.pixels(SIGN_POINTS);
            let ends = [(left, middle), (right, middle)];
            let half = self.pixels(5.0);
            let corners = [(left, middle - half), (right, middle + half)];
            match *sign {
                Sign::Series(look, Form::Bars | Form::Rows) => {
                    area.draw(&Rectangle::new(corners, colour(look).filled()))?;
                }
                Sign::Series(look, _) => {
                    let style = colour(look).stroke_width(self.stroke(1.4));
                    area.draw(&PathElement::new(ends, style))?;
                    if look < SERIES_NAMED_MAX {
                        self.draw_marker(area, ((left + right) / 2, middle), look)?;
                    }
                }
                Sign::Median => self.draw_dashes(area, ends, BLACK, MEDIAN_DASHES)?,
                Sign::Rule(rule) => {
                    self.draw_dashes(area, ends, BLACK, RULE_DASHES[rule % RULE_DASHES.len()])?;
                }
                Sign::Window => area.draw(&Rectangle::new(corners, WINDOW.filled()))?,
            }
            // Letters without descenders look centred a little below the middle of their box.
            let beside = (right + self.pixels(6.0), middle + self.pixels(1.5));
            area.draw(&Text::new(name.clone(), beside, text.clone()))?;
        }
        Ok(())
    }
}

/// Height of a panel's rows, each.
fn row_points(panel: &Panel) -> f64 {
    ROW_NAME_POINTS + ROW_BAR_POINTS * panel.series.len() as f64 + ROW_FREE_POINTS
}

/// The colour of a look; those past the palette are black.
fn colour(look: usize) -> RGBColor {
    OKABE_ITO.get(look).copied().unwrap_or(BLACK)
}

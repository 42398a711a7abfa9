//! Pictures of a run and of tables of runs, drawn from saved logs and results alone.
//!
//! A run has these, each as SVG for papers and pages and as PNG for everything else:
//!
//! | name | what it shows |
//! |---|---|
//! | `ops` | throughput of each server over time, with its median in the measured window |
//! | `latency` | percentiles of each kind of operation, as the clients measured them |
//! | `server`, `client` | CPU and memory of the processes over time |
//! | `network` | bytes each way over time, against the link's speed |
//! | `share` | each server's part of all executed operations |
//!
//! A measured table becomes a picture by [`of_results`]: one column against another, with error
//! bars from its repeats. Where the one column holds names, each gets a row of lying bars with its
//! values behind them.
//!
//! `figure` is what a picture shows, `axis` where its labels stand, `render` how it is drawn.

mod axis;
mod figure;
mod render;
mod results;
mod run;

use std::path::{Path, PathBuf};
use std::sync::Once;

use plotters::prelude::*;

use crate::run_folder::{FolderError, RunFolder};
use crate::window::Window;
use figure::Figure;
use render::{FONT_NAME, Renderer};
#[cfg(test)]
pub(crate) use results::tests as tests_of_results;
pub use results::{Bars, Curve, CurveError, of_results};

/// Pixels per point. A PNG has 435 pixels per inch at a width of 84 mm; an SVG has whole pixels
/// only, so it is drawn larger and says at which size it is meant.
const SCALE_PNG: f64 = 4.0;
const SCALE_SVG: f64 = 4.0;

/// DejaVu Sans, reduced to Latin-1; its licence stands beside it.
const FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans-Latin1.ttf");

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
    /// What is to be drawn cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The picture could not be written.
    #[error("cannot write {}: {source}; name a folder that you may write to", path.display())]
    Write {
        /// The picture.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// One picture, not drawn yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The name of its files, without extension.
    pub name: String,
    /// What it shows, in one sentence.
    pub caption: String,
    figure: Figure,
}

impl Picture {
    /// The picture as SVG text, 84 mm wide at its own size.
    pub fn svg(&self) -> String {
        register_font();
        let renderer = Renderer::new(&self.figure, SCALE_SVG);
        let (size, (width, height)) = (renderer.size(), renderer.size_points());
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        renderer.draw(&area).expect("drawing into memory does not fail");
        drop(area);
        let drawn = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
        text.replacen(&drawn, &format!("width=\"{width}\" height=\"{height}\""), 1)
    }

    /// The picture as the bytes of a PNG file.
    pub fn png(&self) -> Vec<u8> {
        register_font();
        let renderer = Renderer::new(&self.figure, SCALE_PNG);
        let (width, height) = renderer.size();
        let mut pixels = vec![0; 3 * width as usize * height as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        renderer.draw(&area).expect("drawing into memory does not fail");
        drop(area);
        png_of(&pixels, width, height).expect("the pixels fill the picture")
    }

    /// Writes `<name>.svg` and `<name>.png` into a folder.
    pub fn write(&self, folder: &Path) -> Result<(), PlotError> {
        for (extension, bytes) in [("svg", self.svg().into_bytes()), ("png", self.png())] {
            let path = folder.join(format!("{}.{extension}", self.name));
            std::fs::write(&path, bytes).map_err(|source| PlotError::Write { path, source })?;
        }
        Ok(())
    }
}

/// The pictures that a run's folder has the data for; always throughput, if there is any.
pub fn of_run(run: &RunFolder, window: Option<Window>) -> Result<Vec<Picture>, PlotError> {
    run::pictures(run, window)
}

/// Draws a run's pictures into its folder.
pub fn draw(run: &RunFolder, window: Option<Window>) -> Result<(), PlotError> {
    of_run(run, window)?.iter().try_for_each(|picture| picture.write(&run.path))
}

fn png_of(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Default);
    // 1 point is 84 mm / 360.
    let per_metre = (SCALE_PNG * 360.0 / 0.084) as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: per_metre,
        yppu: per_metre,
        unit: png::Unit::Meter,
    }));
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(bytes)
}

fn register_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let registered = plotters::style::register_font(FONT_NAME, FontStyle::Normal, FONT);
        assert!(registered.is_ok(), "the bundled font is a TrueType font");
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::tests::{server_log, whole_run};

    #[test]
    fn both_forms_are_written() {
        let folder = whole_run("plots-both");
        draw(&RunFolder::read(&folder.0).unwrap(), None).unwrap();
        let svg = std::fs::read_to_string(folder.0.join("ops.svg")).unwrap();
        for text in ["time in s", "throughput in thousand op/s", "server 1", "server 2", "median"] {
            assert!(svg.contains(text), "{text} is in the picture");
        }
        assert!(!svg.contains("measured"), "no window is known");
        assert!(svg.contains("width=\"360\"") && svg.contains("viewBox=\"0 0 1440 "), "{svg}");
        let png = std::fs::read(folder.0.join("ops.png")).unwrap();
        assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
        assert!(png.len() > 10_000, "{} bytes", png.len());
    }

    #[test]
    fn the_same_data_make_the_same_picture() {
        let folder = whole_run("plots-same");
        let pictures = || of_run(&RunFolder::read(&folder.0).unwrap(), None).unwrap();
        for (one, other) in pictures().iter().zip(pictures()) {
            assert_eq!(one.png(), other.png());
            assert_eq!(one.svg(), other.svg());
        }
    }

    #[test]
    fn servers_that_did_nothing_are_drawn_at_zero() {
        let folder = whole_run("plots-idle");
        let text = server_log("1/2").replace("ops/s 1000.00", "ops/s 0.00");
        folder.file("kvs-server-1.log", &text);
        draw(&RunFolder::read(&folder.0).unwrap(), None).unwrap();
    }

    #[test]
    fn a_picture_that_cannot_be_written_is_named() {
        let folder = whole_run("plots-unwritable");
        let mut run = RunFolder::read(&folder.0).unwrap();
        run.path = folder.0.join("gone");
        run.description.clients = 0;
        let error = draw(&run, None).unwrap_err();
        assert!(matches!(error, PlotError::Write { .. }), "{error}");
        assert!(error.to_string().contains("ops.svg"), "{error}");
    }
}

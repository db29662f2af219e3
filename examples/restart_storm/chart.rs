//! The requests that reach the dependency over time, as an SVG that reads on light and on dark.

use std::{error::Error, path::Path};

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{BACK, DEPLOYMENT, DEPLOYMENT_TAKES, DOWN, END};

const SIZE: (u32, u32) = (900, 400);
/// On white as well as on black.
const TEXT: RGBColor = RGBColor(115, 124, 134);
const COLOURS: [RGBColor; 3] =
    [RGBColor(224, 60, 80), RGBColor(214, 148, 20), RGBColor(40, 150, 90)];
/// How many seconds make a point.
const AVERAGED: usize = 10;
/// The least value that the chart shows; it stands for 0 too.
const LEAST: f64 = 0.1;
const MOST: f64 = 3000.0;

type Lines = [(&'static str, Vec<u32>)];
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;

pub(crate) fn draw(path: &Path, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let mut chart = frame(&area)?;
    name_spans(&mut chart)?;
    for ((name, per_second), colour) in lines.iter().zip(COLOURS) {
        let points = per_second.chunks(AVERAGED).enumerate().map(|(number, chunk)| {
            let rate = f64::from(chunk.iter().sum::<u32>()) / chunk.len() as f64;
            ((number * AVERAGED) as f64 / 60.0, rate.max(LEAST))
        });
        let series = LineSeries::new(points, colour.stroke_width(2));
        let key = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3));
        chart.draw_series(series)?.label(*name).legend(key);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::Coordinate(330, 44))
        .label_font(("sans-serif", 14, &TEXT))
        .draw()?;
    area.present()?;
    Ok(())
}

fn frame<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let minutes = END.as_secs_f64() / 60.0;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(20)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..minutes, (LEAST..MOST).log_scale())?;
    chart
        .configure_mesh()
        .axis_style(TEXT)
        .bold_line_style(TEXT.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 13, &TEXT))
        .axis_desc_style(("sans-serif", 14, &TEXT))
        .x_desc("minutes")
        .x_labels(11)
        .x_label_formatter(&|minutes| format!("{minutes:.0}"))
        .y_desc("requests a second that reach the dependency")
        .y_label_formatter(&|rate| if *rate <= LEAST { "0".to_owned() } else { rate.to_string() })
        .draw()?;
    Ok(chart)
}

/// Marks when the dependency is down, and when the replicas are deployed.
fn name_spans(chart: &mut Chart<'_, '_>) -> Result<(), Box<dyn Error>> {
    let minutes = |time: std::time::Duration| time.as_secs_f64() / 60.0;
    let deployed = (DEPLOYMENT, DEPLOYMENT + DEPLOYMENT_TAKES);
    let centre = Pos::new(HPos::Center, VPos::Center);
    for ((from, to), top, bottom, what) in [
        ((DOWN, BACK), MOST, MOST * 0.5, "the dependency is down"),
        (deployed, MOST * 0.45, MOST * 0.22, "all replicas are deployed, one after the other"),
    ] {
        let (from, to) = (minutes(from), minutes(to));
        let corners = [(from, top), (to, bottom)];
        chart.draw_series([Rectangle::new(corners, TEXT.mix(0.12).filled())])?;
        let middle = (f64::midpoint(from, to), (top * bottom).sqrt());
        let style = ("sans-serif", 13, &TEXT).into_text_style(chart.plotting_area()).pos(centre);
        chart.draw_series([Text::new(what, middle, style)])?;
    }
    Ok(())
}

//! Colours: the same meaning in light and dark. They can be told apart with the common kinds of colour blindness, and
//! none of them stands alone: a word, a dash or a number always says the same.

use eframe::egui::{Color32, Ui};

use crate::engine::{Lane, Stage};

/// Stops of the heat map, from nothing to most; brightness grows steadily, so that it reads in grey too.
const HEAT: [[u8; 3]; 9] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 73, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [144, 215, 67],
    [253, 231, 37],
];

/// Colours of lines after Okabe and Ito: on dark, and a darker shade of the same hue on light.
const SERIES: [[(u8, u8, u8); 2]; 7] = [
    [(86, 180, 233), (0, 105, 170)],
    [(230, 159, 0), (176, 96, 0)],
    [(40, 190, 140), (0, 120, 88)],
    [(225, 140, 190), (160, 70, 125)],
    [(240, 228, 66), (122, 112, 0)],
    [(240, 120, 60), (190, 70, 10)],
    [(190, 190, 190), (85, 85, 85)],
];

fn shade(pair: [(u8, u8, u8); 2], dark: bool) -> Color32 {
    let (r, g, b) = pair[usize::from(!dark)];
    Color32::from_rgb(r, g, b)
}

/// The colour of a share, 0 to 1; numbers outside and NaN are brought inside.
#[must_use]
pub fn heat(v: f32) -> Color32 {
    let v = if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) };
    let at = v * (HEAT.len() - 1) as f32;
    let low = (at as usize).min(HEAT.len() - 2);
    let t = at - low as f32;
    let mixed = |c: usize| (f32::from(HEAT[low][c]) * (1.0 - t) + f32::from(HEAT[low + 1][c]) * t).round() as u8;
    Color32::from_rgb(mixed(0), mixed(1), mixed(2))
}

/// Black or white, whichever reads better on `fill`.
#[must_use]
pub fn ink_on(fill: Color32) -> Color32 {
    if brightness(fill) > 0.20 { Color32::BLACK } else { Color32::WHITE }
}

/// Relative luminance, 0 to 1, as WCAG defines it.
fn brightness(c: Color32) -> f32 {
    let linear = |v: u8| {
        let v = f32::from(v) / 255.0;
        if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(c.r()) + 0.7152 * linear(c.g()) + 0.0722 * linear(c.b())
}

/// Contrast of two opaque colours, 1 to 21, as WCAG defines it.
#[must_use]
pub fn contrast(a: Color32, b: Color32) -> f32 {
    let (a, b) = (brightness(a), brightness(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Colour number `i` of lines; repeats after seven.
#[must_use]
pub fn series(i: usize, dark: bool) -> Color32 {
    shade(SERIES[i % SERIES.len()], dark)
}

/// Colour of a model.
#[must_use]
pub fn lane(lane: Lane, dark: bool) -> Color32 {
    match lane {
        Lane::Hive => series(0, dark),
        Lane::Control => series(1, dark),
    }
}

/// Colour of a stage.
#[must_use]
pub fn stage(stage: Stage, dark: bool) -> Color32 {
    match stage {
        Stage::Connector => series(0, dark),
        Stage::Adaptation => series(2, dark),
        Stage::Vision => series(3, dark),
    }
}

/// For what is right or succeeded.
#[must_use]
pub fn good(ui: &Ui) -> Color32 {
    series(2, ui.visuals().dark_mode)
}

/// For what is wrong or failed.
#[must_use]
pub fn bad(ui: &Ui) -> Color32 {
    series(5, ui.visuals().dark_mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_grows_brighter_all_the_way() {
        let steps: Vec<f32> = (0..=64).map(|i| brightness(heat(i as f32 / 64.0))).collect();
        assert!(steps.windows(2).all(|w| w[1] > w[0]), "{steps:?}");
        assert_eq!(heat(f32::NAN), heat(0.0));
        assert_eq!((heat(-1.0), heat(2.0)), (heat(0.0), heat(1.0)));
    }

    #[test]
    fn text_reads_on_every_heat() {
        for i in 0..=64 {
            let fill = heat(i as f32 / 64.0);
            assert!(contrast(fill, ink_on(fill)) > 4.0, "{fill:?}");
        }
    }

    #[test]
    fn lines_read_on_light_and_dark() {
        for i in 0..SERIES.len() {
            let (dark, light) = (contrast(series(i, true), Color32::from_gray(27)), Color32::from_gray(248));
            assert!(dark > 4.5, "{i}: {dark}");
            assert!(contrast(series(i, false), light) > 4.0, "{i}: {}", contrast(series(i, false), light));
        }
    }
}

//! How a published model wants its pictures: `preprocessor_config.json`, or the same inside `processor_config.json`.

use serde_json::Value;

use super::config::ModelSpec;
use super::error::{FilesError, shown};
use super::folder::Folder;
use super::json::{Keys, parse};
use crate::data::image::{Filter, Fit, Preprocess};
use crate::model::config::Wiring;

const PREPROCESSOR: &str = "preprocessor_config.json";
const PROCESSOR: &str = "processor_config.json";
/// Mean and deviation of the pictures that CLIP was trained on.
const CLIP: [[f64; 3]; 2] = [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]];

/// A class of processors, for what its configuration leaves out.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Siglip,
    Clip,
    Llava,
}

/// How pictures become the model's pixels.
///
/// # Errors
/// A processor or an option that Hive does not compute, by its name; a file that is damaged.
pub async fn preprocess(folder: &Folder, spec: &ModelSpec) -> Result<Preprocess, FilesError> {
    let side = spec.config.vision_config.image_size;
    let own = Preprocess { background: spec.background, ..Preprocess::new(side) };
    // Runs of this program, which say what shines through, squash pictures in either wiring.
    if spec.background.is_some() {
        return Ok(own);
    }
    for file in [PREPROCESSOR, PROCESSOR] {
        let Some(text) = folder.text(file).await? else { continue };
        let value: Value = parse(file, text.as_bytes())?;
        let top = Keys::of(&value, file, "")?;
        let inner = if file == PROCESSOR { top.object("image_processor", "image_processor.")? } else { Some(top) };
        if let Some(keys) = inner {
            return read(keys, side);
        }
    }
    // Without a file: as the models of that class were trained.
    let fit = if spec.kind == Wiring::Flattened { Fit::Pad } else { Fit::Squash };
    Ok(Preprocess { fit, ..own })
}

fn class(keys: Keys<'_>) -> Result<Class, FilesError> {
    let (old, new) = ("feature_extractor_type", "image_processor_type");
    let key = if keys.has(new) { new } else { old };
    let Some(name) = keys.text(key)? else {
        return Err(keys.fault(new, "is missing: it says how pictures become pixels. Download the file again"));
    };
    let bare =
        ["Fast", "Pil", "ImageProcessor", "FeatureExtractor"].iter().fold(name, |n, end| n.trim_end_matches(end));
    match bare {
        "Siglip" => Ok(Class::Siglip),
        "CLIP" => Ok(Class::Clip),
        "Llava" => Ok(Class::Llava),
        _ => Err(keys.fault(
            key,
            &format!(
                "is {}; SiglipImageProcessor, CLIPImageProcessor and LlavaImageProcessor are what Hive computes",
                shown(name)
            ),
        )),
    }
}

/// Height and width, or the shorter side alone.
#[derive(PartialEq)]
enum Size {
    Both(usize, usize),
    Shorter(usize),
}

fn size(keys: Keys<'_>, key: &str, class: Class) -> Result<Option<Size>, FilesError> {
    if keys.value(key).is_some_and(Value::is_number) {
        let side = keys.size(key)?;
        let shorter = class != Class::Siglip && key == "size";
        return Ok(side.map(|side| if shorter { Size::Shorter(side) } else { Size::Both(side, side) }));
    }
    let Some(sides) = keys.object(key, "size.")? else { return Ok(None) };
    match (sides.size("height")?, sides.size("width")?, sides.size("shortest_edge")?) {
        (Some(height), Some(width), None) => Ok(Some(Size::Both(height, width))),
        (None, None, Some(side)) => Ok(Some(Size::Shorter(side))),
        _ => Err(keys.fault(key, "must have height and width, or shortest_edge alone")),
    }
}

fn channels(keys: Keys<'_>, key: &str) -> Result<Option<[f64; 3]>, FilesError> {
    let Some(value) = keys.value(key) else { return Ok(None) };
    let list = value.as_array().map(|list| list.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
    let three = list.or(value.as_f64().map(|one| vec![one; 3])).and_then(|list| <[f64; 3]>::try_from(list).ok());
    three.map(Some).ok_or_else(|| keys.fault(key, "must be three numbers, one for red, green and blue each"))
}

fn read(keys: Keys<'_>, side: usize) -> Result<Preprocess, FilesError> {
    let class = class(keys)?;
    let on = |key: &str, default| keys.flag(key).map(|flag| flag.unwrap_or(default));
    if !on("do_resize", true)? {
        return Err(keys.fault("do_resize", "is false; pictures of any size are made to fit"));
    }
    let default = if class == Class::Siglip { Size::Both(224, 224) } else { Size::Shorter(224) };
    let resized = size(keys, "size", class)?.unwrap_or(default);
    let crop = on("do_center_crop", class != Class::Siglip)?;
    let cut = if crop { Some(size(keys, "crop_size", class)?.unwrap_or(Size::Both(224, 224))) } else { None };
    let pad = on("do_pad", false)? && class == Class::Llava;
    let (fit, resize) = match resized {
        Size::Both(height, width) if height == width => (Fit::Squash, height),
        Size::Shorter(side) => (Fit::Crop, side),
        Size::Both(..) => return Err(keys.fault("size", "is no square; squares are what the tower sees")),
    };
    let is_side = |cut: &Size| matches!(cut, Size::Both(h, w) if *h == side && *w == side);
    let fits = match &cut {
        Some(cut) => is_side(cut) && resize >= side,
        None => resize == side && (fit == Fit::Squash || pad),
    };
    if !fits {
        let text = format!("and crop_size do not give {side} x {side} pixels, which vision_config.image_size asks for");
        return Err(keys.fault("size", &text));
    }
    let number = keys.size("resample")?.unwrap_or(3);
    let unknown = || keys.fault("resample", &format!("is {number}; 0 to 5 are Pillow's filters"));
    let [mean, deviation] = if class == Class::Siglip { [[0.5; 3]; 2] } else { CLIP };
    let normalize = on("do_normalize", true)?;
    let (mean, deviation) =
        (channels(keys, "image_mean")?.unwrap_or(mean), channels(keys, "image_std")?.unwrap_or(deviation));
    if deviation.contains(&0.0) {
        return Err(keys.fault("image_std", "has a 0, by which nothing can be divided"));
    }
    let factor = keys.number("rescale_factor")?.filter(|factor| (factor * 255.0 - 1.0).abs() > 1e-9);
    Ok(Preprocess {
        image_size: side,
        // A square is cut as it is.
        fit: if pad { Fit::Pad } else { fit },
        resize: (resize != side).then_some(resize),
        filter: Filter::numbered(number).ok_or_else(unknown)?,
        rescale: if on("do_rescale", true)? { factor } else { Some(1.0) },
        image_mean: if normalize { mean } else { [0.0; 3] },
        image_std: if normalize { deviation } else { [1.0; 3] },
        background: None,
    })
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;

//! How a published model wants its pictures: `preprocessor_config.json`, or the same inside `processor_config.json`.

use serde_json::Value;

use super::config::ModelSpec;
use super::error::{FilesError, shown};
use super::folder::Folder;
use super::json::{Keys, parse};
use crate::data::image::{Filter, Fit, Preprocess};
use crate::data::tags::Tags;
use crate::data::tiles::{Cut, Recipe};
use crate::model::config::Wiring;

const PREPROCESSOR: &str = "preprocessor_config.json";
const PROCESSOR: &str = "processor_config.json";
/// Mean and deviation of the pictures that CLIP was trained on.
const CLIP: [[f64; 3]; 2] = [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]];

/// Most rows of the text, and pixels of all squares, that a picture becomes: far more than any published model has.
const MOST_ROWS: usize = 1 << 16;
const MOST_PIXELS: usize = 1 << 24;
/// Most pixels of a picture's longer side before it is cut.
const MOST_LONGEST: usize = 4096;
/// Most squares that a picture is high or wide.
pub(super) const MOST_SIDE: usize = 16;

/// A class of processors, for what its configuration leaves out.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Siglip,
    Clip,
    Llava,
    Idefics3,
    Onevision,
}

/// How pictures become the model's pixels.
///
/// # Errors
/// A processor or an option that Hive does not compute, by its name; a file that is damaged.
pub async fn recipe(folder: &Folder, spec: &ModelSpec) -> Result<Recipe, FilesError> {
    let recipe = said(folder, spec).await?;
    let (rows, pixels) = (recipe.most_rows(spec.config.image_rows().isqrt()), recipe.most_pixels());
    if rows > MOST_ROWS || pixels > MOST_PIXELS {
        let text = format!(
            "cuts pictures into up to {pixels} pixels and {rows} rows of text; {MOST_PIXELS} and {MOST_ROWS} are the most"
        );
        return Err(FilesError::Config { file: PREPROCESSOR.to_owned(), text });
    }
    Ok(recipe)
}

async fn said(folder: &Folder, spec: &ModelSpec) -> Result<Recipe, FilesError> {
    let side = spec.config.vision_config.image_size;
    let own = Preprocess { background: spec.background, ..Preprocess::new(side) };
    // Runs of this program, which say what shines through, squash pictures in either wiring.
    if spec.background.is_some() {
        return Ok(own.into());
    }
    if let Some(recipe) = &spec.family.recipe {
        return Ok(recipe.clone());
    }
    let framed = spec.family.tags == Tags::Framed;
    // What newer versions write inside the processor's file counts first.
    let mut found = None;
    for file in [PROCESSOR, PREPROCESSOR] {
        let Some(text) = folder.text(file).await? else { continue };
        let value: Value = parse(file, text.as_bytes())?;
        let top = Keys::of(&value, file, "")?;
        let inner = if file == PROCESSOR { top.object("image_processor", "image_processor.")? } else { Some(top) };
        let rows = spec.config.image_rows();
        if let Some(said) = top.size("image_seq_len")?.filter(|said| framed && *said != rows) {
            let text = format!("is {said}, and by config.json a square becomes {rows} rows: download both files again");
            return Err(top.fault("image_seq_len", &text));
        }
        if let (Some(keys), None) = (inner, &found) {
            found = Some(read(keys, spec)?);
        }
    }
    if let Some(recipe) = found {
        return Ok(recipe);
    }
    // Without a file: as the models of that class were trained.
    let fit = if spec.kind == Wiring::Flattened { Fit::Pad } else { Fit::Squash };
    match (&spec.family.cut, framed) {
        (None, false) => Ok(Preprocess { fit, ..own }.into()),
        // How its pictures are cut is nowhere else.
        _ => {
            let text = "it is missing, and says how pictures are cut: download it again".to_owned();
            Err(FilesError::Config { file: PREPROCESSOR.to_owned(), text })
        }
    }
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
        "Idefics3" | "SmolVLM" => Ok(Class::Idefics3),
        "LlavaOnevision" => Ok(Class::Onevision),
        _ => Err(keys.fault(
            key,
            &format!(
                "is {}; those of SigLIP, CLIP, Llava, LLaVA-OneVision, Idefics3 and SmolVLM are what Hive computes",
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

fn read(keys: Keys<'_>, spec: &ModelSpec) -> Result<Recipe, FilesError> {
    let (class, side) = (class(keys)?, spec.config.vision_config.image_size);
    if keys.flag("do_resize")? == Some(false) {
        return Err(keys.fault("do_resize", "is false; pictures of any size are made to fit"));
    }
    let framed = spec.family.tags == Tags::Framed;
    if framed != (class == Class::Idefics3) || spec.family.cut.is_some() != (class == Class::Onevision) {
        let name = keys.text("image_processor_type")?.or(keys.text("feature_extractor_type")?).unwrap_or_default();
        let text = format!("is {}, of another family than config.json: download both files again", shown(name));
        return Err(keys.fault("image_processor_type", &text));
    }
    match class {
        Class::Idefics3 => rows(keys, side),
        Class::Onevision => sizes(keys, side, &spec.family.cut),
        Class::Siglip | Class::Clip | Class::Llava => square(keys, class, side).map(Recipe::from),
    }
}

/// The longest edge of an object, for Idefics3.
fn longest(keys: Keys<'_>, key: &str, default: usize) -> Result<usize, FilesError> {
    let Some(object) = keys.object(key, "")? else { return Ok(default) };
    object.size("longest_edge")?.ok_or_else(|| keys.fault(key, "must have longest_edge"))
}

/// Idefics3 and `SmolVLM`.
fn rows(keys: Keys<'_>, side: usize) -> Result<Recipe, FilesError> {
    let (longest, tile) = (longest(keys, "size", 4 * 364)?, longest(keys, "max_image_size", 364)?);
    if tile != side {
        let text = format!("is {tile}, and vision_config.image_size {side}; they must be the same");
        return Err(keys.fault("max_image_size", &text));
    }
    if longest == 0 || longest > MOST_LONGEST || longest.div_ceil(tile) > MOST_SIDE {
        let text = format!("is {longest}; up to {} is what Hive cuts", MOST_LONGEST.min(MOST_SIDE * tile));
        return Err(keys.fault("size", &text));
    }
    let split = keys.flag("do_image_splitting")?.unwrap_or(true);
    let square = normalised(keys, &Preprocess { filter: filter(keys, 1)?, ..Preprocess::new(side) }, [[0.5; 3]; 2])?;
    Ok(Recipe { square, cut: Cut::Rows { longest, split } })
}

/// LLaVA-OneVision: which sizes there are stands in either file.
fn sizes(keys: Keys<'_>, side: usize, cut: &Option<Cut>) -> Result<Recipe, FilesError> {
    let resized = size(keys, "size", Class::Siglip)?.unwrap_or(Size::Both(384, 384));
    if resized != Size::Both(side, side) {
        let text = format!("does not give {side} x {side} pixels, which vision_config.image_size asks for");
        return Err(keys.fault("size", &text));
    }
    let square = Preprocess { filter: filter(keys, 3)?, ..Preprocess::new(side).padded() };
    let cut = cut.clone().unwrap_or(Cut::Whole);
    if let (Some(list), Cut::Sizes { sizes, .. }) = (keys.value("image_grid_pinpoints"), &cut)
        && *list != serde_json::json!(sizes)
    {
        return Err(keys.fault("image_grid_pinpoints", "are not those of config.json: download both files again"));
    }
    Ok(Recipe { square: normalised(keys, &square, CLIP)?, cut })
}

fn filter(keys: Keys<'_>, default: usize) -> Result<Filter, FilesError> {
    let number = keys.size("resample")?.unwrap_or(default);
    Filter::numbered(number).ok_or_else(|| keys.fault("resample", &format!("is {number}; 0 to 5 are Pillow's filters")))
}

/// With mean, deviation and scale as the file says them; `default` are the class' own.
fn normalised(keys: Keys<'_>, square: &Preprocess, default: [[f64; 3]; 2]) -> Result<Preprocess, FilesError> {
    let on = |key: &str| keys.flag(key).map(|flag| flag.unwrap_or(true));
    let [mean, deviation] = default;
    let (mean, deviation) =
        (channels(keys, "image_mean")?.unwrap_or(mean), channels(keys, "image_std")?.unwrap_or(deviation));
    if deviation.contains(&0.0) {
        return Err(keys.fault("image_std", "has a 0, by which nothing can be divided"));
    }
    let factor = keys.number("rescale_factor")?.filter(|factor| (factor * 255.0 - 1.0).abs() > 1e-9);
    let normalize = on("do_normalize")?;
    Ok(Preprocess {
        rescale: if on("do_rescale")? { factor } else { Some(1.0) },
        image_mean: if normalize { mean } else { [0.0; 3] },
        image_std: if normalize { deviation } else { [1.0; 3] },
        ..square.clone()
    })
}

fn square(keys: Keys<'_>, class: Class, side: usize) -> Result<Preprocess, FilesError> {
    let on = |key: &str, default| keys.flag(key).map(|flag| flag.unwrap_or(default));
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
    let default = if class == Class::Siglip { [[0.5; 3]; 2] } else { CLIP };
    let square = Preprocess {
        // A square is cut as it is.
        fit: if pad { Fit::Pad } else { fit },
        resize: (resize != side).then_some(resize),
        filter: filter(keys, 3)?,
        ..Preprocess::new(side)
    };
    normalised(keys, &square, default)
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;

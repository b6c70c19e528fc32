//! Pictures of `hive ask` and `hive chat`: read, cut into squares, and what they cost; answers about pages.

use std::path::Path;

use super::args::Args;
use super::folder::picture_file;
use super::{Fault, warn};
use crate::data::doctags;
use crate::data::image::{Rgb, decode};
use crate::data::tiles::{Cut, Picture, Recipe};
use crate::engine::answers::open::ModelFolder;

/// A picture file.
pub(super) fn seen(recipe: Option<&Recipe>, image: &str) -> Result<Rgb, Fault> {
    let Some(recipe) = recipe else {
        return Err(Fault::Failed("this model takes no pictures: ask it without one, with hive chat".into()));
    };
    let path = Path::new(image);
    let bytes = picture_file(path).map_err(|e| Fault::unreadable(path, &e))?;
    decode(&bytes, image, recipe.square.background).map_err(|e| Fault::Failed(e.to_string()))
}

/// Pictures of a conversation, as the model wants them.
pub(super) fn squares(recipe: Option<&Recipe>, pictures: &[Rgb]) -> Vec<Picture> {
    let all = recipe.iter().flat_map(|recipe| pictures.iter().map(|p| recipe.picture(p, pictures.len() == 1)));
    all.collect()
}

/// Says what pictures take, before anything runs; nothing of a model that sees each as one small square.
pub(super) fn say_cost(folder: Option<&ModelFolder>, pictures: &[Picture]) {
    let Some((folder, recipe)) = folder.and_then(|f| Some((f, f.recipe()?))) else { return };
    let squares: usize = pictures.iter().map(|p| p.squares).sum();
    if squares == 0 || recipe.cut == Cut::Whole {
        return;
    }
    let side = folder.spec.config.image_rows().isqrt();
    let rows: usize = pictures.iter().map(|p| recipe.rows(p, side, 0).len()).sum();
    let (pixels, work) = (folder.spec.config.vision_config.image_size, folder.tower_teraflops(squares));
    let hint = if squares > pictures.len() { ". --tiles 1 takes one square a picture" } else { "" };
    let one = if squares == 1 { "square" } else { "squares" };
    let verb = if squares == 1 { "becomes" } else { "become" };
    warn(&format!(
        "({squares} {one} of {pixels} x {pixels} pixels {verb} {rows} tokens; {work:.2} teraflop for the tower{hint})\n"
    ));
}

/// What an answer in `DocTags` is made to, if anything.
pub(super) type Form = fn(&str) -> String;

pub(super) fn form(args: &Args) -> Result<Option<Form>, Fault> {
    match args.option("as") {
        None => Ok(None),
        Some("markdown") => Ok(Some(doctags::markdown)),
        Some("html") => Ok(Some(|text| format!("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n{}", doctags::html(text)))),
        Some(other) => Err(Fault::usage(format!("--as is markdown or html, not {other}"))),
    }
}

//! Pictures as textures, uploaded once.

use std::sync::Arc;

use eframe::egui::{ColorImage, Context, TextureHandle, TextureOptions};

use crate::data::worlds::to_rgb8;

/// A texture that is made again only when other pixels come.
#[derive(Default)]
pub struct Thumb {
    made: Option<(Arc<Vec<f32>>, TextureHandle)>,
}

/// (S, S, 3) bytes and S of pixels (3, S, S); none where that is no square. In grey on request.
#[must_use]
pub fn bytes(pixels: &[f32], grey: bool) -> Option<(Vec<u8>, usize)> {
    let side = (pixels.len() / 3).isqrt();
    if side == 0 || pixels.len() != 3 * side * side {
        return None;
    }
    let mut rgb = to_rgb8(pixels);
    if grey {
        for p in rgb.chunks_exact_mut(3) {
            let level = (0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])).round() as u8;
            p.fill(level);
        }
    }
    Some((rgb, side))
}

impl Thumb {
    /// The texture of these pixels. Small pictures are shown with hard pixels, as the model gets them.
    pub fn texture(&mut self, ctx: &Context, pixels: &Arc<Vec<f32>>, grey: bool) -> Option<TextureHandle> {
        if let Some((old, texture)) = &self.made
            && Arc::ptr_eq(old, pixels)
        {
            return Some(texture.clone());
        }
        let (rgb, side) = bytes(pixels, grey)?;
        let image = ColorImage::from_rgb([side, side], &rgb);
        let options = if side <= 96 { TextureOptions::NEAREST } else { TextureOptions::LINEAR };
        let texture = ctx.load_texture("picture", image, options);
        self.made = Some((Arc::clone(pixels), texture.clone()));
        Some(texture)
    }
}

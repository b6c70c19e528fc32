//! Text rows and image rows of each sample in one tensor, the paper's `[text ; image]`, and rotation on the way: rows move
//! between tensors of (B rows, heads D) by `ops::rope`.

use std::ops::Range;

use super::self_attention::Sequence;
use crate::gpu::{Recorder, Tensor};
use crate::ops::rope::{self, Move, Table, To};

impl Sequence {
    /// Rows x rotated by angles, one row of them for each.
    pub(super) fn rotate(&self, r: &mut Recorder, x: &Tensor, angles: &Table) -> Tensor {
        let y = r.alloc(x.shape().dims(), "rotated");
        self.put(r, x, &y, To::Row(0), Some(angles));
        y
    }

    /// Gradient of [`Self::rotate`].
    pub(super) fn rotate_back(&self, r: &mut Recorder, dy: &Tensor, angles: &Table) -> Tensor {
        self.part(r, dy, 0..self.per_sample(dy), Some(angles))
    }

    /// `[text ; image]`, (B (T + N), C) from (B T, C) and (B N, C), each row rotated by its row of angles, if there are any.
    pub(super) fn join(&self, r: &mut Recorder, text: &Tensor, image: &Tensor, angles: Option<&Table>) -> Tensor {
        let (t, n) = (self.per_sample(text), self.per_sample(image));
        let y = r.alloc([self.layout.batch * (t + n), text.shape().cols()], "text and image");
        self.put(r, text, &y, To::Row(0), angles);
        self.put(r, image, &y, To::Row(t), angles.map(|a| a.after(t)).as_ref());
        y
    }

    /// Gradient of [`Self::join`] with respect to the text.
    pub(super) fn text_part(&self, r: &mut Recorder, dy: &Tensor, angles: Option<&Table>) -> Tensor {
        self.part(r, dy, 0..self.layout.text, angles)
    }

    /// Gradient of [`Self::join`] with respect to the image.
    pub(super) fn image_part(&self, r: &mut Recorder, dy: &Tensor, angles: Option<&Table>) -> Tensor {
        self.part(r, dy, self.layout.text..self.per_sample(dy), angles)
    }

    /// Text rows into a cache, at the `start` of each sample, rotated if there are angles.
    pub(super) fn append(&self, r: &mut Recorder, x: &Tensor, cache: &Tensor, angles: Option<&Table>) {
        self.put(r, x, cache, To::Start, angles);
    }

    /// Image rows into a cache, after the room for text.
    pub(super) fn put_image(&self, r: &mut Recorder, x: &Tensor, cache: &Tensor) {
        self.put(r, x, cache, To::Row(self.layout.text), None);
    }

    fn per_sample(&self, x: &Tensor) -> usize {
        x.shape().rows() / self.layout.batch
    }

    /// All rows x into y.
    fn put(&self, r: &mut Recorder, x: &Tensor, y: &Tensor, to: To, angles: Option<&Table>) {
        let all = Move { count: self.per_sample(x), from: 0, to, angles, back: false };
        rope::rotate(r, &self.rows, x, y, all);
    }

    /// Rows of each sample, rotated back.
    fn part(&self, r: &mut Recorder, x: &Tensor, rows: Range<usize>, angles: Option<&Table>) -> Tensor {
        let y = r.alloc([self.layout.batch * rows.len(), x.shape().cols()], "part");
        let angles = angles.map(|a| a.after(rows.start));
        let part = Move { count: rows.len(), from: rows.start, to: To::Row(0), angles: angles.as_ref(), back: true };
        rope::rotate(r, &self.rows, x, &y, part);
        y
    }
}

//! From states of the tower to rows of a text: the flattened wiring, and how published vision-language models do it. The tower's
//! last norm or none; cells of several patches as one row, or none; two layers with a GELU between, or one matrix.

use super::{Footprint, LayerNorm, Linear, Params, Projector, Role, Stack, projector};
use crate::gpu::{Dest, Recorder, Tensor};
use crate::ops::{embed, layer_norm};

/// The matrices.
#[derive(Clone, Debug)]
pub enum Layers {
    /// Linear, GELU, Linear.
    Two(Projector),
    /// Linear.
    One(Linear),
}

/// Parameters, and what has none.
#[derive(Clone, Debug)]
pub struct ImageProjector {
    /// The tower's last norm, where it is taken.
    pub norm: Option<LayerNorm>,
    /// Patches per side of a picture.
    pub side: usize,
    /// Patches per side of a cell, which becomes one row: its rows, inside them its columns, inside them the channels.
    pub cell: usize,
    /// The matrices.
    pub layers: Layers,
    /// (C): stands at the end of each row of a picture, for families that have it.
    pub newline: Option<super::ParamId>,
}

/// What backward needs.
#[must_use]
pub struct Saved {
    norm: Option<layer_norm::Saved>,
    layers: SavedLayers,
}

enum SavedLayers {
    Two(projector::Saved),
    One(Tensor),
}

impl ImageProjector {
    /// How its weights lie in packed matrices.
    #[must_use]
    pub fn stacks(&self) -> Vec<Stack> {
        match &self.layers {
            Layers::Two(layers) => layers.stacks().into(),
            Layers::One(matrix) => vec![Stack::of(Role::Link, &[matrix])],
        }
    }

    /// n: rows that a picture becomes.
    #[must_use]
    pub fn rows(&self) -> usize {
        (self.side / self.cell) * (self.side / self.cell)
    }

    /// The state as it is projected: normed, where it is.
    pub fn read(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> Tensor {
        self.norm.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(r, p, x).0)
    }

    /// (B n, C) from a state (B N, W).
    pub fn forward(&self, r: &mut Recorder, p: &Params, x: &Tensor) -> (Tensor, Saved) {
        let (mut x, mut norm) = (x.clone(), None);
        if let Some(layer) = &self.norm {
            let (y, saved) = layer.forward(r, p, &x);
            (x, norm) = (y, Some(saved));
        }
        if self.cell > 1 {
            let dims = [x.shape().rows() / (self.cell * self.cell), x.shape().cols() * self.cell * self.cell];
            x = self.moved(r, &x, false).reshaped(dims);
        }
        match &self.layers {
            Layers::Two(layers) => {
                let (y, saved) = layers.forward(r, p, &x);
                (y, Saved { norm, layers: SavedLayers::Two(saved) })
            }
            Layers::One(matrix) => {
                let y = matrix.forward(r, p, &x);
                (y, Saved { norm, layers: SavedLayers::One(x) })
            }
        }
    }

    /// Patches (B N, W) in the order of cells, or `back`.
    fn moved(&self, r: &mut Recorder, x: &Tensor, back: bool) -> Tensor {
        let (patches, order) = (self.side * self.side, cells(self.side, self.cell));
        let mut ids = vec![0; x.shape().rows()];
        for (i, from) in (0..ids.len()).map(|i| (i, i / patches * patches + order[i % patches])) {
            let (to, from) = if back { (from, i) } else { (i, from) };
            ids[to] = from as u32;
        }
        let ids = r.gpu().upload_u32(&ids, [ids.len()], "cells");
        embed::forward(r, &ids, x)
    }

    /// Forward's temporaries for one picture, from width w to c; the last is the result.
    pub fn footprint(&self, b: &mut Footprint, w: usize, c: usize) {
        let (patches, n) = (self.side * self.side, self.rows());
        if self.norm.is_some() {
            b.take([patches * w, 2 * patches]);
        }
        if self.cell > 1 {
            b.take([patches * w]);
        }
        let wide = w * self.cell * self.cell;
        match &self.layers {
            Layers::Two(_) => Projector::footprint(b, n, wide, c),
            Layers::One(_) => b.linear(n, wide, c),
        }
    }

    /// Parameter gradients, and dx if someone needs it.
    pub fn backward(&self, r: &mut Recorder, p: &Params, saved: Saved, dy: &Tensor, dx: Option<Dest<'_>>) {
        let Some(dx) = dx else {
            match (&self.layers, saved.layers) {
                (Layers::Two(layers), SavedLayers::Two(saved)) => layers.backward(r, p, saved, dy, None),
                (Layers::One(matrix), SavedLayers::One(x)) => matrix.backward(r, p, &x, dy, None),
                _ => {}
            }
            return;
        };
        let plain = self.cell == 1 && self.norm.is_none();
        let wide = match (&self.layers, saved.layers) {
            (Layers::Two(layers), SavedLayers::Two(saved)) if plain => {
                return layers.backward(r, p, saved, dy, Some(dx));
            }
            (Layers::Two(layers), SavedLayers::Two(saved)) => {
                let wide = r.alloc(saved.input().shape().dims(), "gradient of cells");
                layers.backward(r, p, saved, dy, Some(Dest::Write(&wide)));
                wide
            }
            (Layers::One(matrix), SavedLayers::One(x)) => {
                let wide = r.alloc(x.shape().dims(), "gradient of cells");
                matrix.backward(r, p, &x, dy, Some(Dest::Write(&wide)));
                wide
            }
            _ => return,
        };
        let cells = self.cell * self.cell;
        let patches = [wide.shape().rows() * cells, wide.shape().cols() / cells];
        let wide = wide.reshaped(patches);
        let state = if self.cell > 1 { self.moved(r, &wide, true) } else { wide };
        match (&self.norm, saved.norm) {
            (Some(norm), Some(saved)) => norm.backward(r, p, saved, &state, Some(dx)),
            // It is written to, never added to: a state has no other reader in this wiring.
            _ => r.copy(&state, dx.tensor()),
        }
    }
}

/// Which patch stands at each place, where patches stand cell by cell.
fn cells(side: usize, cell: usize) -> Vec<usize> {
    let per = side / cell;
    let at = |i: usize| {
        let (inside, whole) = (i % (cell * cell), i / (cell * cell));
        let (row, column) = (whole / per * cell + inside / cell, whole % per * cell + inside % cell);
        row * side + column
    };
    (0..per * per * cell * cell).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::cells;

    #[test]
    fn cells_have_their_rows_then_their_columns() {
        assert_eq!(cells(4, 2), [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        assert_eq!(cells(2, 1), [0, 1, 2, 3]);
    }
}

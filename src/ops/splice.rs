//! Image rows inside a text sequence: what the flattened control does with its image tokens. See `docs/MATH.md#splice`.

use super::case::{Array, Built, Case};
use super::elementwise;
use crate::gpu::kernels::splice as k;
use crate::gpu::{KernelDef, Recorder, Sabotage, Tensor};

/// Sizes of a spliced sequence.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// B.
    pub batch: usize,
    /// T.
    pub text: usize,
    /// N.
    pub image: usize,
    /// C.
    pub cols: usize,
}

impl Sizes {
    fn run(&self, r: &mut Recorder, kernel: &'static KernelDef, blank: bool, tensors: &[&Tensor], rows: usize) {
        let params = k::Params {
            batch: self.batch as u32,
            text: self.text as u32,
            image: self.image as u32,
            cols: self.cols as u32,
            blank: u32::from(blank),
        };
        let (groups, lanes) = elementwise(r, self.batch * rows * self.cols);
        r.dispatch(kernel, &[lanes], &params, tensors, groups);
    }

    /// (B, T + N, C) from text (B, T, C) and image (B, N, C) at the offsets of `rows`.
    pub fn join(&self, r: &mut Recorder, rows: &Tensor, text: &Tensor, image: &Tensor) -> Tensor {
        let y = r.alloc([self.batch * (self.text + self.image), self.cols], "joined");
        self.run(r, &k::JOIN, false, &[rows, text, image, &y], self.text + self.image);
        y
    }

    /// The text rows of a joined sequence.
    pub fn text(&self, r: &mut Recorder, rows: &Tensor, x: &Tensor) -> Tensor {
        let y = r.alloc([self.batch * self.text, self.cols], "text rows");
        self.run(r, &k::TEXT, false, &[rows, x, &y], self.text);
        y
    }

    /// The image rows of a joined sequence.
    pub fn image(&self, r: &mut Recorder, rows: &Tensor, x: &Tensor) -> Tensor {
        let y = r.alloc([self.batch * self.image, self.cols], "image rows");
        self.run(r, &k::IMAGE, false, &[rows, x, &y], self.image);
        y
    }

    /// Gradient of [`Self::text`]: the rows back in place, zero in image rows.
    pub fn text_backward(&self, r: &mut Recorder, rows: &Tensor, dy: &Tensor) -> Tensor {
        let dx = r.alloc([self.batch * (self.text + self.image), self.cols], "joined gradient");
        self.run(r, &k::JOIN, true, &[rows, dy, dy, &dx], self.text + self.image);
        dx
    }
}

/// Plain f64 loops.
pub mod oracle {
    use super::Sizes;

    /// Where rows of a joined sequence come from: (from the image?, row).
    fn source(s: &Sizes, offset: usize, row: usize) -> (bool, usize) {
        if row < offset {
            (false, row)
        } else if row < offset + s.image {
            (true, row - offset)
        } else {
            (false, row - s.image)
        }
    }

    /// Joined sequences.
    #[must_use]
    pub fn join(s: &Sizes, rows: &[f64], text: &[f64], image: &[f64]) -> Vec<f64> {
        let mut y = Vec::new();
        for b in 0..s.batch {
            for row in 0..s.text + s.image {
                let (is_image, at) = source(s, rows[3 * b + 1] as usize, row);
                let (from, per) = if is_image { (image, s.image) } else { (text, s.text) };
                y.extend_from_slice(&from[(b * per + at) * s.cols..][..s.cols]);
            }
        }
        y
    }

    /// Gradients of text and image.
    #[must_use]
    pub fn join_backward(s: &Sizes, rows: &[f64], dy: &[f64]) -> Vec<Vec<f64>> {
        let (mut text, mut image) = (vec![0.0; s.batch * s.text * s.cols], vec![0.0; s.batch * s.image * s.cols]);
        for (i, dy) in dy.chunks(s.cols).enumerate() {
            let (b, row) = (i / (s.text + s.image), i % (s.text + s.image));
            let (is_image, at) = source(s, rows[3 * b + 1] as usize, row);
            let (to, per) = if is_image { (&mut image, s.image) } else { (&mut text, s.text) };
            to[(b * per + at) * s.cols..][..s.cols].copy_from_slice(dy);
        }
        vec![text, image]
    }
}

/// Offsets at the start, inside, and after all text.
#[must_use]
pub fn cases() -> Vec<Case> {
    let samples: [(Sizes, Vec<u32>); 3] = [
        (Sizes { batch: 3, text: 7, image: 4, cols: 5 }, vec![7, 0, 0, 7, 3, 0, 7, 7, 0]),
        (Sizes { batch: 1, text: 1, image: 1, cols: 1 }, vec![1, 1, 0]),
        (Sizes { batch: 2, text: 13, image: 29, cols: 37 }, vec![13, 2, 0, 9, 1, 0]),
    ];
    samples
        .map(|(s, rows)| Case {
            name: format!("B={} T={} N={} C={}", s.batch, s.text, s.image, s.cols),
            inputs: vec![
                Array::whole(&[s.batch, 3], &rows),
                Array::random(&[s.batch * s.text, s.cols], 1),
                Array::random(&[s.batch * s.image, s.cols], 2),
            ],
            wrt: vec![1, 2],
            record: Box::new(move |r, x, dout| {
                let y = s.join(r, &x[0], &x[1], &x[2]);
                // Taking the text rows out again is the identity, and so is its gradient.
                let text = s.text(r, &x[0], &y);
                let [dy, dtext] = dout else { return Built { outs: vec![y, text], grads: vec![] } };
                let back = s.text_backward(r, &x[0], dtext);
                let sum = super::add::forward(r, dy, &back);
                let grads = vec![s.text(r, &x[0], &sum), s.image(r, &x[0], &sum)];
                Built { outs: vec![y, text], grads }
            }),
            forward: Box::new(move |x| vec![oracle::join(&s, &x[0], &x[1], &x[2]), x[1].clone()]),
            backward: Some(Box::new(move |x, dy| {
                let mut grads = oracle::join_backward(&s, &x[0], &dy[0]);
                grads[0].iter_mut().zip(&dy[1]).for_each(|(g, d)| *g += d);
                grads
            })),
            tolerance: 1e-6,
        })
        .into()
}

/// Faults that the cases must notice.
pub const SABOTAGES: &[Sabotage] = &[Sabotage { kernel: "splice/join", find: "s >= o && s", replace: "s > o && s" }];

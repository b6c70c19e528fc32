//! The memory that recorded programs share, counted from sizes alone: each block says what it has in use, beside its
//! `forward`.

use std::collections::BTreeMap;

use crate::gpu::size_class;

/// Buffers of a workspace: of each size class as many as were ever in use at once.
#[derive(Default)]
pub struct Footprint {
    now: BTreeMap<u64, u64>,
    most: BTreeMap<u64, u64>,
}

impl Footprint {
    /// Tensors with so many numbers.
    pub fn take<const N: usize>(&mut self, numbers: [usize; N]) {
        for count in numbers {
            let class = size_class(4 * count as u64);
            let now = self.now.entry(class).or_default();
            *now += 1;
            let most = self.most.entry(class).or_default();
            *most = (*most).max(*now);
        }
    }

    /// Gives back in the end what is taken inside.
    pub fn scope(&mut self, inside: impl FnOnce(&mut Self)) {
        let now = self.now.clone();
        inside(self);
        self.now = now;
    }

    /// Bytes of all buffers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.most.iter().map(|(class, count)| class * count).sum()
    }

    /// y (rows, n) = x (rows, k) wᵀ: the weights unpacked, and on CPU drivers x transposed.
    pub fn linear(&mut self, rows: usize, k: usize, n: usize) {
        self.take([rows * n]);
        self.scope(|b| b.take([k * n, rows * k]));
    }
}

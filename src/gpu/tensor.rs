//! Tensors: a shaped, labelled range of a GPU buffer. No generics; the recorder checks element types.

use std::fmt;
use std::sync::Arc;

use super::pool::Storage;

/// Element type of a tensor; four bytes either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 32-bit unsigned integer.
    U32,
}

/// Up to four dimensions, outermost first, row-major.
///
/// ```
/// let s = hive::gpu::Shape::from([2, 3]);
/// assert_eq!((s.len(), s.rows(), s.cols()), (6, 2, 3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    dims: [usize; 4],
    rank: usize,
}

impl Shape {
    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// No elements at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the last axis (1 for a scalar).
    #[must_use]
    pub fn cols(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.len() / self.cols().max(1)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(d: [usize; N]) -> Self {
        Self::from(d.as_slice())
    }
}

impl From<&[usize]> for Shape {
    fn from(d: &[usize]) -> Self {
        assert!(d.len() <= 4, "at most four dimensions, got {d:?}");
        let mut dims = [1; 4];
        dims[..d.len()].copy_from_slice(d);
        Self { dims, rank: d.len() }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// Handle to a range of a GPU buffer. Cloning shares the memory; the last clone gives it back to its pool.
#[derive(Clone)]
pub struct Tensor {
    pub(super) storage: Arc<Storage>,
    /// Start in the buffer, bytes.
    pub(super) offset: u64,
    shape: Shape,
    dtype: DType,
    label: &'static str,
}

impl Tensor {
    pub(super) fn new(storage: Arc<Storage>, offset: u64, shape: Shape, dtype: DType, label: &'static str) -> Self {
        Self { storage, offset, shape, dtype, label }
    }

    /// Dimensions.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// What it is, for messages.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.label
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shape.len() as u64 * 4
    }

    /// The same elements under another shape.
    #[must_use]
    #[track_caller]
    pub fn reshaped(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.len(), self.shape.len(), "{}: reshape {:?} to {shape:?}", self.label, self.shape);
        Self { shape, ..self.clone() }
    }

    /// `len` elements from element `start`, as one dimension. `start` must suit the device's 256-byte offset alignment.
    #[must_use]
    #[track_caller]
    pub fn range(&self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.shape.len(), "{}: range {start}+{len} of {:?}", self.label, self.shape);
        assert!(start.is_multiple_of(64), "{}: a range starts at a multiple of 64 elements, not {start}", self.label);
        Self { offset: self.offset + start as u64 * 4, shape: Shape::from([len]), ..self.clone() }
    }

    /// Do both lie in one buffer?
    #[must_use]
    pub fn shares_buffer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.label, self.shape)
    }
}

//! L1: the only module that names `wgpu`. Device, tensors, kernels, recording and replay, readback.
//!
//! Life of a number: a [`Tensor`] is a named, shaped range of a buffer; an op appends dispatches to a [`Recorder`]; the
//! recorder becomes a [`Program`], which is replayed every step; [`Gpu::read_f32`] brings results home.

mod device;
mod error;
mod faults;
mod kernel;
mod pool;
mod program;
mod record;
mod tensor;

pub use device::{AdapterKind, AdapterSummary, Gpu, GpuOptions};
pub use error::GpuError;
pub use faults::Failure;
pub use kernel::{Access, BindingDef, Constant, KernelDef, Sabotage};
pub(crate) use pool::size_class;
pub use program::{Part, Program, Timing};
pub use record::{Dest, Recorder, Workspace};
pub use tensor::{DType, Shape, Tensor};

/// Kernel definitions and parameter blocks generated from `shaders/` by the build.
pub mod kernels {
    use super::DType;
    use super::kernel::{Access, BindingDef, KernelDef};
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

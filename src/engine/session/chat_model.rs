//! What the session has of the model from files.

use crate::engine::answers::assistant::Assistant;
use crate::engine::answers::open::ModelFolder;
use crate::gpu::Gpu;

/// Its files, its device, and what answers once it is loaded.
#[derive(Default)]
pub(super) struct ChatSession {
    pub(super) source: Option<ModelFolder>,
    pub(super) gpu: Option<Gpu>,
    pub(super) assistant: Option<Assistant>,
}

impl ChatSession {
    /// Bytes on its device.
    pub(super) fn bytes(&self) -> u64 {
        self.gpu.as_ref().map_or(0, Gpu::allocated_bytes)
    }

    /// Destroys its device, as a driver crash would.
    pub(super) fn destroy(&self) {
        if let Some(gpu) = &self.gpu {
            gpu.destroy();
        }
    }
}

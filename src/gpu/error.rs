//! What can go wrong with the GPU, each with its remedy.

use thiserror::Error;

/// Faults of the adapter, the device or a submission. The text says what to do.
#[derive(Clone, Debug, Error)]
pub enum GpuError {
    /// No adapter at all.
    #[error(
        "no GPU adapter was found. Install a Vulkan, Metal or DX12 driver; without a GPU, a software driver \
         (package mesa-vulkan-drivers on Debian and Ubuntu) is enough"
    )]
    NoAdapter,
    /// `--adapter` names none of the adapters.
    #[error("no adapter's name contains \"{wanted}\". Present: {present}. Choose one of them with --adapter")]
    AdapterNotFound {
        /// What was asked for.
        wanted: String,
        /// Names of what is there.
        present: String,
    },
    /// The adapter refused a device.
    #[error("the adapter {adapter} gave no device: {reason}. Update its driver or choose another with --adapter")]
    NoDevice {
        /// Adapter name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A kernel needs more than the adapter has.
    #[error("the adapter {adapter} allows {have} for {what}, {need} are needed. Choose another with --adapter")]
    LimitTooSmall {
        /// Adapter name.
        adapter: String,
        /// Name of the limit.
        what: &'static str,
        /// What the adapter has.
        have: u64,
        /// What is needed.
        need: u64,
    },
    /// The device went away.
    #[error(
        "the GPU device was lost ({0}). Run the command again; training resumes from its last checkpoint with --resume"
    )]
    Lost(String),
    /// Memory ran out.
    #[error("the GPU is out of memory ({0}). Use a smaller batch or model, or close other programs that use the GPU")]
    OutOfMemory(String),
    /// A bug of ours or of the driver.
    #[error(
        "the GPU driver rejected a command: {0}. This is a fault of Hive or of the driver: please report it with the output of `hive doctor`"
    )]
    Validation(String),
    /// A result could not be read.
    #[error("a result could not be read back from the GPU: {0}")]
    Readback(String),
}

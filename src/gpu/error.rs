//! What can go wrong with the GPU: what happened, and what to do about it. Everybody else only shows these sentences.

use thiserror::Error;

/// Faults of the adapter, the device or a submission.
#[derive(Clone, Debug, Error)]
#[error("{}", self.text())]
#[allow(missing_docs, reason = "the names say it")]
pub enum GpuError {
    /// No adapter at all.
    NoAdapter,
    /// `--adapter` names none of the adapters.
    AdapterNotFound {
        /// What was asked for.
        wanted: String,
        /// Names of what is there.
        present: String,
    },
    /// The adapter refused a device.
    NoDevice {
        adapter: String,
        reason: String,
    },
    /// A kernel needs more than the adapter has.
    LimitTooSmall {
        adapter: String,
        /// Name of the limit.
        what: &'static str,
        /// What the adapter has.
        have: u64,
        need: u64,
    },
    /// A batch that needs more in one buffer than the adapter allows.
    Batch {
        adapter: String,
        /// What would be in that buffer.
        what: &'static str,
        batch: usize,
        /// Bytes.
        need: u64,
        /// Bytes.
        have: u64,
        /// The largest batch that fits.
        most: usize,
    },
    /// The device went away.
    Lost(String),
    OutOfMemory(String),
    /// A bug of ours or of the driver.
    Validation(String),
    /// A result could not be read.
    Readback(String),
}

impl GpuError {
    fn text(&self) -> String {
        match (self.what(), self.detail(), self.remedy()) {
            (what, "", remedy) => format!("{what}. {remedy}"),
            (what, detail, remedy) => format!("{what}: {detail}. {remedy}"),
        }
    }

    /// What happened.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::NoAdapter => "no GPU adapter was found".into(),
            Self::AdapterNotFound { wanted, present } => {
                format!("no adapter's name contains \"{wanted}\". Present: {present}")
            }
            Self::NoDevice { adapter, .. } => format!("the adapter {adapter} gave no device"),
            Self::LimitTooSmall { adapter, what, have, need } => {
                format!("the adapter {adapter} allows {have} for {what}, {need} are needed")
            }
            Self::Batch { adapter, what, batch, need, have, most } => {
                let mb = |bytes: &u64| *bytes as f64 / 1e6;
                format!(
                    "a batch of {batch} needs {:.0} MB in one buffer ({what}), and the adapter {adapter} allows {:.0} MB: at most {most} fit",
                    mb(need),
                    mb(have)
                )
            }
            Self::Lost(_) => "the GPU device was lost".into(),
            Self::OutOfMemory(_) => "the GPU is out of memory".into(),
            Self::Validation(_) => "the GPU driver rejected a command".into(),
            Self::Readback(_) => "a result could not be read back from the GPU".into(),
        }
    }

    /// The driver's own words, if any.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::NoDevice { reason: words, .. }
            | Self::Lost(words)
            | Self::OutOfMemory(words)
            | Self::Validation(words)
            | Self::Readback(words) => words,
            Self::NoAdapter | Self::AdapterNotFound { .. } | Self::LimitTooSmall { .. } | Self::Batch { .. } => "",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoAdapter => {
                "Install a Vulkan, Metal or DX12 driver, or switch on hardware acceleration in the browser; without a \
                 GPU, a software driver (package mesa-vulkan-drivers on Debian and Ubuntu) is enough"
            }
            Self::AdapterNotFound { .. } => "Choose one of them with --adapter",
            Self::NoDevice { .. } => "Update its driver or choose another with --adapter",
            Self::LimitTooSmall { .. } => "Choose another with --adapter",
            Self::Batch { .. } => {
                "Use a smaller batch; accumulate can make up for it, which trains on as many rows a step"
            }
            Self::Lost(_) => {
                "Load the model again if it came from files; training goes on from its last checkpoint (on the command \
                 line with --resume). If this repeats, update the driver"
            }
            Self::OutOfMemory(_) => "Use a smaller batch, model or format, or close other programs that use the GPU",
            Self::Validation(_) => {
                "This is a fault of Hive or of the driver: please report it with the output of `hive doctor`"
            }
            Self::Readback(_) => "Try again; if this repeats, update the driver",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GpuError;

    #[test]
    fn the_text_says_what_happened_in_whose_words_and_what_to_do() {
        let lost = GpuError::Lost("unplugged".into());
        let text = lost.to_string();
        assert!(text.starts_with("the GPU device was lost: unplugged. "), "{text}");
        assert!(text.ends_with(lost.remedy()), "{text}");
        assert!(GpuError::NoAdapter.to_string().starts_with("no GPU adapter was found. Install"));
    }
}

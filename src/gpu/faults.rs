//! What a device reports of itself: its loss, a want of memory, a rejected command. Tests provoke the same.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::Sender;

use super::GpuError;

/// A failure that tests provoke; the number counts from now on, 0 is the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A buffer is refused, as a driver without memory refuses it.
    Memory(u32),
    /// The device goes away just before a program is submitted.
    Loss(u32),
}

/// Counts down to a failure; below 0: there is none to come.
struct Countdown(AtomicI64);

impl Default for Countdown {
    fn default() -> Self {
        Self(AtomicI64::new(-1))
    }
}

impl Countdown {
    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 0 && self.0.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

/// Faults arrive by callback; they are kept until someone asks with `Gpu::check`.
#[derive(Default)]
pub(super) struct Faults {
    seen: Arc<Mutex<Vec<GpuError>>>,
    refusing: Countdown,
    losing: Countdown,
}

fn push(seen: &Mutex<Vec<GpuError>>, fault: GpuError) {
    log::error!("{fault}");
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
}

impl Faults {
    /// Those of this device from now on; `loss` is closed when it is lost.
    pub(super) fn watch(device: &wgpu::Device, loss: Sender<Infallible>) -> Self {
        let faults = Self::default();
        let lost = Arc::clone(&faults.seen);
        device.set_device_lost_callback(move |reason, message| {
            push(&lost, GpuError::Lost(format!("{reason:?} {message}")));
            loss.close();
        });
        let uncaptured = Arc::clone(&faults.seen);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let fault = match error {
                wgpu::Error::OutOfMemory { source } => GpuError::OutOfMemory(source.to_string()),
                other => GpuError::Validation(other.to_string()),
            };
            push(&uncaptured, fault);
        }));
        faults
    }

    pub(super) fn push(&self, fault: GpuError) {
        push(&self.seen, fault);
    }

    fn seen(&self) -> MutexGuard<'_, Vec<GpuError>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is this buffer refused, as a test wants it?
    pub(super) fn refuses(&self, label: &str) -> bool {
        let refused = self.refusing.is_over();
        if refused {
            self.push(GpuError::OutOfMemory(label.to_owned()));
        }
        refused
    }

    /// A loss before all others, then a want of memory, else the first.
    pub(super) fn first(&self) -> Result<(), GpuError> {
        let seen = self.seen();
        // A lost device rejects every later command, and so does one that lacks a buffer; those faults are only an echo.
        let lost = seen.iter().find(|f| matches!(f, GpuError::Lost(_)));
        let full = || seen.iter().find(|f| matches!(f, GpuError::OutOfMemory(_)));
        lost.or_else(full).or_else(|| seen.first()).map_or(Ok(()), |fault| Err(fault.clone()))
    }

    pub(super) fn forget_want_of_memory(&self) {
        self.seen().retain(|fault| matches!(fault, GpuError::Lost(_)));
    }

    pub(super) fn provoke(&self, failure: Failure) {
        let (countdown, after) = match failure {
            Failure::Memory(after) => (&self.refusing, after),
            Failure::Loss(after) => (&self.losing, after),
        };
        countdown.0.store(after.into(), Ordering::Relaxed);
    }

    /// Is the device to go away before this program is submitted?
    pub(super) fn loses(&self) -> bool {
        self.losing.is_over()
    }
}

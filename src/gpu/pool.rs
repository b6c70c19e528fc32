//! Buffers by size class. A dropped tensor gives its buffer back at that point *of the recording*, so memory reuse is
//! planned by Rust's scopes. Each recorder has a pool of its own: programs never share temporaries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a device's buffers.
pub(super) type Ledger = Arc<AtomicU64>;

/// Owner of one buffer; returns it to its pool when dropped.
pub(super) struct Storage {
    pub(super) buffer: wgpu::Buffer,
    /// Bytes that it stands for: those of the buffer, unless this is only counted.
    size: u64,
    owner: Owner,
}

enum Owner {
    Pool(Arc<Pool>),
    /// The recording that keeps every buffer: those of an audit.
    Recording,
    Itself(Ledger),
}

impl Storage {
    /// A buffer that belongs to nobody else and is freed when dropped.
    pub(super) fn own(buffer: wgpu::Buffer, size: u64, ledger: &Ledger) -> Self {
        Self { buffer, size, owner: Owner::Itself(Arc::clone(ledger)) }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Pool(pool) => {
                let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
                free.entry(self.size).or_default().push(self.buffer.clone());
            }
            Owner::Recording => {}
            Owner::Itself(ledger) => {
                ledger.fetch_sub(self.size, Ordering::Relaxed);
            }
        }
    }
}

/// Free lists of one recording; its program keeps it as long as it keeps the buffers.
pub(super) struct Pool {
    free: Mutex<HashMap<u64, Vec<wgpu::Buffer>>>,
    made: AtomicU64,
    ledger: Ledger,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.ledger.fetch_sub(self.made.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(ledger: &Ledger) -> Self {
        Self { free: Mutex::default(), made: AtomicU64::new(0), ledger: Arc::clone(ledger) }
    }

    /// A storage that is never reused and lives as long as the recording.
    pub(super) fn keep(&self, buffer: wgpu::Buffer) -> Storage {
        let size = buffer.size();
        self.made.fetch_add(size, Ordering::Relaxed);
        Storage { buffer, size, owner: Owner::Recording }
    }

    /// Bytes of all its buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// A storage of at least `bytes`, reused or made by `create` with the rounded size.
    pub(super) fn take(self: &Arc<Self>, bytes: u64, create: impl FnOnce(u64) -> wgpu::Buffer) -> Storage {
        let size = size_class(bytes);
        let reused = self.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&size).and_then(Vec::pop);
        let buffer = reused.unwrap_or_else(|| {
            let buffer = create(size);
            self.made.fetch_add(size, Ordering::Relaxed);
            buffer
        });
        Storage { buffer, size, owner: Owner::Pool(Arc::clone(self)) }
    }
}

/// Sizes round up to quarters of a power of two: at most a quarter wasted, few classes.
pub(crate) fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_a_quarter() {
        for bytes in [1_u64, 255, 256, 257, 1000, 4097, 1 << 20, (1 << 20) + 1] {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256));
            assert!(bytes < 2048 || class * 4 <= bytes * 5, "{bytes} -> {class}");
        }
    }
}

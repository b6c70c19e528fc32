//! A session as the window drives it, for situations in which it fails.

use std::sync::Arc;

use hive::engine::{
    Command, Event, Fault, FaultKind, GpuOptions, Handle, Open, Preset, Question, RunLog, assets, worker,
};
use hive::platform::block_on;

/// A session with the log that a window would keep.
pub(super) struct Driver {
    handle: Handle,
    pub(super) log: RunLog,
    /// Every fault that was told.
    pub(super) faults: Vec<Fault>,
}

impl Driver {
    /// None where there is no GPU and none is required.
    pub(super) fn start(options: GpuOptions) -> Option<Self> {
        drop(crate::common::gpu()?);
        let handle = worker::start(options, Arc::new(|| ()));
        Some(Self { handle, log: RunLog::default(), faults: Vec::new() })
    }

    pub(super) fn send(&self, command: Command) {
        self.handle.send(command);
    }

    /// Events up to the one that `found` accepts; that one's value. Faults are kept.
    pub(super) fn until<T>(&mut self, found: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event = block_on(self.handle.wait()).expect("the session is gone");
            self.log.apply(&event);
            if let Event::Fault(fault) = &event {
                self.faults.push(fault.clone());
                assert_ne!(fault.kind, FaultKind::Panic, "{fault:?}");
            }
            if let Some(value) = found(&event) {
                return value;
            }
        }
    }

    pub(super) fn fault(&mut self) -> Fault {
        self.until(|e| if let Event::Fault(fault) = e { Some(fault.clone()) } else { None })
    }

    pub(super) fn open(&mut self, preset: Preset) {
        self.send(Command::Open(Open { preset: Box::new(preset), beside: None, trained: false }));
        self.until(|e| matches!(e, Event::Opened(_)).then_some(()));
    }

    pub(super) fn open_tiny(&mut self) {
        self.open(assets::preset("tiny").unwrap());
    }

    pub(super) fn save(&mut self) -> Arc<Vec<u8>> {
        self.send(Command::Save(Box::new(self.log.clone())));
        self.until(|e| if let Event::File { bytes, .. } = e { Some(Arc::clone(bytes)) } else { None })
    }

    /// Update, and the bits of loss and gradient norm.
    pub(super) fn losses(&self) -> Vec<(u64, u32, u32)> {
        self.log.hive.iter().map(|p| (p.update, p.loss.to_bits(), p.grad_norm.to_bits())).collect()
    }
}

/// A question about a picture of the shapes.
pub(super) fn question() -> Question {
    let dataset = hive::data::dataset::Dataset::Shapes;
    let sample = |i| dataset.sample(hive::data::worlds::Split::HeldOut, 0, i, 1);
    let (own, other) = (sample(0), sample(1));
    Question { id: 7, text: own.turns[0].question.clone(), pixels: own.pixels.into(), other: Some(other.pixels.into()) }
}

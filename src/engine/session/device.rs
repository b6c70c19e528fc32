//! The session's device: opened, tested, changed for another.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Session, Testing};
use crate::engine::event::Event;
use crate::engine::track::{Track, Trouble};
use crate::engine::words::{Fault, FaultKind, SelfTest};
use crate::gpu::{Gpu, GpuError, GpuOptions};
use crate::ops::case::{Case, Failure};
use crate::ops::verify;
use crate::platform;

impl Session {
    pub(super) async fn open_gpu(&mut self) -> Result<(), GpuError> {
        self.busy("looking for a graphics adapter");
        let gpu = Gpu::new(&self.options).await?;
        let (events, busy) = (self.events.clone(), Arc::clone(&self.busy));
        gpu.watch(move |kernel, before| {
            busy.store(true, Ordering::Relaxed);
            events.tell(Event::Busy { what: format!("compiling {kernel}"), done: before, of: 0 });
        });
        let all = Gpu::adapters().await;
        self.events.tell(Event::Adapter { used: Box::new(gpu.summary.clone()), all });
        self.gpu = Some(gpu);
        self.begin_test(verify::first_cases());
        Ok(())
    }

    /// The device; another one where the last could not be replaced.
    pub(super) async fn device(&mut self) -> Result<Gpu, Trouble> {
        if self.gpu.is_none() {
            self.open_gpu().await?;
        }
        self.gpu()
    }

    pub(super) async fn change_adapter(&mut self, options: GpuOptions) -> Result<(), Trouble> {
        self.options = GpuOptions { piece_secs: self.options.piece_secs, ..options };
        self.leave_chat_device();
        // What is open is brought to the host before the old device goes.
        let old: Vec<Track> = std::mem::take(&mut self.tracks);
        self.open_gpu().await?;
        let gpu = self.gpu()?;
        for track in old {
            self.tracks.push(track.moved(&gpu, None).await?);
        }
        self.take_in(&gpu).await?;
        self.tell_entered();
        Ok(())
    }

    pub(super) fn begin_test(&mut self, cases: Vec<(&'static str, Case)>) {
        let result = SelfTest { of: cases.len(), ..SelfTest::default() };
        self.events.tell(Event::SelfTest(result.clone()));
        self.testing = Some(Testing { cases: cases.into(), result });
    }

    pub(super) async fn test_one(&mut self) -> Result<(), Trouble> {
        let gpu = self.gpu()?;
        let Some(mut testing) = self.testing.take() else { return Ok(()) };
        let Some((op, case)) = testing.cases.pop_front() else { return Ok(()) };
        let start = platform::now_secs();
        let outcome = case.parity(&gpu).await;
        let result = &mut testing.result;
        result.secs += platform::now_secs() - start;
        result.done += 1;
        let first = matches!(outcome, Err(Failure::Wrong(_))) && result.wrong.is_empty();
        match outcome {
            Ok(_) => {}
            Err(Failure::Wrong(text)) => result.wrong.push((format!("{op} {}", case.name), text)),
            Err(Failure::Gpu(e)) => return Err(e.into()),
        }
        self.events.tell(Event::SelfTest(result.clone()));
        // Said with the first, and with all in the end.
        if testing.cases.is_empty() || first {
            self.tell_wrong(&testing.result);
        }
        if !testing.cases.is_empty() {
            self.testing = Some(testing);
        }
        Ok(())
    }

    fn tell_wrong(&self, result: &SelfTest) {
        if let Some((op, detail)) = result.faults() {
            let wrong = result.wrong.len();
            self.events.tell(Event::Fault(Fault {
                kind: FaultKind::SelfTest,
                what: format!("This adapter computes {op} wrong: {wrong} of {} cases so far.", result.done),
                remedy: "Choose another adapter or update its driver; answers from this one cannot be trusted.".into(),
                detail,
            }));
        }
    }
}

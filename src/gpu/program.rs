//! A recorded, replayable list of GPU commands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kernel::Pipeline;
use super::pool::Pool;
use super::record::{GUARD, GUARD_WORD, Guarded, Slice};
use super::{Gpu, GpuError};
use crate::platform;

pub(super) enum Step {
    Dispatch {
        pipeline: Arc<Pipeline>,
        bind_group: wgpu::BindGroup,
        groups: [u32; 3],
        work: Work,
    },
    /// Of a device that only counts.
    Counted(&'static str, [u32; 3], Work),
    Clear(Slice),
    Copy {
        from: Slice,
        to: Slice,
    },
}

/// What a dispatch is for, and how much it computes.
#[derive(Clone, Copy)]
pub(super) struct Work {
    pub(super) part: &'static str,
    pub(super) flops: f64,
}

impl Step {
    fn work(&self) -> Option<Work> {
        match self {
            Self::Dispatch { work, .. } | Self::Counted(.., work) => Some(*work),
            Self::Clear(_) | Self::Copy { .. } => None,
        }
    }
}

/// Work of one part of a model over one replay.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Part {
    pub name: &'static str,
    pub dispatches: usize,
    /// Floating-point operations stated by the ops.
    pub flops: f64,
}

/// Time and work of one kernel over one replay.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Timing {
    pub kernel: &'static str,
    pub dispatches: usize,
    /// Time on the GPU, seconds.
    pub secs: f64,
    /// Floating-point operations stated by the op.
    pub flops: f64,
}

/// Commands with their pipelines, bind groups and parameter blocks.
pub struct Program {
    gpu: Gpu,
    steps: Vec<Step>,
    guarded: Vec<Guarded>,
    /// Owner of the temporaries.
    pool: Arc<Pool>,
    /// Commands per piece of [`Self::run_shared`], learned from replay to replay.
    pace: AtomicUsize,
}

/// Most timestamp queries in one set.
const QUERIES: u32 = 4096;

impl Program {
    pub(super) fn new(gpu: Gpu, steps: Vec<Step>, guarded: Vec<Guarded>, pool: Arc<Pool>) -> Self {
        Self { gpu, steps, guarded, pool, pace: AtomicUsize::new(0) }
    }

    /// Number of dispatches.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.steps.iter().filter_map(Step::work).count()
    }

    /// Bytes of its temporaries.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pool.bytes()
    }

    /// Floating-point operations of one replay, as stated by the ops.
    #[must_use]
    pub fn flops(&self) -> f64 {
        self.steps.iter().filter_map(Step::work).map(|w| w.flops).sum()
    }

    /// The same part by part, as the recorder was told of them, in the order in which they first come.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for Work { part, flops } in self.steps.iter().filter_map(Step::work) {
            match parts.iter_mut().find(|p| p.name == part) {
                Some(p) => (p.dispatches, p.flops) = (p.dispatches + 1, p.flops + flops),
                None => parts.push(Part { name: part, dispatches: 1, flops }),
            }
        }
        parts
    }

    /// What the GPU will do, one line per command: kernel and grid.
    #[must_use]
    pub fn listing(&self) -> String {
        let line = |s: &Step| match s {
            Step::Dispatch { pipeline, groups, .. } => format!("{} {groups:?}\n", pipeline.name),
            Step::Counted(name, groups, _) => format!("{name} {groups:?}\n"),
            Step::Clear(slice) => format!("clear {} bytes\n", slice.bytes),
            Step::Copy { from, .. } => format!("copy {} bytes\n", from.bytes),
        };
        self.steps.iter().map(line).collect()
    }

    /// Submits everything at once and returns without waiting.
    pub fn run(&self) {
        self.submit(&self.steps);
    }

    /// Submits it `times` times over in one piece and returns without waiting.
    pub fn run_times(&self, times: usize) {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        (0..times).for_each(|_| record(&mut encoder, &self.steps));
        self.gpu.submitting();
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// Runs it so that a window sharing the GPU keeps its rate: in pieces of about the device's `piece_secs` of GPU time,
    /// waiting for each. Without `piece_secs`: as [`Self::run`].
    ///
    /// # Errors
    /// A lost device, or one that ran out of memory.
    pub async fn run_shared(&self) -> Result<(), GpuError> {
        let Some(budget) = self.gpu.piece_secs else {
            self.run();
            return Ok(());
        };
        let most = self.steps.len().max(4);
        let mut pace = self.pace.load(Ordering::Relaxed).clamp(4, most);
        let mut rest = self.steps.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(pace.min(rest.len()));
            let start = platform::now_secs();
            self.submit(now);
            self.gpu.finished().await?;
            let took = (platform::now_secs() - start).max(1e-6);
            // A short last piece says nothing about longer ones.
            if now.len() == pace {
                pace = ((pace as f64 * (budget / took).clamp(0.5, 2.0)) as usize).clamp(4, most);
            }
            rest = later;
        }
        self.pace.store(pace, Ordering::Relaxed);
        Ok(())
    }

    fn submit(&self, steps: &[Step]) {
        assert!(!self.gpu.counting, "this device counts what programs do, and runs none");
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder, steps);
        self.gpu.submitting();
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// Replays with a timestamp around every dispatch; without timestamps, by wall clock around each (and so slower).
    /// Sorted by time, longest first.
    ///
    /// # Errors
    /// A lost device, or one that ran out of memory.
    pub async fn profile(&self) -> Result<Vec<Timing>, GpuError> {
        let mut by_kernel: BTreeMap<&'static str, Timing> = BTreeMap::new();
        for steps in self.steps.chunks(QUERIES as usize / 2) {
            let secs = if self.gpu.timestamps { self.stamped(steps).await? } else { self.clocked(steps).await? };
            for (step, secs) in steps.iter().zip(secs) {
                let Step::Dispatch { pipeline, work: Work { flops, .. }, .. } = step else { continue };
                let entry = by_kernel.entry(pipeline.name).or_insert(Timing {
                    kernel: pipeline.name,
                    dispatches: 0,
                    secs: 0.0,
                    flops: 0.0,
                });
                entry.dispatches += 1;
                entry.secs += secs;
                entry.flops += flops;
            }
        }
        let mut timings: Vec<_> = by_kernel.into_values().collect();
        timings.sort_by(|a, b| b.secs.total_cmp(&a.secs));
        Ok(timings)
    }

    async fn clocked(&self, steps: &[Step]) -> Result<Vec<f64>, GpuError> {
        let mut secs = Vec::with_capacity(steps.len());
        for step in steps {
            let start = platform::now_secs();
            self.submit(std::slice::from_ref(step));
            self.gpu.finished().await?;
            secs.push(platform::now_secs() - start);
        }
        Ok(secs)
    }

    async fn stamped(&self, steps: &[Step]) -> Result<Vec<f64>, GpuError> {
        let device = &self.gpu.device;
        let count = steps.len() as u32 * 2;
        let query_set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("profile"),
            size: u64::from(count) * 8,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, step) in (0_u32..).zip(steps) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &query_set,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                }),
            });
            if matches!(step, Step::Dispatch { .. }) {
                encode(&mut pass, step);
            }
            drop(pass);
            transfer(&mut encoder, step);
        }
        encoder.resolve_query_set(&query_set, 0..count, &resolved, 0);
        self.gpu.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = self.gpu.read_buffer(&resolved).await?;
        let period = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
        Ok(ticks.chunks(2).map(|t| t[1].saturating_sub(t[0]) as f64 * period).collect())
    }

    /// After a run of an audited recording: names of tensors whose guard words were overwritten.
    ///
    /// # Errors
    /// A lost device, or one that ran out of memory.
    pub async fn broken_guards(&self) -> Result<Vec<&'static str>, GpuError> {
        let mut broken = Vec::new();
        for g in &self.guarded {
            let words: Vec<u32> = self.gpu.read_buffer(&g.slice.buffer).await?;
            let (start, end) = ((GUARD / 4) as usize, ((GUARD + g.slice.bytes) / 4) as usize);
            if words[..start].iter().chain(&words[end..]).any(|w| *w != GUARD_WORD) {
                broken.push(g.label);
            }
        }
        Ok(broken)
    }
}

/// Runs of dispatches share a pass.
fn record(encoder: &mut wgpu::CommandEncoder, steps: &[Step]) {
    let mut rest = steps;
    while let Some(first) = rest.first() {
        let dispatches = rest.iter().take_while(|s| matches!(s, Step::Dispatch { .. })).count();
        if dispatches > 0 {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            rest[..dispatches].iter().for_each(|s| encode(&mut pass, s));
        } else {
            transfer(encoder, first);
        }
        rest = &rest[dispatches.max(1)..];
    }
}

fn encode(pass: &mut wgpu::ComputePass<'_>, step: &Step) {
    if let Step::Dispatch { pipeline, bind_group, groups, .. } = step {
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, bind_group, &[]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    }
}

fn transfer(encoder: &mut wgpu::CommandEncoder, step: &Step) {
    match step {
        Step::Clear(s) => encoder.clear_buffer(&s.buffer, s.offset, Some(s.bytes)),
        Step::Copy { from, to } => {
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset, from.bytes);
        }
        Step::Dispatch { .. } | Step::Counted(..) => {}
    }
}

//! Record, then run: ops append dispatches to a [`Recorder`]; [`Recorder::finish`] turns them into a replayable program.

use std::collections::HashMap;
use std::sync::Arc;

use super::kernel::{Access, Constant, KernelDef, Pipeline};
use super::pool::Pool;
use super::program::{Program, Step, Work};
use super::{DType, Gpu, Shape, Tensor};

/// Where a gradient goes: over what is there, or added to it. "Who adds" can be read at the call.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dest<'a> {
    Write(&'a Tensor),
    Add(&'a Tensor),
}

impl<'a> Dest<'a> {
    /// The tensor behind.
    #[must_use]
    pub fn tensor(&self) -> &'a Tensor {
        match self {
            Dest::Write(t) | Dest::Add(t) => t,
        }
    }

    /// The `ACCUMULATE` override.
    #[must_use]
    pub fn accumulate(&self) -> Constant {
        ("ACCUMULATE", f64::from(u8::from(matches!(self, Dest::Add(_)))))
    }
}

/// A range of a buffer that a command touches; holds the buffer, not the pooled storage.
#[derive(Clone)]
pub(super) struct Slice {
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl From<&Tensor> for Slice {
    fn from(t: &Tensor) -> Self {
        Self { buffer: t.storage.buffer.clone(), offset: t.offset, bytes: t.bytes() }
    }
}

enum Command {
    Dispatch {
        pipeline: Arc<Pipeline>,
        uniform: u64,
        uniform_bytes: u64,
        slices: Vec<Slice>,
        groups: [u32; 3],
        work: Work,
    },
    Counted(&'static str, [u32; 3], Work),
    Clear(Slice),
    Copy {
        from: Slice,
        to: Slice,
    },
}

/// A tensor of an audited recording: its range, to find writes around it.
pub(super) struct Guarded {
    pub(super) slice: Slice,
    pub(super) label: &'static str,
}

/// Memory for the temporaries of several programs that run one after the other. Each may overwrite what another left there,
/// so no temporary lasts from one run to the next.
#[derive(Clone)]
pub struct Workspace(Arc<Pool>);

impl Workspace {
    /// An empty one.
    #[must_use]
    pub fn new(gpu: &Gpu) -> Self {
        Self(Arc::new(Pool::new(&gpu.allocated)))
    }

    /// Bytes of all temporaries so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}

/// Collects commands. Shapes are static; only the contents of inputs change between replays.
pub struct Recorder {
    gpu: Gpu,
    pool: Arc<Pool>,
    commands: Vec<Command>,
    uniforms: Vec<u8>,
    interned: HashMap<Vec<u8>, u64>,
    audit: Option<Vec<Guarded>>,
    pending_flops: f64,
    part: &'static str,
}

/// Bytes before and after every tensor of an audited recording.
pub(super) const GUARD: u64 = 256;
/// Contents of guards: a number, so that computing with what lies past the end changes it.
pub(super) const GUARD_WORD: u32 = 0xdead_beef;
/// Contents of fresh tensors in an audited recording: a NaN, so that what is never written shows.
const FRESH_WORD: u32 = 0x7fc0_dead;

impl Recorder {
    /// An empty recording.
    #[must_use]
    pub fn new(gpu: &Gpu) -> Self {
        Self::within(gpu, &Workspace::new(gpu))
    }

    /// A recording whose temporaries lie where those of other programs do.
    #[must_use]
    pub fn within(gpu: &Gpu, workspace: &Workspace) -> Self {
        Self {
            gpu: gpu.clone(),
            pool: Arc::clone(&workspace.0),
            commands: Vec::new(),
            uniforms: Vec::new(),
            interned: HashMap::new(),
            audit: None,
            pending_flops: 0.0,
            part: "",
        }
    }

    /// A recording whose tensors are never reused, start as NaN and have guard words around them.
    #[must_use]
    pub fn audited(gpu: &Gpu) -> Self {
        Self { audit: Some(Vec::new()), ..Self::new(gpu) }
    }

    /// The device this is for.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A float temporary. Its buffer is reused by later commands once the last handle is dropped.
    #[track_caller]
    pub fn alloc(&mut self, shape: impl Into<Shape>, label: &'static str) -> Tensor {
        self.alloc_as(shape, DType::F32, label)
    }

    /// A temporary of any element type.
    #[track_caller]
    pub fn alloc_as(&mut self, shape: impl Into<Shape>, dtype: DType, label: &'static str) -> Tensor {
        let shape = shape.into();
        let bytes = shape.len() as u64 * 4;
        assert!(bytes > 0, "{label}{shape:?} is empty");
        assert!(bytes <= self.gpu.max_binding, "{label}{shape:?}: a binding holds {} bytes", self.gpu.max_binding);
        if let Some(audit) = &mut self.audit {
            let size = GUARD + bytes.next_multiple_of(GUARD) + GUARD;
            let buffer = self.gpu.buffer(size, label);
            let mut words = vec![GUARD_WORD; size as usize / 4];
            words[(GUARD / 4) as usize..][..shape.len()].fill(FRESH_WORD);
            self.gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
            audit.push(Guarded { slice: Slice { buffer: buffer.clone(), offset: GUARD, bytes }, label });
            return Tensor::new(Arc::new(self.pool.keep(buffer)), GUARD, shape, dtype, label);
        }
        let storage = self.pool.take(bytes, |size| self.gpu.buffer(size, label));
        Tensor::new(Arc::new(storage), 0, shape, dtype, label)
    }

    /// Names the part of the model that the commands to come belong to; the name before.
    pub fn part(&mut self, name: &'static str) -> &'static str {
        std::mem::replace(&mut self.part, name)
    }

    /// States the floating-point operations of the next dispatch (2 per multiply-add), for the profile.
    pub fn flops(&mut self, flops: usize) {
        self.pending_flops += flops as f64;
    }

    /// Appends one dispatch of `kernel`. `tensors` follow the kernel's binding table from binding 1 on.
    #[track_caller]
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static KernelDef,
        constants: &[Constant],
        params: &P,
        tensors: &[&Tensor],
        groups: [usize; 3],
    ) {
        check(kernel, tensors);
        let groups = groups.map(|g| u32::try_from(g).unwrap_or(u32::MAX));
        assert!(groups.iter().all(|g| (1..=65535).contains(g)), "{}: grid {groups:?}", kernel.name);
        let work = Work { part: self.part, flops: std::mem::take(&mut self.pending_flops) };
        if self.gpu.counting {
            self.commands.push(Command::Counted(kernel.name, groups, work));
            return;
        }
        let block = bytemuck::bytes_of(params);
        let uniform = self.intern(block);
        self.commands.push(Command::Dispatch {
            pipeline: self.gpu.pipeline(kernel, constants),
            uniform,
            uniform_bytes: block.len() as u64,
            slices: tensors.iter().map(|t| self.bound(t)).collect(),
            groups,
            work,
        });
    }

    /// What a dispatch may touch: the tensor, and in an audited recording the guard behind it too. A driver drops writes
    /// past the end of a binding, so that a guard outside of it would never be hit.
    fn bound(&self, t: &Tensor) -> Slice {
        let mut slice = Slice::from(t);
        if self.audit.is_some() {
            slice.bytes = (slice.bytes + GUARD).min(slice.buffer.size() - slice.offset);
        }
        slice
    }

    /// Parameter blocks with the same contents share one place in the program's uniform buffer.
    fn intern(&mut self, block: &[u8]) -> u64 {
        let uniforms = &mut self.uniforms;
        *self.interned.entry(block.to_vec()).or_insert_with(|| {
            let at = uniforms.len();
            uniforms.extend_from_slice(block);
            uniforms.resize(uniforms.len().next_multiple_of(256), 0);
            at as u64
        })
    }

    /// Sets every element to zero.
    pub fn zero(&mut self, t: &Tensor) {
        self.commands.push(Command::Clear(t.into()));
    }

    /// Copies all elements; both have the same number.
    #[track_caller]
    pub fn copy(&mut self, from: &Tensor, to: &Tensor) {
        assert_eq!(from.bytes(), to.bytes(), "copy {from:?} to {to:?}");
        assert!(!from.shares_buffer(to), "copy {from:?} to {to:?} within one buffer");
        self.commands.push(Command::Copy { from: from.into(), to: to.into() });
    }

    /// Copies all elements to those of `to` from element `first` on.
    #[track_caller]
    pub fn copy_into(&mut self, from: &Tensor, to: &Tensor, first: usize) {
        let end = first * 4 + from.bytes() as usize;
        assert!(end <= to.bytes() as usize, "copy {from:?} to {to:?} from {first} on");
        assert!(!from.shares_buffer(to), "copy {from:?} to {to:?} within one buffer");
        let mut place: Slice = to.into();
        place.offset += first as u64 * 4;
        place.bytes = from.bytes();
        self.commands.push(Command::Copy { from: from.into(), to: place });
    }

    /// A linear grid folded to two dimensions.
    #[must_use]
    pub fn fold(groups: usize) -> [usize; 3] {
        if groups <= 65535 { [groups.max(1), 1, 1] } else { [65535, groups.div_ceil(65535), 1] }
    }

    /// Bytes of temporaries that this recording made so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pool.bytes()
    }

    /// Builds bind groups; the program can then be replayed any number of times.
    #[must_use]
    pub fn finish(self) -> Program {
        let gpu = &self.gpu;
        let uniform_buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameter blocks"),
            size: self.uniforms.len().max(256) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue.write_buffer(&uniform_buffer, 0, &self.uniforms);
        let steps = self
            .commands
            .into_iter()
            .map(|command| match command {
                Command::Clear(slice) => Step::Clear(slice),
                Command::Copy { from, to } => Step::Copy { from, to },
                Command::Counted(name, groups, work) => Step::Counted(name, groups, work),
                Command::Dispatch { pipeline, uniform, uniform_bytes, slices, groups, work } => {
                    let uniform = Slice { buffer: uniform_buffer.clone(), offset: uniform, bytes: uniform_bytes };
                    let entries: Vec<_> = (0_u32..)
                        .zip(std::iter::once(&uniform).chain(&slices))
                        .map(|(binding, s)| wgpu::BindGroupEntry {
                            binding,
                            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                                buffer: &s.buffer,
                                offset: s.offset,
                                size: std::num::NonZeroU64::new(s.bytes),
                            }),
                        })
                        .collect();
                    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(pipeline.name),
                        layout: &pipeline.layout,
                        entries: &entries,
                    });
                    Step::Dispatch { pipeline, bind_group, groups, work }
                }
            })
            .collect();
        Program::new(self.gpu, steps, self.audit.unwrap_or_default(), self.pool)
    }
}

/// Number, element type and aliasing of a dispatch's tensors; wgpu would reject some of it later and with fewer words.
#[track_caller]
fn check(kernel: &'static KernelDef, tensors: &[&Tensor]) {
    let defs = &kernel.bindings[1..];
    assert_eq!(defs.len(), tensors.len(), "{}: tensors {tensors:?}", kernel.name);
    for (def, t) in defs.iter().zip(tensors) {
        assert_eq!(Some(t.dtype()), def.dtype, "{}: {} is {t:?}", kernel.name, def.name);
        assert!(t.offset % 256 == 0, "{}: {} starts at byte {}", kernel.name, def.name, t.offset);
    }
    for (i, a) in tensors.iter().enumerate() {
        for (j, b) in tensors.iter().enumerate().skip(i + 1) {
            let reads = [i, j].map(|k| defs[k].access == Access::Read);
            let overlap = a.offset < b.offset + b.bytes() && b.offset < a.offset + a.bytes();
            let bad = a.shares_buffer(b) && (reads[0] != reads[1] || !reads[0] && overlap);
            assert!(!bad, "{}: {} ({a:?}) and {} ({b:?}) share a buffer", kernel.name, defs[i].name, defs[j].name);
        }
    }
}

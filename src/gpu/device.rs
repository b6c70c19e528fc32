//! `Gpu`: one constructor for app, command line, tests and page. Its own device, limits asked from the adapter.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;

use async_channel::Receiver;
use futures_channel::oneshot;

use super::faults::{Failure, Faults};
use super::kernel::{Pipeline, PipelineKey, Sabotage};
use super::pool::{Ledger, Storage};
use super::{DType, GpuError, Shape, Tensor};
use crate::platform;

/// How long a failed call waits to hear that the device is lost, seconds: on a busy machine a browser tells of it late.
const LOSS_SECS: f64 = 10.0;

/// What kind of machine runs the shaders; kernels have variants for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterKind {
    /// A graphics processor.
    Hardware,
    /// A driver that computes on the CPU (lavapipe, SwiftShader, WARP).
    Software,
}

/// How to choose and use an adapter.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, any case; none: the best there is.
    pub adapter: Option<String>,
    /// Ask for the WebGPU default limits only, whatever the adapter has.
    pub default_limits: bool,
    /// Use no optional feature (no subgroups, no timestamps).
    pub portable: bool,
    /// Compile kernels with naga's bounds and loop checks.
    pub checked: bool,
    /// Treat the adapter as this kind, to test the other kind's kernels.
    pub kind: Option<AdapterKind>,
    /// Faults to build into kernels (tests of the tests).
    pub sabotage: Vec<Sabotage>,
    /// Allocate, compile and run nothing: programs are recorded to be counted, for a graphics processor with large bindings.
    pub counting: bool,
    /// Share the GPU with a window: [`super::Program::run_shared`] submits pieces of about so many seconds. None: all at once.
    pub piece_secs: Option<f64>,
}

/// What an adapter says of itself.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AdapterSummary {
    pub name: String,
    /// Driver and its version.
    pub driver: String,
    /// Vulkan, Metal, ...
    pub backend: String,
    pub kind: AdapterKind,
    /// Subgroup sizes, smallest and largest.
    pub subgroup: (u32, u32),
    /// Names of the optional features that Hive can use and the adapter has.
    pub features: Vec<&'static str>,
    /// The limits that matter here: name and value.
    pub limits: Vec<(&'static str, u64)>,
}

/// Gets the name of each kernel that is about to be compiled, and the number of those before it.
type Watcher = Box<dyn Fn(&'static str, usize) + Send + Sync>;

/// Shared parts of a [`Gpu`].
pub struct Inner {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// The adapter in words and numbers.
    pub summary: AdapterSummary,
    /// Largest storage binding, bytes.
    pub max_binding: u64,
    /// Subgroup size where subgroups are usable and all alike.
    pub subgroup: Option<u32>,
    pub(super) timestamps: bool,
    pub(super) checked: bool,
    pub(super) counting: bool,
    pub(super) sabotage: Vec<Sabotage>,
    pub(super) piece_secs: Option<f64>,
    pub(super) pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    pub(super) faults: Faults,
    /// Closes when the device is lost.
    loss: Receiver<Infallible>,
    pub(super) allocated: Ledger,
    /// Bytes of the largest buffer so far.
    largest: AtomicU64,
    watcher: OnceLock<Watcher>,
}

/// Cheap handle to a device and its queue.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

impl Deref for Gpu {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    wgpu::Instance::new(descriptor)
}

/// Browsers keep the name to themselves, not to tell their users apart.
fn name(adapter: &wgpu::Adapter) -> String {
    let name = adapter.get_info().name;
    if name.is_empty() { "the browser's adapter".into() } else { name }
}

fn summarise(adapter: &wgpu::Adapter) -> AdapterSummary {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let kind = if info.device_type == wgpu::DeviceType::Cpu { AdapterKind::Software } else { AdapterKind::Hardware };
    let known = [
        ("subgroups", wgpu::Features::SUBGROUP),
        ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
        ("f16", wgpu::Features::SHADER_F16),
    ];
    AdapterSummary {
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        backend: format!("{:?}", info.backend),
        kind,
        subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        features: known.iter().filter(|(_, f)| adapter.features().contains(*f)).map(|(n, _)| *n).collect(),
        limits: vec![
            ("storage binding, bytes", limits.max_storage_buffer_binding_size),
            ("buffer, bytes", limits.max_buffer_size),
            ("storage buffers per stage", limits.max_storage_buffers_per_shader_stage.into()),
            ("workgroup memory, bytes", limits.max_compute_workgroup_storage_size.into()),
            ("invocations per workgroup", limits.max_compute_invocations_per_workgroup.into()),
            ("workgroups per dimension", limits.max_compute_workgroups_per_dimension.into()),
        ],
        name: name(adapter),
    }
}

impl Gpu {
    /// All adapters of this machine. In a browser: at most the one the browser offers.
    pub async fn adapters() -> Vec<AdapterSummary> {
        instance().enumerate_adapters(wgpu::Backends::PRIMARY).await.iter().map(summarise).collect()
    }

    /// Opens a device of its own.
    ///
    /// # Errors
    /// No adapter, no adapter of that name, a limit below the WebGPU defaults, or a driver that gives no device.
    pub async fn new(options: &GpuOptions) -> Result<Self, GpuError> {
        let adapter = choose(&instance(), options).await?;
        let mut summary = summarise(&adapter);
        if let Some(kind) = options.kind.or(options.counting.then_some(AdapterKind::Hardware)) {
            summary.kind = kind;
        }
        let have = adapter.limits();
        let mut want = wgpu::Limits::default();
        check_limits(&summary.name, &want, &have)?;
        let mut features = wgpu::Features::empty();
        if !options.portable {
            features |= adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY);
        }
        if !options.default_limits {
            want.max_buffer_size = have.max_buffer_size.min(4 << 30);
            want.max_storage_buffer_binding_size = have.max_storage_buffer_binding_size.min(1 << 31);
        }
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("hive"),
                required_features: features,
                required_limits: want.clone(),
                ..Default::default()
            })
            .await
            .map_err(|e| GpuError::NoDevice { adapter: summary.name.clone(), reason: e.to_string() })?;
        let (lost, loss) = async_channel::bounded(1);
        let faults = Faults::watch(&device, lost);
        let (low, high) = summary.subgroup;
        Ok(Self(Arc::new(Inner {
            subgroup: (features.contains(wgpu::Features::SUBGROUP) && low == high && low > 0).then_some(low),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            max_binding: if options.counting { 1 << 31 } else { want.max_storage_buffer_binding_size },
            device,
            queue,
            summary,
            checked: options.checked,
            counting: options.counting,
            sabotage: options.sabotage.clone(),
            piece_secs: options.piece_secs,
            pipelines: Mutex::default(),
            faults,
            loss,
            allocated: Ledger::default(),
            largest: AtomicU64::new(0),
            watcher: OnceLock::new(),
        })))
    }

    /// Is this a CPU driver?
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.summary.kind == AdapterKind::Software
    }

    /// Bytes of all buffers on this device.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Bytes of the largest buffer that was ever made on this device.
    #[must_use]
    pub fn largest_buffer(&self) -> u64 {
        self.largest.load(Ordering::Relaxed)
    }

    /// Bytes that the driver has set aside for this device, copies under way and gaps included, where that can be told.
    #[must_use]
    pub fn reserved_bytes(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_reserved_bytes)
    }

    /// The fault the device reported, if any: its loss before all others, then a want of memory, else the first.
    ///
    /// # Errors
    /// Lost device, out of memory, or a rejected command.
    pub fn check(&self) -> Result<(), GpuError> {
        self.faults.first()
    }

    /// Forgets that memory was wanting: what was made before is still there, and may be read. A loss stays.
    pub fn forget_want_of_memory(&self) {
        self.faults.forget_want_of_memory();
    }

    /// Fails in that way, as drivers do (tests of recovery).
    pub fn fail(&self, failure: Failure) {
        self.faults.provoke(failure);
    }

    /// A program is about to be submitted.
    pub(super) fn submitting(&self) {
        if self.faults.loses() {
            self.destroy();
        }
    }

    /// Destroys the device, as a driver crash would (tests of recovery).
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Tells of every kernel that is compiled from now on: compiling is what makes people wait. Only the first watcher counts.
    pub fn watch(&self, watcher: impl Fn(&'static str, usize) + Send + Sync + 'static) {
        let _ = self.watcher.set(Box::new(watcher));
    }

    pub(super) fn compiling(&self, kernel: &'static str, before: usize) {
        if let Some(watcher) = self.watcher.get() {
            watcher(kernel, before);
        }
    }

    pub(super) fn buffer(&self, bytes: u64, label: &str) -> wgpu::Buffer {
        self.allocated.fetch_add(bytes.max(4), Ordering::Relaxed);
        self.largest.fetch_max(bytes, Ordering::Relaxed);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: if self.counting { 4 } else { bytes.max(4) },
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        if self.faults.refuses(label) {
            buffer.destroy();
        }
        buffer
    }

    /// A zeroed tensor in a buffer of its own: inputs, outputs and state that outlive a program.
    #[must_use]
    #[track_caller]
    pub fn tensor(&self, shape: impl Into<Shape>, dtype: DType, label: &'static str) -> Tensor {
        let shape = shape.into();
        let bytes = shape.len() as u64 * 4;
        assert!(bytes <= self.max_binding, "{label}{shape:?}: {bytes} bytes, a binding holds {}", self.max_binding);
        let storage = Storage::own(self.buffer(bytes, label), bytes.max(4), &self.allocated);
        Tensor::new(Arc::new(storage), 0, shape, dtype, label)
    }

    /// A tensor with these values.
    #[must_use]
    #[track_caller]
    pub fn upload(&self, values: &[f32], shape: impl Into<Shape>, label: &'static str) -> Tensor {
        let t = self.tensor(shape, DType::F32, label);
        self.write(&t, values);
        t
    }

    /// A tensor with these whole numbers.
    #[must_use]
    #[track_caller]
    pub fn upload_u32(&self, values: &[u32], shape: impl Into<Shape>, label: &'static str) -> Tensor {
        let t = self.tensor(shape, DType::U32, label);
        self.write_u32(&t, values);
        t
    }

    /// Overwrites a tensor.
    #[track_caller]
    pub fn write(&self, t: &Tensor, values: &[f32]) {
        assert_eq!((t.dtype(), t.shape().len()), (DType::F32, values.len()), "write to {t:?}");
        self.write_at(t, 0, bytemuck::cast_slice(values));
    }

    /// Overwrites the elements from `first` on.
    #[track_caller]
    pub fn write_part(&self, t: &Tensor, first: usize, values: &[f32]) {
        let fits = first + values.len() <= t.shape().len();
        assert!(t.dtype() == DType::F32 && fits, "write of {} to {t:?} from {first}", values.len());
        self.write_at(t, 4 * first as u64, bytemuck::cast_slice(values));
    }

    /// Overwrites the first bytes of a tensor of whole numbers with bytes as they stand in a file.
    #[track_caller]
    pub fn write_bytes(&self, t: &Tensor, bytes: &[u8]) {
        assert!(t.dtype() == DType::U32 && bytes.len() as u64 <= t.bytes(), "write of {} bytes to {t:?}", bytes.len());
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        self.write_at(t, 0, whole);
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.write_at(t, whole.len() as u64, &last);
        }
    }

    /// Overwrites a tensor of whole numbers.
    #[track_caller]
    pub fn write_u32(&self, t: &Tensor, values: &[u32]) {
        assert_eq!((t.dtype(), t.shape().len()), (DType::U32, values.len()), "write to {t:?}");
        self.write_at(t, 0, bytemuck::cast_slice(values));
    }

    fn write_at(&self, t: &Tensor, first: u64, bytes: &[u8]) {
        if !self.counting {
            self.queue.write_buffer(&t.storage.buffer, t.offset + first, bytes);
        }
    }

    /// Reads a float tensor.
    ///
    /// # Errors
    /// A lost device, or one that ran out of memory.
    pub async fn read_f32(&self, t: &Tensor) -> Result<Vec<f32>, GpuError> {
        assert_eq!(t.dtype(), DType::F32, "read of {t:?}");
        Ok(self.read_all(std::slice::from_ref(t)).await?.remove(0))
    }

    /// Reads several tensors through one staging copy; whole numbers come as the floats of the same bits.
    ///
    /// # Errors
    /// A lost device, or one that ran out of memory.
    pub async fn read_all(&self, tensors: &[Tensor]) -> Result<Vec<Vec<f32>>, GpuError> {
        let ranges: Vec<_> = tensors.iter().map(|t| (&t.storage.buffer, t.offset, t.bytes())).collect();
        let all: Vec<f32> = self.read_ranges(&ranges).await?;
        let mut rest = all.as_slice();
        Ok(tensors
            .iter()
            .map(|t| {
                let (head, tail) = rest.split_at(t.shape().len());
                rest = tail;
                head.to_vec()
            })
            .collect())
    }

    pub(super) async fn read_buffer<T: bytemuck::Pod>(&self, buffer: &wgpu::Buffer) -> Result<Vec<T>, GpuError> {
        self.read_ranges(&[(buffer, 0, buffer.size())]).await
    }

    /// Copies ranges (buffer, start, bytes) to one staging buffer and maps it.
    async fn read_ranges<T: bytemuck::Pod>(&self, ranges: &[(&wgpu::Buffer, u64, u64)]) -> Result<Vec<T>, GpuError> {
        let total: u64 = ranges.iter().map(|r| r.2).sum();
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: total.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for (buffer, start, bytes) in ranges {
            encoder.copy_buffer_to_buffer(buffer, *start, &staging, at, *bytes);
            at += bytes;
        }
        self.queue.submit([encoder.finish()]);
        let (send, receive) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            let _ = send.send(result);
        });
        self.wait();
        let mapped = self.unless_lost(receive).await;
        self.check()?;
        if !matches!(mapped, Ok(Ok(()))) {
            self.hear_of_loss().await?;
        }
        mapped.map_err(|e| GpuError::Readback(e.to_string()))?.map_err(|e| GpuError::Readback(e.to_string()))?;
        let view = staging.get_mapped_range(..).map_err(|e| GpuError::Readback(e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view[..]))
    }

    /// What the device sends; canceled as soon as it is lost, for a browser may then never settle what it promised.
    async fn unless_lost<T>(&self, mut sent: oneshot::Receiver<T>) -> Result<T, oneshot::Canceled> {
        let mut loss = pin!(self.loss.recv());
        poll_fn(|cx| match Pin::new(&mut sent).poll(cx) {
            Poll::Pending => loss.as_mut().poll(cx).map(|_closed| Err(oneshot::Canceled)),
            ready @ Poll::Ready(_) => ready,
        })
        .await
    }

    /// A browser tells of a lost device some turns of its event loop after the calls that failed of it.
    async fn hear_of_loss(&self) -> Result<(), GpuError> {
        let end = platform::now_secs() + LOSS_SECS;
        while !platform::BLOCKING && platform::now_secs() < end {
            platform::yield_now().await;
            self.check()?;
        }
        Ok(())
    }

    /// Resolves when everything submitted so far has run.
    ///
    /// # Errors
    /// A lost device, or one that ran out of memory.
    pub async fn finished(&self) -> Result<(), GpuError> {
        let (send, receive) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // Nobody listens any more: fine.
            let _ = send.send(());
        });
        self.wait();
        let done = self.unless_lost(receive).await;
        self.check()?;
        done.map_err(|e| GpuError::Readback(e.to_string()))
    }

    /// Native: blocks this thread until the queue is empty. In a browser the event loop does that.
    fn wait(&self) {
        if platform::BLOCKING
            && let Err(e) = self.device.poll(wgpu::PollType::wait_indefinitely())
        {
            self.faults.push(GpuError::Lost(e.to_string()));
        }
    }
}

async fn choose(instance: &wgpu::Instance, options: &GpuOptions) -> Result<wgpu::Adapter, GpuError> {
    if let Some(wanted) = &options.adapter {
        let all = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
        let names: Vec<String> = all.iter().map(name).collect();
        let matches = |name: &String| name.to_lowercase().contains(&wanted.to_lowercase());
        return match names.iter().position(matches) {
            Some(i) => Ok(all.into_iter().nth(i).ok_or(GpuError::NoAdapter)?),
            None if names.is_empty() => Err(GpuError::NoAdapter),
            None => Err(GpuError::AdapterNotFound { wanted: wanted.clone(), present: names.join(", ") }),
        };
    }
    let request =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    instance.request_adapter(&request).await.map_err(|_none_found| GpuError::NoAdapter)
}

/// Every kernel fits the WebGPU defaults; an adapter below them cannot run Hive.
fn check_limits(adapter: &str, need: &wgpu::Limits, have: &wgpu::Limits) -> Result<(), GpuError> {
    type Limit = fn(&wgpu::Limits) -> u64;
    let rows: [(&str, Limit); 5] = [
        ("storage bindings (bytes)", |l| l.max_storage_buffer_binding_size),
        ("storage buffers per stage", |l| l.max_storage_buffers_per_shader_stage.into()),
        ("workgroup memory (bytes)", |l| l.max_compute_workgroup_storage_size.into()),
        ("invocations per workgroup", |l| l.max_compute_invocations_per_workgroup.into()),
        ("workgroups per dimension", |l| l.max_compute_workgroups_per_dimension.into()),
    ];
    let rows = rows.map(|(what, of)| (what, of(need), of(have)));
    match rows.into_iter().find(|(_, need, have)| have < need) {
        Some((what, need, have)) => Err(GpuError::LimitTooSmall { adapter: adapter.to_owned(), what, have, need }),
        None => Ok(()),
    }
}

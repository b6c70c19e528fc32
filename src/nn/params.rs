//! Parameters in slabs: trained tensors lie next to each other in buffers that have parallel buffers for gradients and
//! moments with the same layout, frozen tensors in buffers of their own. Zeroing, clipping and AdamW are loops over slabs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::spec::{ParamId, ParamSpec};
use super::stacks::{Packed, Stack, Stacked};
use crate::gpu::{DType, Gpu, GpuError, Recorder, Tensor};
use crate::ops::matmul::{self, Epilogue};
use crate::ops::packed::{self, Format, View};

/// A buffer of parameters; `grad`, `m` and `v` exist where the stage trains them, with the same layout.
pub struct Slab {
    /// Values.
    pub value: Tensor,
    /// Gradients, first and second moments.
    pub trained: Option<Trained>,
    /// Does weight decay apply?
    pub decays: bool,
    /// Members: id, first element, number of elements.
    pub members: Vec<(ParamId, usize, usize)>,
}

/// Parallel buffers of a trained slab.
#[allow(missing_docs, reason = "the names say it")]
pub struct Trained {
    pub grad: Tensor,
    pub m: Tensor,
    pub v: Tensor,
}

/// All parameters of a model on one device.
pub struct Params {
    gpu: Gpu,
    specs: Vec<ParamSpec>,
    slabs: Vec<Slab>,
    /// (slab, first element) of each parameter that lies in one.
    places: Vec<(usize, usize)>,
    /// Matrices of frozen weights, where this is a model to run and not to train.
    packed: Packed,
    version: AtomicU64,
}

/// Elements that a tensor's start is a multiple of: 256 bytes, the binding alignment every adapter has.
const ALIGN: usize = 64;

/// Values by name, on the host.
pub type Weights = BTreeMap<String, Vec<f32>>;

impl Params {
    /// Uploads `weights`, which has every name of `specs`; the names in `trained` get gradients and moments (zero).
    ///
    /// # Panics
    /// If a weight is missing or of another size: loaders check that before.
    #[must_use]
    pub fn new(gpu: &Gpu, specs: Vec<ParamSpec>, weights: &Weights, trained: &BTreeSet<String>) -> Self {
        let params = Self::zeroed(gpu, specs, trained);
        for slab in &params.slabs {
            let mut values = vec![0.0; slab.value.shape().len()];
            for &(id, start, len) in &slab.members {
                let name = &params.specs[id.0].name;
                let from = weights.get(name).unwrap_or_else(|| panic!("no weight called {name}"));
                assert_eq!(from.len(), len, "size of {name}");
                values[start..start + len].copy_from_slice(from);
            }
            gpu.write(&slab.value, &values);
        }
        params
    }

    /// The same, all zero.
    #[must_use]
    pub fn zeroed(gpu: &Gpu, specs: Vec<ParamSpec>, trained: &BTreeSet<String>) -> Self {
        let (slabs, places) = pack(&specs, trained, gpu.max_binding as usize / 4, &|_| true);
        let slabs = slabs.into_iter().map(|plan| {
            let zeros = |label| gpu.tensor([plan.len], DType::F32, label);
            let trained = plan.trained.then(|| Trained { grad: zeros("gradients"), m: zeros("m"), v: zeros("v") });
            Slab { value: zeros("parameters"), trained, decays: plan.decays, members: plan.members }
        });
        let slabs = slabs.collect();
        Self { gpu: gpu.clone(), specs, slabs, places, packed: Packed::default(), version: AtomicU64::new(0) }
    }

    /// Parameters of a model to run: the weights of `stacks` as packed matrices, everything else as floats; all zero until
    /// [`Self::write`] and [`packed::pack`] fill them.
    #[must_use]
    pub fn frozen(gpu: &Gpu, specs: Vec<ParamSpec>, stacks: &[Stack], format: &dyn Fn(&Stack) -> Format) -> Self {
        let packed = Packed::new(gpu, &specs, stacks, format);
        let plain = |id| packed.view(id).is_none();
        let (slabs, places) = pack(&specs, &BTreeSet::new(), gpu.max_binding as usize / 4, &plain);
        let slabs = slabs
            .into_iter()
            .map(|plan| {
                let value = gpu.tensor([plan.len], DType::F32, "parameters");
                Slab { value, trained: None, decays: plan.decays, members: plan.members }
            })
            .collect();
        Self { gpu: gpu.clone(), specs, slabs, places, packed, version: AtomicU64::new(0) }
    }

    /// Changes whenever values do; what was computed with others is void.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Values were changed on the GPU.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Overwrites a parameter that is not packed.
    pub fn write(&self, id: ParamId, values: &[f32]) {
        let (slab, start) = self.places[id.0];
        assert_eq!(values.len(), self.specs[id.0].len(), "size of {}", self.specs[id.0].name);
        self.gpu.write_part(&self.slabs[slab].value, start, values);
        self.packed.write_bias(&self.gpu, id, values);
        self.changed();
    }

    /// The packed matrices.
    #[must_use]
    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    /// The matrix that a packed weight lies in.
    ///
    /// # Panics
    /// If it is not packed: fused kernels work on packed weights only.
    #[must_use]
    #[track_caller]
    pub fn stack(&self, id: ParamId) -> &Stacked {
        let found = self.packed.stack_of(id);
        found.unwrap_or_else(|| panic!("{} is not packed", self.specs[id.0].name))
    }

    /// Where a packed weight is.
    #[must_use]
    pub fn packed_view(&self, id: ParamId) -> Option<&View> {
        self.packed.view(id)
    }

    /// y (M, N) = x (M, K) wᵀ, plus what the epilogue says, however w is stored.
    #[track_caller]
    pub fn linear(
        &self,
        r: &mut Recorder,
        x: &Tensor,
        w: ParamId,
        epilogue: Epilogue<'_>,
        label: &'static str,
    ) -> Tensor {
        match self.packed.view(w) {
            Some(view) => packed::linear(r, x, view, epilogue, label),
            None => matmul::linear(r, x, &self.value(w), epilogue, label),
        }
    }

    /// The device they live on.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Names and shapes, in id order.
    #[must_use]
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// The slabs.
    #[must_use]
    pub fn slabs(&self) -> &[Slab] {
        &self.slabs
    }

    /// Bytes of values, gradients, moments and packed matrices.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let slab = |s: &Slab| s.value.bytes() * if s.trained.is_some() { 4 } else { 1 };
        self.slabs.iter().map(slab).sum::<u64>() + self.packed.bytes()
    }

    #[track_caller]
    fn view(&self, id: ParamId, of: &Tensor) -> Tensor {
        let spec = &self.specs[id.0];
        assert!(self.packed.view(id).is_none(), "{} is packed", spec.name);
        // As a matrix: the first axis, and the rest flattened (a convolution weight is one row per output channel).
        let rows = if spec.shape.len() > 1 { spec.shape[0] } else { 1 };
        of.range(self.places[id.0].1, spec.len()).reshaped([rows, spec.len() / rows])
    }

    /// Value as a matrix (first axis, rest).
    ///
    /// # Panics
    /// If it is packed: who wants floats of a packed weight asks for them with [`Self::linear`].
    #[must_use]
    #[track_caller]
    pub fn value(&self, id: ParamId) -> Tensor {
        self.view(id, &self.slabs[self.places[id.0].0].value)
    }

    /// Gradient as a matrix, if this parameter is trained.
    #[must_use]
    pub fn grad(&self, id: ParamId) -> Option<Tensor> {
        if self.packed.view(id).is_some() {
            return None;
        }
        self.slabs[self.places[id.0].0].trained.as_ref().map(|t| self.view(id, &t.grad))
    }

    /// Is it trained?
    #[must_use]
    pub fn trains(&self, id: ParamId) -> bool {
        self.packed.view(id).is_none() && self.slabs[self.places[id.0].0].trained.is_some()
    }

    /// Names of trained parameters.
    #[must_use]
    pub fn trained_names(&self) -> BTreeSet<String> {
        (0..self.specs.len()).filter(|&i| self.trains(ParamId(i))).map(|i| self.specs[i].name.clone()).collect()
    }

    /// All values, by name.
    pub async fn download(&self) -> Result<Weights, GpuError> {
        self.gather(|s| Some(&s.value)).await
    }

    /// Gradients of trained parameters, by name.
    pub async fn download_grads(&self) -> Result<Weights, GpuError> {
        self.gather(|s| s.trained.as_ref().map(|t| &t.grad)).await
    }

    /// First and second moments of trained parameters, by name.
    pub async fn download_moments(&self) -> Result<(Weights, Weights), GpuError> {
        let m = self.gather(|s| s.trained.as_ref().map(|t| &t.m)).await?;
        Ok((m, self.gather(|s| s.trained.as_ref().map(|t| &t.v)).await?))
    }

    /// Overwrites the moments of all trained parameters.
    pub fn upload_moments(&self, m: &Weights, v: &Weights) {
        for (slab, trained) in self.slabs.iter().filter_map(|s| Some((s, s.trained.as_ref()?))) {
            for (from, to) in [(m, &trained.m), (v, &trained.v)] {
                let mut values = vec![0.0; to.shape().len()];
                for &(id, start, len) in &slab.members {
                    if let Some(from) = from.get(&self.specs[id.0].name) {
                        values[start..start + len].copy_from_slice(from);
                    }
                }
                self.gpu.write(to, &values);
            }
        }
    }

    async fn gather(&self, pick: impl Fn(&Slab) -> Option<&Tensor>) -> Result<Weights, GpuError> {
        let mut out = Weights::new();
        for (slab, tensor) in self.slabs.iter().filter_map(|s| Some((s, pick(s)?))) {
            let values = self.gpu.read_f32(tensor).await?;
            for &(id, start, len) in &slab.members {
                out.insert(self.specs[id.0].name.clone(), values[start..start + len].to_vec());
            }
        }
        Ok(out)
    }
}

struct Plan {
    len: usize,
    trained: bool,
    decays: bool,
    members: Vec<(ParamId, usize, usize)>,
}

/// Trained matrices, trained vectors, frozen tensors; no slab over `limit` elements, no tensor across slabs. Only those with
/// `here` have a place.
fn pack(
    specs: &[ParamSpec],
    trained: &BTreeSet<String>,
    limit: usize,
    here: &dyn Fn(ParamId) -> bool,
) -> (Vec<Plan>, Vec<(usize, usize)>) {
    let mut slabs: Vec<Plan> = Vec::new();
    let mut places = vec![(0, 0); specs.len()];
    for (is_trained, decays) in [(true, true), (true, false), (false, false)] {
        let first = slabs.len();
        for (i, spec) in specs.iter().enumerate() {
            if !here(ParamId(i)) || trained.contains(&spec.name) != is_trained || is_trained && spec.decays() != decays
            {
                continue;
            }
            let room = spec.len().next_multiple_of(ALIGN);
            if slabs.len() == first || slabs.last().is_some_and(|s| s.len + room > limit) {
                slabs.push(Plan { len: 0, trained: is_trained, decays, members: Vec::new() });
            }
            let at = slabs.len() - 1;
            let slab = &mut slabs[at];
            slab.members.push((ParamId(i), slab.len, spec.len()));
            places[i] = (at, slab.len);
            slab.len += room;
        }
    }
    (slabs, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_aligns_splits_and_keeps_groups_apart() {
        let spec = |name: &str, n: usize| ParamSpec { name: name.into(), shape: vec![n] };
        let specs = vec![spec("a.weight", 100), spec("a.norm.weight", 3), spec("b.weight", 70), spec("c.weight", 90)];
        let trained = ["a.weight", "a.norm.weight", "b.weight"].map(String::from).into();
        let (slabs, places) = pack(&specs, &trained, 192, &|_| true);
        assert_eq!(places, [(0, 0), (2, 0), (1, 0), (3, 0)]);
        assert_eq!(
            slabs.iter().map(|s| (s.len, s.trained, s.decays)).collect::<Vec<_>>(),
            [(128, true, true), (128, true, true), (64, true, false), (128, false, false)]
        );
    }
}

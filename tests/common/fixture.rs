//! A fixture as a model to run.

use std::sync::Arc;

use hive::model::files::{Checkpoint, Folder, ModelSpec, Resolved, resolve};
use hive::model::load::Formats;
use hive::model::model::{Model, Wiring};
use hive::model::weights::{HostTensors, Precision, parse, write};
use hive::nn::ParamSpec;
use hive::ops::packed::Format;
use hive::ops::packed::oracle::quantised;
use hive::platform::{Blob, block_on, folder_blobs, read_file};

use super::repository;

pub(crate) struct Fixture {
    pub(crate) model: Arc<Model>,
    /// Inputs and published outputs.
    pub(crate) io: HostTensors,
    pub(crate) with_image: bool,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) specs: Vec<ParamSpec>,
    /// Linked layers.
    pub(crate) layers: Vec<usize>,
}

impl Fixture {
    pub(crate) fn open(name: &str) -> Self {
        let path = repository(&format!("tests/fixtures/{name}"));
        let folder = Folder::new(folder_blobs(&path).unwrap()).unwrap();
        let spec = block_on(ModelSpec::open(&folder)).unwrap();
        assert!(spec.kind != Wiring::Tower, "{name} has no text");
        let (model, specs) = Model::new(&spec.config, spec.kind);
        Self {
            model: Arc::new(model),
            io: parse(&read_file(&path.join("io.safetensors")).unwrap()).unwrap(),
            with_image: spec.kind != Wiring::Text,
            checkpoint: block_on(Checkpoint::open(&folder.without("io.safetensors"))).unwrap(),
            specs,
            layers: spec.config.link_config.language_layers,
        }
    }

    pub(crate) fn resolved(&self) -> Resolved {
        resolve(&self.checkpoint, &self.specs, &self.layers).unwrap()
    }

    /// The same with packed weights rounded on the host.
    pub(crate) fn rounded(mut self, format: Format) -> Self {
        let (formats, stacks, resolved) = (Formats::of(format), self.model.stacks(), self.resolved());
        let mut all = Vec::new();
        for (i, spec) in self.specs.iter().enumerate() {
            let mut values = block_on(self.checkpoint.read_values(&resolved.found[&spec.name].name)).unwrap();
            if let Some(stack) = stacks.iter().find(|s| s.members.iter().any(|(w, _)| w.0 == i)) {
                let exact: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                let rounded = quantised(&exact, exact.len() / spec.shape[0], formats.by_role(stack.role));
                values = rounded.iter().map(|v| *v as f32).collect();
            }
            all.push((spec.name.clone(), spec.shape.clone(), values));
        }
        let tensors: Vec<_> = all.iter().map(|(n, s, v)| (n.clone(), s.clone(), v.as_slice())).collect();
        let bytes = write(&tensors, Precision::F32);
        let folder = Folder::new([Blob::memory("model.safetensors", bytes)]).unwrap();
        self.checkpoint = block_on(Checkpoint::open(&folder)).unwrap();
        self
    }
}

//! Kernel definitions (generated) and the pipeline cache: one key, kernel name and override values, for every op.

use std::sync::{Arc, PoisonError};

use super::{DType, Gpu};

/// How a kernel uses a binding, from reflection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Access {
    /// The parameter block, binding 0.
    Uniform,
    Read,
    Write,
    Update,
}

/// One row of a kernel's binding table.
#[derive(Debug)]
pub struct BindingDef {
    /// Variable name in WGSL.
    pub name: &'static str,
    /// Direction.
    pub access: Access,
    /// Type of the numbers; none for the parameter block.
    pub dtype: Option<DType>,
}

/// A kernel as the shader build left it: validated, expanded and reflected.
#[derive(Debug)]
pub struct KernelDef {
    /// `op/kernel`, the name used in files, labels, profiles and messages.
    pub name: &'static str,
    /// WGSL text.
    pub source: &'static str,
    /// Bindings of group 0 in order; the first is the parameter block.
    pub bindings: &'static [BindingDef],
    /// Names of the pipeline-overridable constants.
    pub overrides: &'static [&'static str],
}

/// Name and value of a pipeline-overridable constant; truth is 1.
pub type Constant = (&'static str, f64);

/// A deliberate fault in a kernel's text, to prove that a test notices it.
#[derive(Clone, Debug)]
pub struct Sabotage {
    /// Kernel name.
    pub kernel: &'static str,
    /// Text that must occur in the kernel's source.
    pub find: &'static str,
    /// What stands there instead.
    pub replace: &'static str,
}

/// What a compiled pipeline depends on: kernel name, override values by their bits.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct PipelineKey {
    kernel: &'static str,
    constants: Vec<(&'static str, u64)>,
}

pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) name: &'static str,
}

impl Gpu {
    /// The pipeline of `kernel` under these override values, compiled at most once per device.
    pub(super) fn pipeline(&self, kernel: &'static KernelDef, constants: &[Constant]) -> Arc<Pipeline> {
        for (name, _) in constants {
            assert!(kernel.overrides.contains(name), "{}: no override called {name}", kernel.name);
        }
        let bits = constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
        let key = PipelineKey { kernel: kernel.name, constants: bits };
        let mut cache = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let before = cache.len();
        Arc::clone(cache.entry(key).or_insert_with(|| {
            self.compiling(kernel.name, before);
            Arc::new(self.compile(kernel, constants))
        }))
    }

    fn compile(&self, kernel: &'static KernelDef, constants: &[Constant]) -> Pipeline {
        let mut source = std::borrow::Cow::Borrowed(kernel.source);
        for fault in self.sabotage.iter().filter(|s| s.kernel == kernel.name) {
            assert!(source.contains(fault.find), "{}: nothing to sabotage: {}", kernel.name, fault.find);
            source = source.replace(fault.find, fault.replace).into();
        }
        let label = Some(kernel.name);
        let descriptor = wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(source) };
        let module =
            if self.checked { self.device.create_shader_module(descriptor) } else { self.trusted_module(descriptor) };
        let entries: Vec<_> = (0_u32..)
            .zip(kernel.bindings)
            .map(|(binding, def)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match def.access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        access => wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout, name: kernel.name }
    }

    /// Our kernels bound their loops and indices themselves; the checks naga would add cost up to half of the speed.
    #[expect(
        unsafe_code,
        reason = "the one unsafe call: every kernel is validated at build time and tested with checks on"
    )]
    fn trusted_module(&self, descriptor: wgpu::ShaderModuleDescriptor<'_>) -> wgpu::ShaderModule {
        // SAFETY: no kernel has an unbounded loop, and every index is guarded by the sizes in its parameter block; the
        // suite runs all cases with checks on and with guard words around every tensor.
        unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    }
}

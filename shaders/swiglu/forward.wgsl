// swiglu/forward: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
//
// | @ | name | access  | type       | shape |
// |---|------|---------|------------|---------|
// | 0 | p    | uniform | Params     | |
// | 1 | gate | read    | array<f32> | (count) |
// | 2 | up   | read    | array<f32> | (count) |
// | 3 | y    | write   | array<f32> | (count) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.count {
        let g = gate[i];
        y[i] = g / (1.0 + exp(-g)) * up[i];
    }
}

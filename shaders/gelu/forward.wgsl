// gelu/forward: EXACT: y = x/2 * (1 + erf(x / sqrt 2)); else y = x/2 * (1 + tanh(sqrt(2/π) * (x + 0.044715 x³))).
//
// | @ | name | access  | type       | shape |
// |---|------|---------|------------|---------|
// | 0 | p    | uniform | Params     | |
// | 1 | x    | read    | array<f32> | (count) |
// | 2 | y    | write   | array<f32> | (count) |
//
// grid: one invocation per element, folded.   overrides: WG, EXACT
#import params
#import grid
#import erf

override WG: u32 = 64u;
override EXACT: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.count {
        let v = x[i];
        if EXACT {
            y[i] = 0.5 * v * (1.0 + erf(v * ROOT_HALF));
        } else {
            y[i] = 0.5 * v * (1.0 + safe_tanh(ROOT_2_OVER_PI * fma(CUBIC * v * v, v, v)));
        }
    }
}

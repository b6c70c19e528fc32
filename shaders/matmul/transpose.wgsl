// matmul/transpose: y = aᵀ, for variants that want the other order.
//
// | @ | name | access  | type       | shape  |
// |---|------|---------|------------|--------|
// | 0 | p    | uniform | Params     |        |
// | 1 | a    | read    | array<f32> | (M, N) |
// | 2 | y    | write   | array<f32> | (N, M) |
//
// grid: one invocation per element of y, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.m * p.n {
        y[i] = a[(i % p.m) * p.n + i / p.m];
    }
}

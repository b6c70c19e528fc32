// embed/gather: y[r, :] = table[ids[r], :]. An id past the table reads its last row.
//
// | @ | name  | access  | type       | shape |
// |---|-------|---------|------------|--------|
// | 0 | p     | uniform | Params     | |
// | 1 | ids   | read    | array<u32> | (R) |
// | 2 | table | read    | array<f32> | (V, C) |
// | 3 | y     | write   | array<f32> | (R, C) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.rows * p.cols {
        y[i] = table[min(ids[i / p.cols], p.vocab - 1u) * p.cols + i % p.cols];
    }
}

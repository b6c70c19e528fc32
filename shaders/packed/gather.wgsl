// packed/gather: y[r, :] = row ids[r] of a packed table; ids outside of this shard leave their row as it is.
//
// | @ | name   | access  | type             | shape |
// |---|--------|---------|------------------|--------|
// | 0 | p      | uniform | Params           | |
// | 1 | ids    | read    | array<u32>       | (R) |
// | 2 | data   | read    | array<vec4<u32>> | (panels, units, 32) |
// | 3 | scales | read    | array<u32>       | (panels, K / 64, 32), if int8 or int4 |
// | 4 | y      | write   | array<f32>       | (R, K) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid
#import panel
#import decode

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let r = i / p.cols;
    let k = i % p.cols;
    if r >= p.rows {
        return;
    }
    let id = ids[r];
    if id < p.start || id >= p.start + p.shard {
        return;
    }
    let row = id - p.start;
    let word = data[unit_of(row, k / (4u * PER_WORD), p.units)][k / PER_WORD % 4u];
    y[r * p.cols + k] = decoded(word, k % PER_WORD, scale_at(row, k));
}

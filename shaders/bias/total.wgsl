// bias/total: sums the parts that a first half left, in fixed order.
//
//   dtable[i] = sum over q of partial[q, i]      (i over P * C)
//
// | @ | name    | access  | type       | shape |
// |---|---------|---------|------------|----------------|
// | 0 | p       | uniform | Params     | |
// | 1 | partial | read    | array<f32> | (chunks, P, C) |
// | 2 | dtable  | dest    | array<f32> | (P, C) |
//
// grid: one invocation per element, folded.   overrides: WG, ACCUMULATE
#import params
#import grid

override WG: u32 = 64u;
override ACCUMULATE: bool = false;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    let width = p.period * p.cols;
    if i < width {
        var sum = 0.0;
        for (var q = 0u; q < p.chunks; q++) {
            sum += partial[q * width + i];
        }
        if ACCUMULATE { sum += dtable[i]; }
        dtable[i] = sum;
    }
}

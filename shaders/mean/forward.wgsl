// mean/forward: y[b, c] = mean over n of x[b, n, c].
//
// | @ | name | access  | type       | shape |
// |---|------|---------|------------|-----------|
// | 0 | p    | uniform | Params     | |
// | 1 | x    | read    | array<f32> | (B, N, C) |
// | 2 | y    | write   | array<f32> | (B, C) |
//
// grid: one invocation per element, folded.   overrides: WG
#import params
#import grid

override WG: u32 = 64u;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups) * WG + lane;
    if i < p.groups * p.cols {
        let at = (i / p.cols) * p.rows * p.cols + i % p.cols;
        var sum = 0.0;
        for (var n = 0u; n < p.rows; n++) {
            sum += x[at + n * p.cols];
        }
        y[i] = sum / f32(p.rows);
    }
}
